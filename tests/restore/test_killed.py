"""A restore that is stopped anywhere: the live database is whole, and to run it again is enough."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from backups.attempt import plan_restore
from backups.undo import plan_undo, undo_restore
from casedb.database import open_connection
from casedb.errors import RefusedError
from tests.restore.commands import environment
from tests.restore.conftest import Night
from tests.restore.stopping import (
    FIRST_NAME,
    NAME,
    PLACES,
    SECOND_NAME,
    SETTINGS,
    again,
    holding,
    identity,
    is_delivered,
    is_waiting,
    nobody_restores,
    running,
    stopped_at,
    unfinished,
    wait_until,
)


@pytest.mark.parametrize(
    ("how", "code", "place"),
    [
        *((signal.SIGINT, 130, place) for place in PLACES),
        *((signal.SIGKILL, -signal.SIGKILL, place) for place in PLACES),
        # SIGTERM, and a terminal that is closed, take the same way as Ctrl-C.
        *((signal.SIGTERM, 143, place) for place in PLACES),
        *((signal.SIGHUP, 143, place) for place in PLACES),
    ],
)
def test_stopped_by_a_signal(
    night: Night, tmp_path: Path, how: signal.Signals, code: int, place: str
) -> None:
    before = identity(night)
    with stopped_at(night, tmp_path, place) as process:
        process.send_signal(how)
        # While the lock is still held: what waits for it gives up by itself.
        assert process.wait(timeout=120) == code
    wait_until(lambda: nobody_restores(night))

    assert identity(night) == before
    night.write_case("the application goes on")
    left = unfinished(night)
    if how is not signal.SIGKILL:
        assert left == []
        assert night.databases() == [night.name]

    said = again(night, tmp_path)

    assert identity(night) != before
    assert unfinished(night) == []
    for name in left:
        # What had been verified is not loaded once more.
        verified = place in (FIRST_NAME, SECOND_NAME)
        assert (f'"{name}" had been restored before' in said) is verified
        assert (f'removed "{name}"' in said) is not verified


@pytest.mark.parametrize("freeze", [(), ("--freeze",)])
@pytest.mark.parametrize("place", ["checking the bytes", "restoring"])
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 143)])
def test_a_second_signal_does_not_cut_short_what_cleans_up(
    night: Night,
    tmp_path: Path,
    how: signal.Signals,
    code: int,
    place: str,
    freeze: tuple[str, ...],
) -> None:
    """Ctrl-C twice, and a terminal that is closed and says so twice."""
    before = identity(night)
    with running(night, tmp_path, place, *freeze) as process:
        wait_until((tmp_path / "marker").exists, process)
        half = unfinished(night)
        waits_for = (half[0], NAME) if half else (night.name, SETTINGS)
        with holding(night, *waits_for) if half or freeze else nullcontext():
            process.send_signal(how)
            if half or freeze:
                # It cleans up, and waits for us.
                wait_until(lambda: is_waiting(night, "clean up"), process)
                process.send_signal(how)
                wait_until(lambda: is_delivered(process), process)
        assert process.wait(timeout=120) == code
    said = (tmp_path / "output").read_text()

    assert bool(half) is (place == "restoring")
    assert "cleaned up" in said
    assert identity(night) == before
    assert night.databases() == [night.name]
    night.write_case("the application goes on")


TOO_LATE = (
    "backups.swap:_committed",
    "backups.replace:swap_names",
    "counting what was written since the backup",
    "backups.restore:write_record",
    "casedb.cli.restore:load",
    "casedb.cli.restore:print_report",
)


@pytest.mark.parametrize("place", TOO_LATE)
def test_a_signal_when_the_names_have_changed_is_too_late_and_what_stands_is_told(
    night: Night, tmp_path: Path, place: str
) -> None:
    before = identity(night)
    with running(night, tmp_path, place) as process:
        wait_until((tmp_path / "marker").exists, process)
        for how in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(how)
            time.sleep(0.05)
        (tmp_path / "marker").unlink()
        assert process.wait(timeout=30) == 0
    said = (tmp_path / "output").read_text()

    assert identity(night) != before
    assert f'{night.label} is now database "{night.name}"' in said
    assert "cleaned up" not in said
    # A signal that comes when the report is made is not worth a word.
    assert "too late" in said or place == "backups.restore:write_record"
    assert night.reports()
    assert plan_undo(night.admin, night.name).restored == night.label


@pytest.mark.parametrize("place", ["backups.swap:_committed", "casedb.cli.restore:load"])
def test_that_nobody_reads_any_more_makes_no_failure_of_a_restore(
    night: Night, tmp_path: Path, place: str
) -> None:
    """A connection that broke: what is printed goes nowhere, and monitoring hears the truth."""
    before = identity(night)
    (tmp_path / "casedb.toml").write_text('log_file = "runs.jsonl"\n')
    ours, theirs = os.pipe()
    with running(night, tmp_path, place, reader=theirs) as process:
        os.close(theirs)
        wait_until((tmp_path / "marker").exists, process)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        (tmp_path / "marker").unlink()
        process.wait(timeout=300)

    assert identity(night) != before
    (line,) = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert json.loads(line)["outcome"] == "success"
    assert night.reports()


def test_what_a_killed_restore_left_is_no_reason_to_refuse_the_next_one_for_room(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pg_restore still runs, too: nobody has ended it."""
    with running(night, tmp_path, "restoring") as process:
        wait_until((tmp_path / "marker").exists, process)
        (left,) = unfinished(night)
    need = plan_restore(night.store, night.wish, night.admin, tools=night.tools).need_bytes
    monkeypatch.setattr("backups.restore_facts._disk", lambda _connection: (need - 1, True))
    plan = plan_restore(night.store, night.wish, night.admin, tools=night.tools)
    assert any(f'DROP DATABASE IF EXISTS "{left}" WITH (FORCE)' in note for note in plan.notes)

    report = night.restore()

    assert any(f'removed "{left}"' in note for note in report.notes)
    assert unfinished(night) == []
    with pytest.raises(RefusedError, match="too little disk"):
        night.restore()


@pytest.mark.parametrize("open_reader", [os.pipe, os.openpty])
def test_that_nobody_reads_any_more_makes_no_success_of_an_interrupted_restore(
    night: Night, tmp_path: Path, open_reader: Callable[[], tuple[int, int]]
) -> None:
    """Ctrl-C ends `| tee` as well; a terminal that is closed takes no word any more."""
    before = identity(night)
    ours, theirs = open_reader()
    with running(night, tmp_path, "restoring", reader=theirs) as process:
        os.close(theirs)
        wait_until((tmp_path / "marker").exists, process)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=120) == 143

    assert identity(night) == before
    assert night.databases() == [night.name]


@pytest.mark.parametrize("place", ["checking the bytes", "restoring", FIRST_NAME, SECOND_NAME])
def test_killed_while_the_live_database_was_frozen_the_next_run_ends_that(
    night: Night, tmp_path: Path, place: str
) -> None:
    with stopped_at(night, tmp_path, place, "--freeze") as process:
        process.kill()
        process.wait()
    wait_until(lambda: nobody_restores(night))
    with pytest.raises(Exception, match="read-only"):
        night.write_case("too late")
    plan = plan_restore(night.store, night.wish, night.admin, tools=night.tools)
    (note,) = [n for n in plan.notes if "read-only since a restore that was killed" in n]
    thaw = (
        f'ALTER DATABASE "{night.name}" RESET default_transaction_read_only; '
        f'ALTER DATABASE "{night.name}" RESET casedb.frozen'
    )
    assert note.endswith(thaw)
    status = subprocess.run(
        [sys.executable, "-m", "casedb", "status", "--json", *night.words],
        cwd=tmp_path, env=environment(night), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert status.returncode == 9, status.stderr
    (frozen,) = [f for f in json.loads(status.stdout)["findings"] if f["check"] == "freeze"]
    assert not frozen["well"]
    assert frozen["advice"].endswith(thaw)

    said = again(night, tmp_path)

    assert "is not any more" in said
    night.write_case("in the restored one")
    undo_restore(night.admin, plan_undo(night.admin, night.name), confirmed=True)
    night.write_case("and in the old one")


def children(pid: int) -> list[int]:
    """Return the processes below `pid`."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [below for child in map(int, found) for below in (child, *children(child))]


def is_pg_restore(pid: int) -> bool:
    """Whether `pid` runs, and is a pg_restore."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "Name:\tpg_restore" in status and "State:\tZ" not in status


def test_a_pg_restore_that_survived_its_casedb_is_ended_by_the_next_run(
    night: Night, tmp_path: Path
) -> None:
    before = identity(night)
    with running(night, tmp_path, "restoring") as process:
        wait_until((tmp_path / "marker").exists, process)
        (left,) = unfinished(night)
        waits = (
            f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{left}'"
            " AND wait_event_type = 'Lock'"
        )
        with closing(open_connection(night.admin, purpose="test", autocommit=False)) as holder:
            # Whatever gets its owner waits for this.
            holder.execute("LOCK TABLE pg_shdepend IN SHARE ROW EXCLUSIVE MODE")
            (tmp_path / "marker").unlink()
            wait_until(lambda: night.ask(waits, "postgres"), process)
            survivors = [pid for pid in children(process.pid) if is_pg_restore(pid)]
            process.kill()
            process.wait()
            assert survivors
            for pid in survivors:
                # So that it is as slow as with a large archive.
                os.kill(pid, signal.SIGSTOP)
    try:
        assert all(is_pg_restore(pid) for pid in survivors)
        assert night.ask(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{left}'")

        said = again(night, tmp_path)
    finally:
        for pid in survivors:
            os.kill(pid, signal.SIGCONT)

    wait_until(lambda: not any(is_pg_restore(pid) for pid in survivors))
    assert f'removed "{left}"' in said
    assert identity(night) != before
    assert unfinished(night) == []
    assert night.ask("SELECT count(*) FROM cases") == 1
