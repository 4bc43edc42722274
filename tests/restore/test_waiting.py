"""A restore whose swap did not come off: what was verified waits, and again is only the swap."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from backups import fill, swap
from backups.attempt import Wish, plan_restore
from backups.dump import dump
from backups.restore_plan import RestorePlan
from backups.undo import plan_undo, undo_restore
from casedb.errors import DifferenceError, LockedError, RefusedError, TerminatedError
from tests.restore.conftest import Night
from tests.restore.interrupting import at, interrupt
from tests.restore.stopping import NAME, holding, unfinished
from tests.restore.test_replace import kept_settings


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "ATTEMPTS", 2)
    monkeypatch.setattr(swap, "_LOCK_TIMEOUT_S", 0.2)


@contextmanager
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if an archive is loaded in the block."""
    with monkeypatch.context() as patch:
        patch.delattr(fill, "load")
        yield


def locked_out(night: Night, wish: Wish | None = None) -> tuple[str, LockedError]:
    """Let a restore fail at its swap; return what waits, and the error."""
    with holding(night, night.name, NAME), pytest.raises(LockedError) as caught:
        night.restore(wish)
    (left,) = unfinished(night)
    return left, caught.value


def planned(night: Night, wish: Wish | None = None) -> RestorePlan:
    return plan_restore(night.store, wish or night.wish, night.admin, tools=night.tools)


@pytest.mark.parametrize("freeze", [False, True])
def test_what_was_verified_waits_and_the_next_run_goes_straight_to_the_swap(
    night: Night, monkeypatch: pytest.MonkeyPatch, freeze: bool
) -> None:
    night.do(f"ALTER DATABASE {night.name} SET work_mem = '7MB'")
    before = kept_settings(night, night.name)
    wish = Wish(night.label, night.name, replace=True, freeze=freeze)

    left, error = locked_out(night, wish)

    assert f'"{left}" is still there' in str(error.hint)
    assert "The same restore again goes straight to the swap" in str(error.hint)
    assert kept_settings(night, night.name) == before
    night.write_case("the application goes on")
    with pytest.raises(Exception, match="read-only"):
        night.do("DELETE FROM case_documents", left)
    plan = planned(night)
    assert plan.waiting == left
    assert plan.need_bytes == 0
    assert f'"{left}", which an earlier run restored and verified' in plan.steps[0]
    assert not any(left in note for note in plan.notes)
    with nothing_loaded(monkeypatch):
        report = night.restore(wish)

    assert report.swap
    assert "restore" not in report.phases_s
    assert f'"{left}" had been restored before, and was still what was verified' in report.notes
    assert night.databases() == sorted([night.name, report.swap.kept])
    assert night.ask("SELECT count(*) FROM cases") == 1
    assert night.ask("SELECT count(*) FROM cases", report.swap.kept) == 2
    now = kept_settings(night, night.name)
    assert now["work_mem"] == "7MB"
    assert not now.keys() & {"default_transaction_read_only", "casedb.verified", "casedb.frozen"}
    night.write_case("into the restored one")


def test_the_command_of_the_error_removes_it(night: Night) -> None:
    _, error = locked_out(night)

    night.do(re.findall("DROP DATABASE .*", str(error.hint))[0], "postgres")

    assert night.databases() == [night.name]
    assert planned(night).waiting is None


def test_it_waits_for_as_long_as_the_swap_does_not_come_off(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked out again, interrupted, and refused for what somebody has prepared."""
    left, _ = locked_out(night)
    with nothing_loaded(monkeypatch):
        assert locked_out(night)[0] == left
        with pytest.raises(TerminatedError) as caught:
            night.restore(on_progress=at("comparing with the manifest", interrupt))
        assert left in "".join(caught.value.__notes__)
        with monkeypatch.context() as patch:
            patch.setattr(swap, "obstacle_refusals", refuse)
            with pytest.raises(RefusedError, match="prepared") as refused:
                night.restore()
        assert left in str(refused.value.hint)
        assert night.restore().swap
    assert unfinished(night) == []


def refuse(*_words: object) -> list[Any]:
    class Refusal:
        def as_error(self) -> RefusedError:
            return RefusedError("prepared", hint="Settle it.")

    return [Refusal()]


def test_a_refusal_that_came_up_meanwhile_keeps_what_was_verified(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "obstacle_refusals", refuse)

    with pytest.raises(RefusedError, match="prepared") as caught:
        night.restore()

    (left,) = unfinished(night)
    assert str(caught.value.hint).startswith(f'Settle it. "{left}" is still there')
    assert planned(night).waiting == left


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE users DISABLE TRIGGER ALL; UPDATE users SET first_name = 'Other'",
        "DROP INDEX {index}",
        "DROP TABLE case_documents CASCADE",
    ],
)
def test_what_was_changed_while_it_waited_is_not_swapped_in(night: Night, change: str) -> None:
    left, _ = locked_out(night)
    index = night.ask(
        "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisunique"
        " AND indrelid = 'cases'::regclass LIMIT 1"
    )
    statement = change.format(index=index)
    night.do(f"SET transaction_read_only = off; {statement}", left)

    with pytest.raises(DifferenceError, match="not what was verified any more") as caught:
        night.restore()

    assert caught.value.detail
    assert night.databases() == [night.name]
    assert night.restore().swap


def test_another_backup_removes_it(night: Night) -> None:
    left, _ = locked_out(night)
    night.write_case("in the newer backup")
    newer = dump(night.live.replace(user="case_backup"), night.store, tools=night.tools)
    wish = Wish(newer.label, night.name, replace=True)
    assert planned(night, wish).waiting is None
    assert any(left in note for note in planned(night, wish).notes)

    report = night.restore(wish)

    assert f'removed "{left}", which a restore had left unfinished' in report.notes
    assert night.ask("SELECT count(*) FROM cases") == 2


def test_what_only_says_that_it_is_verified_is_compared_all_the_same(night: Night) -> None:
    night.do(f"CREATE DATABASE {night.name}_restoring_abcdef", "postgres")
    night.do(
        f"ALTER DATABASE {night.name}_restoring_abcdef SET casedb.verified = '{night.label}'",
        "postgres",
    )

    with pytest.raises(DifferenceError, match="not what was verified any more"):
        night.restore()

    assert night.databases() == [night.name]


def test_what_waited_can_be_swapped_back_like_any_other(night: Night) -> None:
    locked_out(night)
    night.restore()

    plan = plan_undo(night.admin, night.name)

    assert plan.changes == ()
    undo_restore(night.admin, plan, confirmed=False)
    night.write_case("in the old one")
