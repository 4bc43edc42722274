"""How fast a restore with its verification is, against the plan's gunzip and psql in the same run.

    make bench-restore                  50,000 invented cases on a throwaway server, three rounds
    make bench-restore CASES=1000000    as many as the target is about

The server has the plan's six settings and is durable. The arms run in turn, and the fastest round
of each counts: a busy machine only ever adds to it.

    plan        gunzip file; psql < file into an empty database, as in the plan; verifies nothing
    restore     casedb restore --into: every byte checked, loaded, analyzed, and compared with the
                manifest: content hashes, catalog, sequences, the heads of the audit trail

Target at a million cases: restore takes at most 0.7 of plan.
"""

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from backup_speed import DATABASE, fill
from psycopg import sql

from backups.dump import dump
from backups.restore import Wish, restore
from backups.stores import LocalStore
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, tools_in, wheel_tools

# The plan's section 4, and what makes a server durable, which a throwaway one is not.
_SERVER = {
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "maintenance_work_mem": "64MB",
    "checkpoint_completion_target": "0.9",
    "wal_buffers": "16MB",
    "default_statistics_target": "100",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_size": "1GB",
    "autovacuum": "on",
}


def plan(admin: Conninfo, tools: PostgresTools, packed: Path, place: Path) -> None:
    """The plan's recovery procedure, section 8, into an empty database."""
    file = place / "backup.sql"
    with file.open("wb") as out:
        subprocess.run(["gunzip", "--stdout", str(packed)], stdout=out, check=True)
    with connect(admin, purpose="bench") as connection:
        connection.execute("CREATE DATABASE planned TEMPLATE template0")
    argv = [tools["psql"], "-q", "-d", "planned"]
    environment = programs.child_environment(admin)
    with file.open("rb") as source:
        subprocess.run(argv, env=environment, stdin=source, stdout=subprocess.DEVNULL, check=True)


class Cpu:
    """CPU seconds: our own, those of programs we ran, and those of server processes that ended.

    A busy machine hardly moves them, unlike the time on the wall.
    """

    def __init__(self, admin: Conninfo) -> None:
        with connect(admin, purpose="bench") as connection:
            row = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
        assert row
        self._postmaster = int(row[0].split()[0])
        self._before = self._now()

    @property
    def seconds(self) -> float:
        """What was used since."""
        # The postmaster counts a process when it has ended, which takes a moment.
        time.sleep(0.5)
        return self._now() - self._before

    def _now(self) -> float:
        ours = sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        words = Path(f"/proc/{self._postmaster}/stat").read_text().rpartition(")")[2].split()
        return ours + (int(words[13]) + int(words[14])) / os.sysconf("SC_CLK_TCK")


def drop(admin: Conninfo, name: str) -> None:
    """Remove what an arm made, and let no checkpoint of it fall into the next one's time."""
    with connect(admin, purpose="bench") as connection:
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
        connection.execute("CHECKPOINT")


def main() -> None:
    """Measure, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pg-bin", type=Path)
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    tools = tools_in(words.pg_bin) if words.pg_bin else wheel_tools(16)
    best: dict[str, float] = {}
    cpu: dict[str, float] = {}
    phases: dict[str, float] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        throwaway_cluster(tools, settings=_SERVER) as admin,
    ):
        place = Path(folder)
        target = admin.replace(dbname=DATABASE)
        fill(admin, words.cases)
        store = LocalStore(place / "store")
        label = dump(target, store, tools=tools).label
        packed = place / "planned.sql.gz"
        with (
            packed.open("wb") as out,
            programs.start([tools["pg_dump"]], target=target, stderr=subprocess.DEVNULL) as source,
        ):
            subprocess.run(["gzip"], stdin=source.stdout, stdout=out, check=True)
        drop(admin, DATABASE)
        for _ in range(words.rounds):
            used, began = Cpu(admin), time.monotonic()
            plan(admin, tools, packed, place)
            took = time.monotonic() - began
            cpu["plan"] = min(used.seconds, cpu.get("plan", used.seconds))
            best["plan"] = min(took, best.get("plan", took))
            drop(admin, "planned")
            used = Cpu(admin)
            report = restore(store, Wish(label, "restored"), admin, tools=tools, scratch=place)
            cpu["restore"] = min(used.seconds, cpu.get("restore", used.seconds))
            if report.duration_s <= best.get("restore", report.duration_s):
                best["restore"], phases = report.duration_s, dict(report.phases_s)
            drop(admin, "restored")
    ratio = best["restore"] / best["plan"]
    if words.json:
        print(json.dumps({"seconds": best, "cpu": cpu, "phases": phases, "ratio": ratio}))
        return
    print(f"PostgreSQL {tools.version}, {words.cases} cases, fastest of {words.rounds} rounds")
    for name, seconds in best.items():
        print(f"  {name:<10} {seconds:8.2f} s, {cpu[name]:8.2f} s of CPU")
    print(f"  phases of restore: {', '.join(f'{p} {s:.2f} s' for p, s in phases.items())}")
    print(f"  restore and verification against the plan's restore: {ratio:.2f} (target 0.70)")


if __name__ == "__main__":
    main()
