"""A drill that is hit proves nothing, records nothing, and leaves no server for long."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.rows import TupleRow

from backups.catalog import read_backup
from tests.backup_faults.site import DATABASE, Site, thaw
from tests.matrix.disk import SmallDisk, small_disk
from tests.matrix.server import kill_cluster
from tests.matrix.table import leave_row

RESTORING = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'casedb restore %'"
    " AND query LIKE 'COPY padding.%'"
)
RESTORED = "SELECT count(*) FROM pg_database WHERE datname = 'case_management'"
ANALYZED = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'casedb analyze%'"
DROPPED = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE application_name LIKE 'casedb %'"
)
IN_MATRIX = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'casedb access'"
COMPARING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'casedb drill'"
# A session that is not in yet has no name there.
WAITING = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
DROPPED_WAITING = (
    "SELECT count(pg_terminate_backend(pid))"
    " FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted) AS waiting"
)


@dataclass
class Bench:
    """Where a drill works: a folder with a short path, on a disk that can be filled."""

    scratch: Path
    disk: SmallDisk | None = None
    lock: "psycopg.Connection[TupleRow] | None" = None
    """A session that holds a lock for which the drill waits."""

    def cluster(self) -> Path | None:
        found = [path.parent for path in self.scratch.glob("*/data/postmaster.pid")]
        return found[0].parent if found else None

    def ask(self, query: str) -> int:
        """Ask the throwaway server; 0 as long as there is none that answers."""
        home = self.cluster()
        if home is None:
            return 0
        try:
            if self.lock:
                row = self.lock.execute(query.encode()).fetchone()
                return int(row[0]) if row else 0
            # A role of the backup: the cluster's own superuser has a name nobody can guess.
            with psycopg.connect(
                f"host={home} port=5432 dbname=postgres user=postgres connect_timeout=2"
            ) as connection:
                row = connection.execute(query.encode()).fetchone()
                return int(row[0]) if row else 0
        except psycopg.OperationalError:
            return 0

    def hold(self, table: str, *, dbname: str = DATABASE) -> None:
        """Keep everybody from a table of the throwaway server, and stay connected to ask more."""
        home = self.cluster()
        assert home
        self.lock = psycopg.connect(
            f"host={home} port=5432 dbname={dbname} user={_superuser(home)} connect_timeout=2"
        )
        self.lock.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())

    def let_go(self) -> None:
        if self.lock:
            self.lock.close()
            self.lock = None


def _superuser(home: Path) -> str:
    """Return the name that nobody can guess: it lies in the cluster's files."""
    for path in (home / "data" / "global").iterdir():
        if found := re.search(rb"casedb_drill_[0-9a-f]{8}", path.read_bytes()):
            return found[0].decode()
    raise AssertionError("no superuser was found")


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A folder for throwaway clusters."""
    scratch = Path(tempfile.mkdtemp(prefix="d-", dir="/tmp"))
    made = Bench(scratch)
    yield made
    made.let_go()
    shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True)
class Caught:
    process: "subprocess.Popen[str]"
    proof: str
    frozen: tuple[int, ...] = ()


def verifying(site: Site, bench: Bench) -> Caught:
    process = site.start("step:checking the bytes", "drill", f"--scratch={bench.scratch}")
    site.wait_until_stopped()
    assert not any(path.is_dir() for path in bench.scratch.iterdir())
    return Caught(process, "files: no cluster yet")


def making_the_cluster(site: Site, bench: Bench) -> Caught:
    process = site.start("nowhere", "drill", f"--scratch={bench.scratch}")
    begun = site.catch("initdb", lambda: bool(list(bench.scratch.glob("*"))), "no initdb was seen")
    assert bench.cluster() is None
    return Caught(process, "processes: initdb, no server yet", begun)


def creating_the_roles(site: Site, bench: Bench) -> Caught:
    process = site.start("step:creating the roles", "drill", f"--scratch={bench.scratch}")
    site.wait_until_stopped()
    assert bench.cluster()
    # It would be a role of the backup by whose name it answers.
    assert bench.ask(RESTORED) == 0
    return Caught(process, "files: a server runs; it has no role of the backup")


def restoring(site: Site, bench: Bench) -> Caught:
    process = site.start("nowhere", "drill", f"--scratch={bench.scratch}")
    frozen = site.catch("pg_restore", lambda: bench.ask(RESTORING) == 1, "nothing was restored")
    return Caught(process, "pg_stat_activity: pg_restore in COPY", frozen)


def analyzing(site: Site, bench: Bench) -> Caught:
    process = site.start("step:gathering statistics", "drill", f"--scratch={bench.scratch}")
    site.wait_until_stopped()
    assert bench.ask(RESTORED) == 1
    assert bench.ask(ANALYZED) == 0
    return Caught(process, "pg_stat_activity: restored, no session of ours")


def comparing(site: Site, bench: Bench) -> Caught:
    process = site.start("step:comparing the catalog", "drill", f"--scratch={bench.scratch}")
    site.wait_until_stopped()
    assert bench.ask(RESTORED) == 1
    assert bench.ask(COMPARING) == 1
    return Caught(process, "pg_stat_activity: restored, our session open")


def probing(site: Site, bench: Bench) -> Caught:
    process = site.start("step:logging in as each role", "drill", f"--scratch={bench.scratch}")
    site.wait_until_stopped()
    assert bench.ask(RESTORED) == 1
    assert bench.ask(COMPARING) == 0
    return Caught(process, "pg_stat_activity: compared, session closed")


def trying_access(site: Site, bench: Bench) -> Caught:
    caught = waiting(site, bench, "logging in as each role", "case_comments")
    assert bench.ask(f"{IN_MATRIX} AND wait_event_type = 'Lock'") == 1
    return replace(caught, proof="pg_locks: the matrix waits for a table")


def waiting(site: Site, bench: Bench, step: str, table: str, *, dbname: str = DATABASE) -> Caught:
    """Let the drill go on from a step until it waits for `table`."""
    process = site.start(f"step:{step}", "drill", f"--scratch={bench.scratch}")
    site.wait_until_stopped()
    bench.hold(table, dbname=dbname)
    assert bench.ask(WAITING) == 0
    site.marker.unlink()
    site.wait_for(lambda: bench.ask(WAITING) == 1, "nobody waited")
    return Caught(process, f"pg_locks: a session of ours waits for {table}")


def creating_a_role(site: Site, bench: Bench) -> Caught:
    return waiting(
        site, bench, "creating the roles", "pg_catalog.pg_auth_members", dbname="postgres"
    )


def analyzing_a_table(site: Site, bench: Bench) -> Caught:
    return waiting(site, bench, "gathering statistics", "case_comments")


def logging_in(site: Site, bench: Bench) -> Caught:
    return waiting(site, bench, "logging in as each role", "pg_catalog.pg_authid")


CATCH: dict[str, Callable[[Site, Bench], Caught]] = {
    "verifying": verifying,
    "initdb": making_the_cluster,
    "roles": creating_the_roles,
    "restoring": restoring,
    "analyzing": analyzing,
    "comparing": comparing,
    "probing": probing,
    "access": trying_access,
}
# Where a session is open that can be dropped, and where that is not while its step is stopped.
SESSION = {
    "roles": creating_a_role,
    "restoring": restoring,
    "analyzing": analyzing_a_table,
    "comparing": comparing,
    "probing": logging_in,
    "access": trying_access,
}
# A server or its disk can be hit as soon as there is one, a connection while one is open.
SERVED = ("roles", "restoring", "analyzing", "comparing", "probing", "access")
CELLS = [
    *((phase, fault) for phase in CATCH for fault in ("SIGKILL", "SIGTERM")),
    *((phase, "server crash") for phase in SERVED),
    *((phase, "disk full") for phase in ("initdb", *SERVED)),
    *((phase, "connection dropped") for phase in SESSION),
    ("restoring", "pg_restore killed"),
]
EXIT = {
    "SIGKILL": -9,
    "SIGTERM": 143,
    "server crash": 10,
    "disk full": 10,
    "connection dropped": 10,
    "pg_restore killed": 10,
}


@pytest.mark.parametrize(("phase", "fault"), CELLS)
def test_a_drill_that_is_hit_proves_nothing(
    site: Site, bench: Bench, request: pytest.FixtureRequest, phase: str, fault: str
) -> None:
    with ExitStack() as stack:
        if fault == "disk full":
            bench.disk = stack.enter_context(small_disk(bench.scratch / "disk", 256))
            bench.scratch = bench.disk.path
            stack.callback(setattr, bench, "scratch", bench.scratch.parent)
        caught = (SESSION if fault == "connection dropped" else CATCH)[phase](site, bench)

        strike(site, bench, caught, fault)

        assert read_backup(site.opened(), DATABASE, site.first).drilled is None
        if fault != "SIGKILL":
            assert bench.cluster() is None
        left = "its server still runs" if bench.cluster() else "no server left"
        if bench.disk:
            bench.disk.make_room()
        code, printed = site.run("drill", f"--scratch={bench.scratch}")
        assert code == 0, printed
        assert bench.cluster() is None
        assert [path.name for path in bench.scratch.iterdir()] == []
    drilled = read_backup(site.opened(), DATABASE, site.first)
    assert drilled.passed_drill
    shown = f"exit {EXIT[fault]}" if EXIT[fault] > 0 else "killed"
    place = f"{list(CATCH).index(phase) + 1} {phase}"
    outcome = f"{shown}, not recorded, {left}"
    leave_row(request, "drill", place, fault, caught.proof, outcome, "exit 0, passed, swept")


def alive(pid: int) -> psutil.Process | None:
    return psutil.Process(pid) if psutil.pid_exists(pid) else None


def strike(site: Site, bench: Bench, caught: Caught, fault: str) -> None:
    if fault in ("SIGKILL", "SIGTERM"):
        caught.process.send_signal(signal.Signals[fault])
    elif fault == "disk full":
        assert bench.disk
        bench.disk.fill()
    elif fault == "connection dropped":
        # All but the one that asks.
        assert bench.ask(DROPPED_WAITING if bench.lock else DROPPED) >= 1
    elif fault == "pg_restore killed":
        # As the kernel does when memory runs out.
        for pid in caught.frozen:
            os.kill(pid, signal.SIGKILL)
    else:
        home = bench.cluster()
        assert home
        kill_cluster(home / "data")
    if fault != "SIGTERM":
        site.marker.unlink(missing_ok=True)
    if fault != "SIGKILL":
        bench.let_go()
    thaw(caught.frozen)
    printed = caught.process.communicate(timeout=120)
    # What a killed drill was running is not killed with it.
    psutil.wait_procs([p for p in map(alive, caught.frozen) if p], timeout=60)
    site.marker.unlink(missing_ok=True)
    assert caught.process.returncode == EXIT[fault], printed
