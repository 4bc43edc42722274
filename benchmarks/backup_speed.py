"""How fast a backup is, against the plan's script on the same database in the same run.

    make bench-backup                   50,000 invented cases on a throwaway server, three rounds
    make bench-backup CASES=1000000     as many as the target is about
    make bench-backup ARGS="--pg-bin DIR --dsn 'host=... dbname=case_management user=postgres'"

The arms run in turn, and the fastest round of each counts: a busy machine only ever adds to it.

    plan        pg_dump > file; gzip file, as the plan's script has it
    copy        COPY of every table to nowhere by psql, two at a time and large ones in halves
    bare        pg_dump through zstd into a file, without proof: what the proof is measured against
    dump        casedb dump: with the proof, read back, flushed to the disk
    encrypted   the same, encrypted to a public key

Targets at a million cases: dump at least 5.5 times faster than plan and at most 0.80 of its size;
bare within 1.4 times of copy; the proof adds at most 30 %.

Memory is that of `casedb dump`, `verify` and `drill` as processes of their own, PostgreSQL's
programs included and its servers not. It must not grow with the rows: compare two sizes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

from psycopg import sql

from backups.dump import dump
from backups.sealing import new_key
from backups.stores import LocalStore
from backups.streams import CountingReader, compress
from casedb import migrations
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.marks import Mark, set_mark
from casedb.roles import apply_roles
from casedb.seed_volume import seed_volume
from casedb.sqlfiles import folder
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, tools_in, wheel_tools

DATABASE = "case_management"
HALVED_BYTES = 100 << 20
Arm = Callable[[Conninfo, PostgresTools, Path], int]


def plan(target: Conninfo, tools: PostgresTools, place: Path) -> int:
    """The plan's script, section 8."""
    file = place / "backup.sql"
    with file.open("wb") as out:
        environment = programs.child_environment(target)
        subprocess.run([tools["pg_dump"]], env=environment, stdout=out, check=True)
    subprocess.run(["gzip", str(file)], check=True)
    return file.with_suffix(".sql.gz").stat().st_size


def copy(target: Conninfo, tools: PostgresTools, _place: Path) -> int:
    """Every table's rows to nowhere."""
    with connect(target, purpose="bench") as connection:
        tables = connection.execute(
            "SELECT n.nspname, c.relname, pg_relation_size(c.oid), c.relpages FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'"
            " AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 3 DESC"
        ).fetchall()
        statements = []
        for schema, name, size, pages in tables:
            table = sql.Identifier(schema, name)
            if size < HALVED_BYTES:
                statements.append(sql.SQL("COPY {} TO STDOUT").format(table).as_string(connection))
                continue
            middle = sql.Literal(f"({pages // 2},1)")
            for side in ("<", ">="):
                rows = sql.SQL("SELECT * FROM {} WHERE ctid " + side + " {}").format(table, middle)
                statements.append(f"COPY ({rows.as_string(connection)}) TO STDOUT")

    def one(statement: str) -> None:
        argv = [tools["psql"], "--no-psqlrc", "--quiet", f"--command={statement}"]
        environment = programs.child_environment(target)
        subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, check=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, statements))
    return 0


def bare(target: Conninfo, tools: PostgresTools, place: Path) -> int:
    """pg_dump through zstd, and nothing else."""
    argv = [tools["pg_dump"], "--format=custom", "--compress=0"]
    with (
        programs.start(argv, target=target, stderr=subprocess.DEVNULL) as process,
        (place / "bare").open("wb") as file,
    ):
        assert process.stdout is not None
        size = compress(CountingReader(process.stdout), file).size_bytes
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


def peak_mb(words: list[str], target: Conninfo, tools: PostgresTools) -> float:
    """Run one verb as a process of its own and return the most memory it or its programs took."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "CASEDB_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "casedb", *words, f"--conninfo={target.dsn}"],
        env={**kept, "PG_BIN": str(tools.bindir), "CASEDB_DUMP_USER": target.get("user") or ""},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"casedb {' '.join(words)} failed with {process.returncode}")
    return usage.ru_maxrss / 1024


def memory(target: Conninfo, tools: PostgresTools) -> dict[str, float]:
    """Return the peak memory of a dump, its verification and its drill."""
    with tempfile.TemporaryDirectory() as place:
        store = f"--store={place}/store"
        return {
            verb: peak_mb([verb, *words, store], target, tools)
            for verb, words in (
                ("dump", []),
                ("verify", ["latest"]),
                # A database of an earlier migration is measured as well.
                ("drill", ["latest", "--without-access"]),
            )
        }


def measured(
    target: Conninfo, tools: PostgresTools, rounds: int
) -> tuple[dict[str, float], dict[str, int]]:
    """Return the fastest round of each arm in seconds, and what it wrote in bytes."""
    best: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for _ in range(rounds):
        for name, arm in ARMS.items():
            with tempfile.TemporaryDirectory() as place:
                began = time.monotonic()
                sizes[name] = arm(target, tools, Path(place))
                took = time.monotonic() - began
            best[name] = min(took, best.get(name, took))
    return best, sizes


def ratios_of(best: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Return what the targets are about."""
    return {
        "faster than the plan": best["plan"] / best["dump"],
        "faster without the proof": best["plan"] / best["bare"],
        "size of the plan's": sizes["dump"] / sizes["plan"],
        "archive of the plan's": sizes["bare"] / sizes["plan"],
        "bare against copy": best["bare"] / best["copy"],
        "what proof, read-back and flush add": best["dump"] / best["bare"] - 1,
        "what encryption adds": best["encrypted"] / best["dump"] - 1,
    }


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--dsn", help="an existing database of cases, which is only read")
    parser.add_argument("--rounds", type=int, default=3, help="0 measures the memory only")
    parser.add_argument("--pg-bin", type=Path)
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    tools = tools_in(words.pg_bin) if words.pg_bin else wheel_tools(16)
    source = nullcontext(Conninfo.parse(words.dsn)) if words.dsn else filled(tools, words.cases)
    with source as target:
        with connect(target, purpose="bench") as connection:
            cases, entries = (
                scalar(connection, f"SELECT count(*) FROM public.{name}")
                for name in ("cases", "case_logs")
            )
        peaks = memory(target, tools)
        best, sizes = measured(target, tools, words.rounds)
    ratios = ratios_of(best, sizes) if best else {}
    if words.json:
        found = {"cases": cases, "case_logs": entries, "seconds": best, "bytes": sizes}
        print(json.dumps({**found, "ratios": ratios, "peak_mb": peaks}))
        return
    print(f"PostgreSQL {tools.version}, {cases} cases, {entries} entries of their logs")
    for verb, peak in peaks.items():
        print(f"  memory of {verb:<10} {peak:8.0f} MB at most")
    if best:
        print(f"fastest of {words.rounds} rounds")
    for name, took in best.items():
        print(f"  {name:<10} {took:8.2f} s {sizes[name] / 1e6:10.1f} MB")
    for name, value in ratios.items():
        print(f"  {name:<36} {value:6.2f}")


if __name__ == "__main__":
    main()
