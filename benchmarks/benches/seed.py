"""The volume seed, against a bare COPY of the same rows, and against rows one by one.

The bare COPY has every column ready, hashes included, in files. The seed invents the cases first
and computes the chains of their logs.
"""

import time
from pathlib import Path

from psycopg import sql

from benchmarks.bench import Bench, Found, at_least
from benchmarks.figures import plain_figure, ratio_figure
from benchmarks.harness import Contestant, Did, alternate
from benchmarks.site import EMPTY, SEED, Site
from benchmarks.statements import read_sql
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.seed_volume import seed_volume

SPEED = "speed of the seed, of a bare COPY's"
# In the order in which they refer to each other.
TABLES = ("users", "cases", "case_logs", "case_documents")
SOURCE, INTO = "bench_seeded", "bench_copied"
_CHUNK = 1 << 20
_SHARE, _LEAST, _SINGLE = 10, 500, 500
# Five blocks: with one there is nothing for several sessions to do.
_ENOUGH = 25_000


def measure(site: Site) -> Found:
    """Measure with a tenth of the scale's cases or 25,000, in databases of their own."""
    there = site.own.cases
    cases = max(_LEAST, there // _SHARE, min(_ENOUGH, there // 4))

    def seeded(_place: Path) -> Did:
        with site.database(INTO, template=EMPTY) as target:
            began = time.monotonic()
            seed_volume(target.replace(user="case_seed"), cases=cases, seed=SEED)
            return Did(wall_s=time.monotonic() - began)

    with site.database(SOURCE, template=EMPTY) as source:
        seed_volume(source.replace(user="case_seed"), cases=cases, seed=SEED)
        files = {name: site.folder / f"{name}.copy" for name in TABLES}
        for name, path in files.items():
            write_rows(source, name, path)

    def copied(_place: Path) -> Did:
        with site.database(INTO, template=EMPTY) as target:
            return Did(wall_s=load_rows(target, files))

    def one_by_one(_place: Path) -> Did:
        with site.database(INTO, template=EMPTY) as target:
            rate = single_rows(target, _SINGLE)
        return Did(value=rate)

    rows = 0
    for path in files.values():
        with path.open("rb") as file:
            rows += sum(1 for _ in file)
    arms = alternate(
        [
            Contestant("seed", "casedb seed: invents, loads and chains them", seeded),
            Contestant("COPY", "COPY of the same rows into the same tables, made before", copied),
            Contestant(
                "one by one",
                "INSERTs of cases one by one, as the plan's seed has them",
                one_by_one,
                unit="rows/s",
            ),
        ],
        rounds=site.rounds,
        meter=site.meter(),
        folder=site.folder,
        tell=site.tell,
    )
    for path in files.values():
        path.unlink()
    note = f"{cases:,} cases, {rows:,} rows; {rows / arms['seed'].middle:,.0f} rows/s"
    return Found(
        list(arms.values()),
        [
            ratio_figure(SPEED, arms["COPY"], arms["seed"], targets=BENCH.targets),
            plain_figure(
                "rows a second, of those one by one",
                [
                    rows / ours / single
                    for ours, single in zip(
                        arms["seed"].numbers, arms["one by one"].numbers, strict=True
                    )
                ],
                "",
            ),
        ],
        [note],
    )


def write_rows(source: Conninfo, table: str, path: Path) -> None:
    """Copy a table's rows into a file, in PostgreSQL's text format."""
    statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier("public", table))
    with (
        connect(source, purpose="bench") as connection,
        path.open("wb") as file,
        connection.cursor().copy(statement) as copy,
    ):
        for chunk in copy:
            file.write(chunk)


def load_rows(target: Conninfo, files: dict[str, Path]) -> float:
    """Copy the files into their tables, one after the other, and return the seconds."""
    with connect(target, purpose="bench") as connection:
        # Past the triggers that look at single rows, as the seed loads too.
        connection.execute("SET casedb.bulk_load = 'on'")
        began = time.monotonic()
        for table, path in files.items():
            statement = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier("public", table))
            with path.open("rb") as file, connection.cursor().copy(statement) as copy:
                while chunk := file.read(_CHUNK):
                    copy.write(chunk)
        return time.monotonic() - began


def single_rows(target: Conninfo, count: int) -> float:
    """Create cases one statement and one transaction at a time; return the rows a second."""
    with connect(target, purpose="bench") as connection:
        connection.execute(read_sql("seed-clerk.sql"))
        began = time.monotonic()
        for number in range(count):
            connection.execute(read_sql("seed-case.sql"), (f"Case {number}",))
        seconds = time.monotonic() - began
        # Each case's log has one entry too.
        return 2 * count / seconds


BENCH = Bench(
    "seed",
    "How fast are sample data loaded?",
    measure,
    minutes=2,
    targets=(at_least(SPEED, 0.8),),
)
