"""How fast a backup is, against the plan's script on the same database in the same run.

    make bench-backup                   50,000 invented cases on a throwaway server, three rounds
    make bench-backup CASES=1000000     as many as the target is about

The arms run in turn, and the fastest round of each counts: a busy machine only ever adds to it.

    plan        pg_dump > file; gzip file, as the plan's script has it
    copy        COPY of every table to nowhere, two at a time: what no dump can beat
    bare        pg_dump through zstd into a file, without proof: what the proof is measured against
    dump        casedb dump: with the proof, read back, flushed to the disk
    encrypted   the same, encrypted to a public key

Targets at a million cases: dump at least 5.5 times faster than plan and at most 0.80 of its size;
bare within 1.4 times of copy; the proof adds at most 30 %.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from psycopg import sql

from backups.dump import dump
from backups.sealing import new_key
from backups.stores import LocalStore
from backups.streams import compress
from casedb import migrations
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.marks import Mark, set_mark
from casedb.roles import apply_roles
from casedb.seed_volume import seed_volume
from casedb.sqlfiles import folder
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, tools_in, wheel_tools

DATABASE = "case_management"
Arm = Callable[[Conninfo, PostgresTools, Path], int]


def plan(target: Conninfo, tools: PostgresTools, place: Path) -> int:
    """The plan's script, section 8."""
    file = place / "backup.sql"
    with file.open("wb") as out:
        environment = programs.child_environment(target)
        subprocess.run([tools["pg_dump"]], env=environment, stdout=out, check=True)
    subprocess.run(["gzip", str(file)], check=True)
    return file.with_suffix(".sql.gz").stat().st_size


def copy(target: Conninfo, _tools: PostgresTools, _place: Path) -> int:
    """Every table's rows to nowhere."""
    with connect(target, purpose="bench") as connection:
        names = connection.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n"
            " ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname !~ '^pg_'"
            " AND n.nspname <> 'information_schema' ORDER BY c.relpages DESC"
        ).fetchall()

    def one(name: tuple[str, str]) -> None:
        statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(*name))
        with (
            connect(target, purpose="bench") as connection,
            connection.cursor().copy(statement) as rows,
        ):
            for _ in rows:
                pass

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, names))
    return 0


def bare(target: Conninfo, tools: PostgresTools, place: Path) -> int:
    """pg_dump through zstd, and nothing else."""
    argv = [tools["pg_dump"], "--format=custom", "--compress=0"]
    with (
        programs.start(argv, target=target, stderr=subprocess.DEVNULL) as process,
        (place / "bare").open("wb") as file,
    ):
        assert process.stdout is not None
        size = compress(process.stdout, file).size_bytes
        assert process.wait() == 0
    return size


def proven(target: Conninfo, tools: PostgresTools, place: Path) -> int:
    """What casedb does."""
    return dump(target, LocalStore(place / "store"), tools=tools).size_bytes


def encrypted(target: Conninfo, tools: PostgresTools, place: Path) -> int:
    """The same, encrypted."""
    recipient = new_key(place / "key")
    store = LocalStore(place / "store")
    return dump(target, store, tools=tools, recipients=[recipient]).size_bytes


ARMS: dict[str, Arm] = {
    "plan": plan,
    "copy": copy,
    "bare": bare,
    "dump": proven,
    "encrypted": encrypted,
}


@contextmanager
def filled(tools: PostgresTools, cases: int) -> Iterator[Conninfo]:
    """A throwaway server with so many cases."""
    with throwaway_cluster(tools) as admin:
        fill(admin, cases)
        yield admin.replace(dbname=DATABASE)


def fill(admin: Conninfo, cases: int) -> None:
    """Make the database on `admin`'s server, with so many cases."""
    target = admin.replace(dbname=DATABASE)
    with connect(admin, purpose="bench") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        set_mark(connection, DATABASE, Mark.DEVELOPMENT)
    apply_roles(target)
    migrations.apply(target.replace(user="case_migrator"), source=folder("migrations"))
    seed_volume(target.replace(user="case_seed"), cases=cases, seed=1)
    with connect(target, purpose="bench") as connection:
        connection.execute("VACUUM ANALYZE")


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pg-bin", type=Path)
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    tools = tools_in(words.pg_bin) if words.pg_bin else wheel_tools(16)
    best: dict[str, float] = {}
    sizes: dict[str, int] = {}
    with filled(tools, words.cases) as target:
        for _ in range(words.rounds):
            for name, arm in ARMS.items():
                with tempfile.TemporaryDirectory() as place:
                    began = time.monotonic()
                    sizes[name] = arm(target, tools, Path(place))
                    took = time.monotonic() - began
                best[name] = min(took, best.get(name, took))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ratios = {
        "faster than the plan": best["plan"] / best["dump"],
        "size of the plan's": sizes["dump"] / sizes["plan"],
        "bare against copy": best["bare"] / best["copy"],
        "what proof, read-back and flush add": best["dump"] / best["bare"] - 1,
        "what encryption adds": best["encrypted"] / best["dump"] - 1,
    }
    if words.json:
        print(json.dumps({"seconds": best, "bytes": sizes, "ratios": ratios, "peak_mb": peak_mb}))
        return
    print(f"PostgreSQL {tools.version}, {words.cases} cases, fastest of {words.rounds} rounds")
    for name in ARMS:
        print(f"  {name:<10} {best[name]:8.2f} s {sizes[name] / 1e6:10.1f} MB")
    for name, value in ratios.items():
        print(f"  {name:<36} {value:6.2f}")
    print(f"  memory of this process at most       {peak_mb:6.0f} MB (seeding included)")


if __name__ == "__main__":
    main()
