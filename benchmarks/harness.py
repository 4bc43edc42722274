"""Running contestants in turns, and what they cost."""

import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.figures import Arm, Cost
from casedb.conninfo import Conninfo, libpq_variables
from casedb.database import connect, scalar

Tell = Callable[[str], None]
AGAIN = " (again)"
_OFTEN = 3
# The postmaster counts a process when it has ended, which takes a moment.
_SETTLE_S = 0.1


@dataclass(frozen=True)
class Did:
    """What a contestant says of its round besides the time it took."""

    size_bytes: int | None = None
    value: float | None = None
    """Counts instead of the time."""
    wall_s: float | None = None
    """Counts instead of the time on our clock, which has seen preparations too."""


Act = Callable[[Path], Did | None]
"""Gets an empty folder, which is removed afterwards."""


@dataclass(frozen=True)
class Contestant:
    """One way of doing it."""

    name: str
    what: str
    act: Act
    after: Callable[[], object] | None = None
    """Removes what the act left elsewhere; costs nothing."""
    unit: str = "s"


class Meter:
    """Reads CPU seconds: ours, those of programs that we ran, and those of a server here."""

    def __init__(self, admin: Conninfo | None = None) -> None:
        self._postmaster = postmaster_of(admin) if admin else None

    def read(self) -> tuple[float, float, float | None]:
        """Return the CPU seconds so far: own, children's, the server's."""
        own, children = (
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )
        return own, children, None if self._postmaster is None else _tree_cpu(self._postmaster)


def postmaster_of(admin: Conninfo) -> int | None:
    """Return the pid of the server, if it runs on this machine and its files can be read."""
    with connect(admin, purpose="bench") as connection:
        text = str(scalar(connection, "SELECT pg_read_file('postmaster.pid')"))
    pid = int(text.split()[0])
    try:
        return pid if "postgres" in Path(f"/proc/{pid}/cmdline").read_text() else None
    except OSError:
        return None


def _tree_cpu(postmaster: int) -> float:
    """Return what the postmaster, the processes it waited for and those it still has used."""
    process = psutil.Process(postmaster)
    used = sum(process.cpu_times()[:4])
    for child in process.children():
        # One that ended meanwhile is in the postmaster's own count now, or in a moment.
        with suppress(psutil.NoSuchProcess):
            used += sum(child.cpu_times()[:2])
    return float(used)


def timed(act: Act, *, meter: Meter, folder: Path | None = None) -> Cost:
    """Run `act` once in a folder of its own and return what it cost."""
    place = Path(tempfile.mkdtemp(prefix="act-", dir=folder))
    try:
        # What somebody else wrote before is not to reach the disk in this one's time.
        os.sync()
        before, began = meter.read(), time.monotonic()
        did = act(place) or Did()
        wall_s = time.monotonic() - began
        time.sleep(_SETTLE_S)
        after = meter.read()
    finally:
        shutil.rmtree(place, ignore_errors=True)
    server_s = None if after[2] is None or before[2] is None else after[2] - before[2]
    return Cost(
        wall_s=round(did.wall_s if did.wall_s is not None else wall_s, 4),
        own_s=round(after[0] - before[0], 3),
        children_s=round(after[1] - before[1], 3),
        server_s=None if server_s is None else round(server_s, 3),
        size_bytes=did.size_bytes,
        value=did.value,
    )


def alternate(
    contestants: Sequence[Contestant],
    *,
    rounds: int,
    meter: Meter,
    again: str | None = None,
    often: Collection[str] = (),
    folder: Path | None = None,
    tell: Tell = lambda _words: None,
) -> dict[str, Arm]:
    """Run every contestant once a round, every second round backwards; return their arms by name.

    The contestant `again` runs twice in a row, the second time as NAME (again): how far it is from
    itself is noise. Of those that are compared with each other, the one should follow the other.
    Those in `often` run three times a round, the second and third time without what lies between.
    """
    runners = []
    for contestant in contestants:
        runners.append((contestant.name, contestant))
        if contestant.name == again:
            # At once: a minute later the machine may be slower, which is not this one's noise.
            runners.append((contestant.name + AGAIN, contestant))
    costs: dict[str, list[Cost]] = {name: [] for name, _ in runners}
    closer = [runner for runner in runners if runner[1].name in often]
    turns = [(number, turn) for number in range(rounds) for turn in range(_OFTEN if often else 1)]
    for count, (number, turn) in enumerate(turns):
        taking_part = closer if turn else runners
        for name, contestant in taking_part if count % 2 == 0 else reversed(taking_part):
            tell(f"round {number + 1} of {rounds}: {name}")
            try:
                costs[name].append(timed(contestant.act, meter=meter, folder=folder))
            finally:
                if contestant.after:
                    contestant.after()
    return {
        name: Arm(name=name, what=contestant.what, unit=contestant.unit, costs=tuple(costs[name]))
        for name, contestant in runners
    }


def command(*words: str) -> list[str]:
    """Return the words that run casedb as a process of its own."""
    return [sys.executable, "-P", "-m", "casedb", *words]


def clean_environment(**more: str) -> dict[str, str]:
    """Return our environment without anybody's settings of PostgreSQL or casedb."""
    foreign = {*libpq_variables(), "DATABASE_URL", "PG_BIN"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in foreign and not name.startswith("CASEDB_")
    }
    return {**kept, **more}
