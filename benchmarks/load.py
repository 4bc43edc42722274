"""Load on a clone of the cases: users at work, measured in pgbench, or at a steady rate by us."""

import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

from benchmarks.statements import FOLDER, read_sql
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect, open_connection, scalar
from casedb.errors import ToolFailedError
from casedb.tools import PostgresTools

WEIGHTS: Mapping[str, int] = {"list": 5, "detail": 8, "status": 3, "assign": 1}
"""How often each script of sql/mix/ runs, of 17."""
SETTLED_S = 2.0
"""Of a steady load: what runs before anything is measured, and after it."""


@dataclass(frozen=True)
class Sizes:
    """What the scripts choose from: rows of the tables that `prepare` makes."""

    workers: int
    work: int
    """Open cases, of which the last tenth is for reassigning only."""
    chairs: int

    @property
    def variables(self) -> dict[str, int]:
        """The scripts' variables."""
        return {
            "workers": self.workers,
            "work": max(1, self.work * 9 // 10),
            "first_moved": max(1, self.work * 9 // 10) + 1,
            "last_moved": max(2, self.work),
            "chairs": self.chairs,
        }


def prepare(target: Conninfo) -> Sizes:
    """Make what the scripts need in a clone of the cases, and return how much there is of it."""
    with connect(target, purpose="bench") as connection:
        connection.execute(read_sql("mix/prepare.sql"))
        workers, work, chairs = (
            int(scalar(connection, f"SELECT count(*) FROM bench.{name}"))
            for name in ("workers", "work", "chairs")
        )
    return Sizes(workers, work, chairs)


def transactions_a_second(
    target: Conninfo, tools: PostgresTools, sizes: Sizes, *, clients: int, seconds: int
) -> float:
    """Run the mix as case_app with so many clients and return the transactions a second.

    Raises:
        ToolFailedError: pgbench failed, or a transaction did.
    """
    app = target.replace(user="case_app")
    scripts = [f"--file={FOLDER / 'mix' / name}.sql@{weight}" for name, weight in WEIGHTS.items()]
    argv = [
        tools["pgbench"], "--no-vacuum", "--protocol=prepared", f"--client={clients}",
        "--jobs=2", f"--time={seconds}", "--random-seed=1", *scripts,
        *(f"--define={name}={value}" for name, value in sizes.variables.items()),
    ]  # fmt: skip
    printed = programs.run(argv, target=app)
    tps = re.search(r"tps = ([\d.]+) \(without initial", printed)
    if tps is None or not re.search(r"failed transactions: 0 ", printed):
        raise ToolFailedError("pgbench did not end well", detail=printed[-400:])
    return float(tps.group(1))


@dataclass
class Latencies:
    """What a steady load saw."""

    ended: list[tuple[float, float]] = field(default_factory=list)
    """(when it should have begun, seconds until it was done), a transaction each."""
    errors: list[str] = field(default_factory=list)

    def worst(self, begin: float, end: float) -> float:
        """Return the longest seconds of those due between two moments of time.monotonic()."""
        return max((took for due, took in self.ended if begin <= due <= end), default=0.0)


@contextmanager
def steady(target: Conninfo, sizes: Sizes, *, tps: int, clients: int) -> Iterator[Latencies]:
    """Read and write cases at a steady rate for the length of the block.

    A transaction counts from the moment when it was due: a client that hangs delays those after it.
    """
    found = Latencies()
    stop = threading.Event()
    began = time.monotonic()
    threads = [
        threading.Thread(
            target=_client, args=(target, sizes, found, stop, began + n / tps, clients / tps, n)
        )
        for n in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _client(
    target: Conninfo,
    sizes: Sizes,
    found: Latencies,
    stop: threading.Event,
    first: float,
    every_s: float,
    number: int,
) -> None:
    chance = random.Random(number)
    due = first
    with open_connection(target.replace(user="case_app"), purpose="bench load") as connection:
        while not stop.wait(max(0.0, due - time.monotonic())):
            try:
                with connection.transaction():
                    _transaction(connection, sizes, chance)
            except psycopg.Error as error:
                found.errors.append(str(error))
                with suppress(psycopg.Error):
                    connection.rollback()
            found.ended.append((due, time.monotonic() - due))
            due += every_s


def _transaction(
    connection: "psycopg.Connection[tuple[object, ...]]", sizes: Sizes, chance: random.Random
) -> None:
    number = chance.randint(1, sizes.variables["work"])
    row = connection.execute(read_sql("mix/work.sql"), (number,)).fetchone()
    assert row is not None
    case, worker = row
    connection.execute("SELECT public.act_as(%s)", (str(worker),))
    if chance.random() < 0.3:
        connection.execute(read_sql("mix/move-status.sql"), (case, worker))
    else:
        connection.execute(read_sql("mix/read-case.sql"), (case, worker)).fetchall()
        connection.execute(read_sql("mix/read-log.sql"), (case,)).fetchall()
