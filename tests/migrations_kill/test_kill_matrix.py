"""Kill the applier or the server at every step; a plain retry must always end well.

Each cell proves from the server's own views that the fault hits its phase, or fails. It then
retries once, at once, with nothing else done, and looks at schema, mark, log and notes.
"""

import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import pytest

from casedb.database import connect
from casedb.errors import ServerUnreachableError
from casedb.locks import maintenance_lock
from tests.matrix.server import CRASHED
from tests.matrix.table import leave_row

if TYPE_CHECKING:
    from tests.migrations_kill.conftest import Site

STEP = "0002-grow-trees"
MIGRATIONS = {
    "transactional": (
        "-- depends: 0001-create-trees\n"
        "ALTER TABLE public.trees ADD COLUMN height int;\n"
        "SELECT public.pause('ddl');\n"
        "CREATE INDEX trees_height ON public.trees (height);\n"
    ),
    "concurrently": (
        "-- depends: 0001-create-trees\n-- transactional: false\n"
        "CREATE INDEX CONCURRENTLY trees_height ON public.trees (name);\n"
    ),
}
PHASES = ["before the lock", "after the lock", "mid-DDL", "DDL done, no mark", "after the mark"]
FAULTS = ["SIGTERM", "SIGKILL", "server killed"]

APPLIER = "application_name = 'casedb migrate apply' AND datname = current_database()"
PID = f"SELECT pid FROM pg_stat_activity WHERE {APPLIER}"
HOLDS = (
    "SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
    f" WHERE l.locktype = 'advisory' AND l.granted AND {APPLIER}"
)
LOCKS_TREES = (
    "SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
    f" WHERE l.relation = 'public.trees'::regclass AND l.mode = '{{}}' AND l.granted AND {APPLIER}"
)
SLEEPS = f"SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND {APPLIER}"
MARKING = f"{SLEEPS} AND query ILIKE 'INSERT INTO%_yoyo_log%'"
MARKED = f"SELECT count(*) > 0 FROM ops.casedb_migration WHERE migration_id = '{STEP}'"
NOTED = "SELECT count(*) > 0 FROM ops.casedb_unfinished"
INDEX = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('public.trees_height')"
BUILDING = (
    "SELECT count(*) > 0 FROM pg_stat_progress_create_index AS p JOIN pg_stat_activity AS a"
    f" USING (pid) WHERE p.phase LIKE 'waiting for%' AND {APPLIER.replace('datname', 'a.datname')}"
)


@dataclass(frozen=True)
class Caught:
    """An applier that stands where it is to be killed."""

    process: "subprocess.Popen[str]"
    proof: str
    let_go: Callable[[], None]
    """Remove what made it stop: the other run, the open transaction, the flag."""


def wait_for(site: "Site", query: str, wanted: object = True) -> None:
    deadline = time.monotonic() + 120
    while site.ask(query) != wanted:
        process = site.processes[-1]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"the phase was never reached: {query}"
        time.sleep(0.03)


def wait_for_marker(site: "Site") -> None:
    deadline = time.monotonic() + 120
    while not site.marker.exists():
        process = site.processes[-1]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the step was never reached"
        time.sleep(0.03)


def before_the_lock(site: "Site", _kind: str) -> Caught:
    held = ExitStack()
    other = held.enter_context(connect(site.target, purpose="another run"))
    held.enter_context(maintenance_lock(other))
    process = site.start("--wait", "60")
    wait_for(site, f"SELECT count(*) = 1 FROM pg_stat_activity WHERE {APPLIER}")
    assert site.ask(HOLDS) is False
    assert site.ask(MARKED) is False

    def let_go() -> None:
        # The server may be gone, and the session with it.
        with suppress(psycopg.OperationalError, ServerUnreachableError):
            held.close()

    return Caught(process, "pg_locks: another session holds the lock", let_go)


def after_the_lock(site: "Site", _kind: str) -> Caught:
    process = site.start(stop_at=f"applying {STEP}")
    wait_for_marker(site)
    assert site.ask(HOLDS) is True
    assert site.ask(LOCKS_TREES.format("AccessExclusiveLock")) is False
    assert site.ask(INDEX) is None
    return Caught(process, "pg_locks: it holds the lock, nothing else", lambda: None)


def mid_ddl(site: "Site", kind: str) -> Caught:
    if kind == "transactional":
        site.execute("INSERT INTO public.pausing VALUES ('ddl')")
        process = site.start()
        wait_for(site, SLEEPS)
        assert site.ask(LOCKS_TREES.format("AccessExclusiveLock")) is True
        assert site.ask(MARKED) is False
        return Caught(process, "pg_locks: table locked; asleep", lambda: None)
    writer = site.admin()
    writer.autocommit = False
    writer.execute("INSERT INTO public.trees VALUES (-1, 'elm')")
    process = site.start()
    wait_for(site, BUILDING)
    assert site.ask(INDEX) is False
    assert site.ask(NOTED) is True
    return Caught(process, "pg_index: invalid, being built", writer.close)


def before_the_mark(site: "Site", kind: str) -> Caught:
    site.execute("INSERT INTO public.pausing VALUES ('mark')")
    process = site.start()
    wait_for(site, MARKING)
    assert site.ask(MARKED) is False
    if kind == "transactional":
        assert site.ask(LOCKS_TREES.format("AccessExclusiveLock")) is True
        return Caught(process, "pg_locks: table locked; in INSERT", lambda: None)
    assert site.ask(INDEX) is True
    assert site.ask(NOTED) is True
    return Caught(process, "pg_index: valid; asleep in INSERT", lambda: None)


def after_the_mark(site: "Site", _kind: str) -> Caught:
    process = site.start(stop_at=f"applied {STEP}")
    wait_for_marker(site)
    assert site.ask(MARKED) is True
    assert site.ask(HOLDS) is True
    return Caught(process, "the mark is there, the lock held", lambda: None)


CATCH = {
    "before the lock": before_the_lock,
    "after the lock": after_the_lock,
    "mid-DDL": mid_ddl,
    "DDL done, no mark": before_the_mark,
    "after the mark": after_the_mark,
}


def wait_until_gone(site: "Site") -> None:
    deadline = time.monotonic() + 120
    while site.ask(f"SELECT count(*) FROM pg_stat_activity WHERE {APPLIER}"):
        assert time.monotonic() < deadline, "the killed run's session is still there"
        time.sleep(0.02)


def strike(site: "Site", caught: Caught, fault: str) -> None:
    """Do the harm, and prove that it was done."""
    if fault == "server killed":
        site.server.kill()
        caught.let_go()
        site.server.start()
        # The applier learns of it when it goes on.
        site.marker.unlink(missing_ok=True)
        caught.process.wait(timeout=120)
        assert CRASHED in site.server.log
        # It says that the server is gone; after the mark it may have finished by itself.
        assert caught.process.returncode in (4, 0), caught.process.communicate()
        return
    number = signal.Signals[fault]
    caught.process.send_signal(number)
    caught.process.wait(timeout=120)
    # Only now: without the open transaction in its way, the orphan would end the index by itself.
    wait_until_gone(site)
    caught.let_go()
    assert caught.process.returncode == {"SIGTERM": 143, "SIGKILL": -9}[fault]


def left_behind(site: "Site", kind: str) -> str:
    """What is there between the fault and the retry: looked at once the killed session is gone."""
    wait_until_gone(site)
    index = {None: "no index", False: "invalid index", True: "valid index"}[site.ask(INDEX)]
    return f"{index}, {'mark' if site.ask(MARKED) else 'no mark'}"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", MIGRATIONS)
def test_a_plain_retry_ends_well(
    site: "Site", request: pytest.FixtureRequest, kind: str, phase: str, fault: str
) -> None:
    (site.source / f"{STEP}.sql").write_text(MIGRATIONS[kind])
    caught = CATCH[phase](site, kind)

    strike(site, caught, fault)
    # Not part of the migration: what made it stop. The retry is to run through.
    site.marker.unlink(missing_ok=True)
    site.execute("TRUNCATE public.pausing")
    left = left_behind(site, kind)
    code, printed, took_s = site.apply()

    assert code == 0, printed
    assert site.ask(INDEX) is True
    assert site.ask(MARKED) is True
    assert site.ask(NOTED) is False
    log = f"SELECT count(*) FROM ops._yoyo_log WHERE migration_id = '{STEP}'"
    assert site.ask(log) == 1
    columns = (
        "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute"
        " WHERE attrelid = 'public.trees'::regclass AND attnum > 0"
    )
    wanted = "id,name,height" if kind == "transactional" else "id,name"
    assert site.ask(columns) == wanted
    assert left_is_right(kind, phase, left), left
    place = f"{PHASES.index(phase) + 1} {phase}"
    leave_row(request, kind, place, fault, caught.proof, left, f"exit 0, {took_s:.1f} s")


def left_is_right(kind: str, phase: str, left: str) -> bool:
    """Nothing half done of a transaction; outside of one, just what the phase leaves."""
    if phase == "after the mark":
        return left == "valid index, mark"
    if kind == "transactional" or phase in ("before the lock", "after the lock"):
        return left == "no index, no mark"
    return left == ("invalid index, no mark" if phase == "mid-DDL" else "valid index, no mark")


@pytest.mark.parametrize("kind", MIGRATIONS)
def test_a_retry_that_does_not_wait_a_moment_ends_well_too(site: "Site", kind: str) -> None:
    (site.source / f"{STEP}.sql").write_text(MIGRATIONS[kind])
    caught = mid_ddl(site, kind)

    caught.process.kill()
    caught.let_go()
    site.execute("TRUNCATE public.pausing")
    code, printed, _ = site.apply()

    assert code == 0, printed
    assert site.ask(INDEX) is True
