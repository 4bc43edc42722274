"""A restore with --freeze: the live database is read-only meanwhile, and not by oversight after."""

import dataclasses
from typing import Any, NoReturn

import pytest

from backups import kept
from backups.attempt import Wish
from casedb.database import connect
from casedb.errors import LockedError, ServerUnreachableError, TerminatedError, ToolFailedError
from tests.restore.conftest import Night
from tests.restore.interrupting import at, interrupt
from tests.restore.test_replace import kept_settings


def is_read_only(night: Night) -> bool:
    return bool(night.ask("SELECT current_setting('default_transaction_read_only')::bool"))


def test_frozen_whole_although_somebody_ended_half_of_an_earlier_freeze(night: Night) -> None:
    night.do(f"ALTER DATABASE {night.name} SET casedb.frozen = 'unset'")
    wish = Wish(night.label, night.name, replace=True, freeze=True)
    seen: list[bool] = []

    night.restore(wish, on_progress=at("restoring", lambda: seen.append(is_read_only(night))))

    assert seen[0]
    assert not is_read_only(night)


def test_a_signal_just_when_it_is_frozen_ends_that(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze = kept.freeze

    def and_interrupt(*words: Any) -> None:
        freeze(*words)
        assert is_read_only(night)
        interrupt()

    monkeypatch.setattr(kept, "freeze", and_interrupt)

    with pytest.raises(TerminatedError):
        night.restore(Wish(night.label, night.name, replace=True, freeze=True))

    assert not is_read_only(night)


@pytest.mark.parametrize("before", ["unset", "on"])
def test_a_freeze_that_cannot_be_ended_is_an_error_with_the_sql_that_ends_it(
    night: Night, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """Also of a database that was read-only by intent: it is so afterwards."""
    if before == "on":
        night.do(f"ALTER DATABASE {night.name} SET default_transaction_read_only = on")

    def fails(*_words: object) -> NoReturn:
        raise ServerUnreachableError("nobody answers")

    monkeypatch.setattr(kept, "unfreeze", fails)

    with pytest.raises(ToolFailedError, match="could not be cleaned up") as caught:
        night.restore(
            Wish(night.label, night.name, replace=True, freeze=True),
            on_progress=at("restoring", interrupt),
        )

    assert is_read_only(night)
    command = str(caught.value.hint).partition("so does: ")[2]
    for statement in command.split("; "):
        night.do(statement, "postgres")
    assert is_read_only(night) is (before == "on")
    assert "casedb.frozen" not in str(kept_settings(night, night.name))


def test_a_freeze_does_not_wait_for_ever_for_somebody_who_changes_settings(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_WAIT_FOR_SETTINGS", "SET LOCAL lock_timeout = '200ms'")
    before = kept_settings(night, night.name)

    with connect(night.admin, purpose="test", autocommit=False) as somebody:
        somebody.execute(f"ALTER DATABASE {night.name} SET work_mem = '5MB'".encode())
        with pytest.raises(LockedError, match="changing the settings"):
            night.restore(dataclasses.replace(night.wish, freeze=True))
        somebody.rollback()

    assert kept_settings(night, night.name) == before
    assert night.databases() == [night.name]
