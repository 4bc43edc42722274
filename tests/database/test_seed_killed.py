"""A seed that is killed while the server is at its COMMITs: they may land long after its end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import pytest
from psycopg import Connection

from casedb import seed_volume
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ExitCode
from tests.database.small_volume import BLOCK, content, load

pytestmark = pytest.mark.usefixtures("small_blocks")
CASES = 250
# The real front door; only its blocks are small, and it does not wait for the lock for long.
DRIVER = f"""
import sys
from casedb import seed_volume, volume
from casedb.cli.main import main

volume.BLOCK, seed_volume._LOCK_WAIT_S = {BLOCK}, 0.5
main(sys.argv[1:])
"""
# A COMMIT waits here as long as a test holds this lock, its work done and nothing of it seen.
GATE = 4711
HOLD_COMMITS: LiteralString = f"""
CREATE FUNCTION ops.hold_commit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    'BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER hold_commit AFTER INSERT ON public.cases DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ops.hold_commit();
"""
IN_COMMIT: LiteralString = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND query = 'COMMIT' AND state = 'active' AND wait_event_type = 'Lock'"
)
SEEDING: LiteralString = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'casedb seed'"
)


def casedb(target: Conninfo, folder: Path, *words: str) -> "subprocess.Popen[str]":
    (folder / "casedb.toml").touch()
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    return subprocess.Popen(
        [
            sys.executable, "-c", DRIVER, *words,
            f"--conninfo={target.replace(dbname=None).dsn}", f"--database={target.dbname}",
        ],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come so far"
        time.sleep(0.02)


@contextmanager
def killed_in_commit(database: Conninfo, folder: Path) -> Iterator[Connection[Any]]:
    """Kill a seed whose sessions are both at a COMMIT; let them go on when the block ends.

    Yields a session of the superuser, whose unlock lets them go on earlier.
    """
    with (
        connect(database, purpose="test") as gate,
        connect(database, purpose="test") as observer,
    ):
        gate.execute(HOLD_COMMITS)
        scalar(gate, "SELECT pg_advisory_lock(%s)", GATE)
        run = casedb(database.replace(user="case_seed"), folder, "seed", f"--cases={CASES}")
        try:
            wait_until(lambda: scalar(observer, IN_COMMIT) == 2)
        finally:
            run.send_signal(signal.SIGKILL)
            run.communicate()
        # The session that saw to the run is gone, those at their COMMITs are not.
        wait_until(lambda: scalar(observer, SEEDING) == 2)
        yield gate


def cases(connection: Connection[Any]) -> int:
    return int(scalar(connection, "SELECT count(*) FROM public.cases"))


def assert_whole(database: Conninfo, twin: Conninfo, folder: Path) -> None:
    """Compare with what a run loads that nobody has killed."""
    code, said = ended(casedb(database, folder, "audit", "verify"))
    assert code == 0, said
    assert "every chain is whole" in said
    load(twin.replace(user="case_seed"), CASES)
    with connect(database, purpose="test") as one, connect(twin, purpose="test") as two:
        assert content(one) == content(two)


def test_the_next_run_is_refused_while_commits_of_the_killed_one_are_not_done(
    database: Conninfo, twin: Conninfo, tmp_path: Path
) -> None:
    seeder = database.replace(user="case_seed")
    with killed_in_commit(database, tmp_path) as gate:
        code, said = ended(casedb(seeder, tmp_path, "seed", f"--cases={CASES}"))

        assert code == ExitCode.LOCKED, said
        assert "another run is at work on this database" in said
        assert 'held by "casedb seed" as case_seed, server process' in said
        assert cases(gate) == 0
    with connect(database, purpose="test") as connection:
        wait_until(lambda: scalar(connection, SEEDING) == 0)
        assert cases(connection) == 2 * BLOCK

    code, said = ended(casedb(seeder, tmp_path, "seed", f"--cases={CASES}"))

    assert code == 0, said
    assert "created 0 users, 50 cases" in said
    assert "200 cases were there already" in said
    assert_whole(database, twin, tmp_path)


def test_the_next_run_waits_for_commits_of_the_killed_one_and_loads_the_rest(
    database: Conninfo, twin: Conninfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed_volume, "_LOCK_WAIT_S", 60.0)
    with ThreadPoolExecutor() as threads, killed_in_commit(database, tmp_path) as gate:
        waiting = threads.submit(load, database.replace(user="case_seed"), CASES)
        wait_until(lambda: scalar(gate, SEEDING) == 3)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=1)

        scalar(gate, "SELECT pg_advisory_unlock(%s)", GATE)

        result = waiting.result(timeout=60)
    assert (result.cases.created, result.cases.already_there) == (50, 200)
    assert load(database.replace(user="case_seed"), CASES).cases.created == 0
    assert_whole(database, twin, tmp_path)
