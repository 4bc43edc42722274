"""The same command again, and the way back to any database that was kept."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backups import kept, swap, undo
from backups.attempt import plan_restore
from backups.restore_facts import kept_databases, read_server
from backups.undo import plan_undo, undo_restore
from casedb.database import connect, open_connection
from casedb.errors import ConfigurationError, RefusedError
from tests.restore.commands import run_words as casedb
from tests.restore.conftest import Night
from tests.restore.interrupting import at
from tests.restore.stopping import identity, nobody_restores, running, wait_until
from tests.restore.stopping import words as restoring


@pytest.mark.parametrize(
    "place", ["backups.swap:_committed", "counting what was written since the backup"]
)
def test_killed_behind_the_swap_the_same_command_restores_nothing_over_what_users_write(
    night: Night, tmp_path: Path, place: str
) -> None:
    with running(night, tmp_path, place) as process:
        wait_until((tmp_path / "marker").exists, process)
        process.kill()
        process.wait()
    wait_until(lambda: nobody_restores(night))
    night.write_case("by a user, into the restored one")
    restored, there = identity(night), night.databases()

    code, said = casedb(night, tmp_path, *restoring(night))

    assert code == 7
    assert f'"{night.name}" is {night.label} already' in said
    assert f"from {night.label} at" in said
    (before,) = set(there) - {night.name}
    assert f'"{before}", ' in said
    assert (identity(night), night.databases()) == (restored, there)
    assert night.ask("SELECT count(*) FROM cases") == 2

    code, said = casedb(night, tmp_path, *restoring(night), "--again")

    assert code == 0, said
    assert night.ask("SELECT count(*) FROM cases") == 1
    assert len(night.databases()) == 3


def test_what_was_undone_can_be_restored_again_without_more_words(night: Night) -> None:
    night.restore()
    undo_restore(night.admin, plan_undo(night.admin, night.name), confirmed=False)

    plan = plan_restore(night.store, night.wish, night.admin, tools=night.tools)

    assert plan.refusals == ()
    assert plan.live
    assert plan.live.restored is None
    assert [k.name for k in plan.live.kept] == [plan.live.previous]


def test_after_two_restores_the_first_database_can_be_swapped_back(
    night: Night, tmp_path: Path
) -> None:
    night.write_case("in the first database alone")
    first = identity(night)
    for again in ((), ("--again",)):
        code, said = casedb(night, tmp_path, *restoring(night), *again)
        assert code == 0, said
    plan = plan_undo(night.admin, night.name)
    (oldest,) = plan.others
    assert plan.kept != oldest

    code, said = casedb(night, tmp_path, "undo-restore", oldest, *night.words)

    assert code == 0, said
    assert f'"{oldest}" is database "{night.name}" again' in said
    assert identity(night) == first
    assert night.ask("SELECT count(*) FROM cases") == 2
    night.write_case("and it is written again")
    assert plan.kept in plan_undo(night.admin, night.name).others


def test_the_question_of_undo_names_what_else_is_kept(night: Night, tmp_path: Path) -> None:
    for again in ((), ("--again",)):
        assert casedb(night, tmp_path, *restoring(night), *again)[0] == 0
    night.write_case("so that it asks")
    (other,) = plan_undo(night.admin, night.name).others

    code, said = casedb(night, tmp_path, "undo-restore", *night.words)

    assert code == 7
    assert f'Kept as well, to be named instead: "{other}"' in said


def test_undo_to_what_was_never_kept_is_refused(night: Night) -> None:
    night.restore()

    with pytest.raises(ConfigurationError, match="was not kept of"):
        plan_undo(night.admin, night.name, "postgres")


def test_an_undo_that_another_one_has_overtaken_is_refused(night: Night) -> None:
    night.restore()
    plan = plan_undo(night.admin, night.name)
    undo_restore(night.admin, plan, confirmed=False)

    with pytest.raises(RefusedError, match="any more"):
        undo_restore(night.admin, plan, confirmed=True)


def test_who_has_confirmed_an_undo_does_not_wait_for_the_long_look(
    night: Night, tmp_path: Path
) -> None:
    night.restore()
    with open_connection(night.live, purpose="test", autocommit=False) as busy:
        # Whoever reads all tables waits for this one, until the swap ends it.
        busy.execute("LOCK TABLE cases IN ACCESS EXCLUSIVE MODE")

        code, said = casedb(night, tmp_path, "undo-restore", *night.words, "--confirm", night.name)

        assert code == 0, said
        with pytest.raises(psycopg.OperationalError):
            busy.execute("SELECT 1")


def test_swapping_back_and_dropping_go_through_no_pooler(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.restore()
    with connect(night.admin, purpose="test") as connection:
        (found,) = kept_databases(connection, night.name)
        pooled = replace(read_server(connection), is_pooled=True)
    for module in (undo, kept):
        monkeypatch.setattr(module, "read_server", lambda _connection: pooled)

    with pytest.raises(RefusedError, match="leads through a pooler"):
        plan_undo(night.admin, night.name)
    with pytest.raises(RefusedError, match="leads through a pooler"):
        kept.drop_kept(night.admin, found)
    assert found.name in night.databases()


@contextmanager
def following(night: Night) -> Iterator[Callable[[], None]]:
    """Yield what gives the live database a subscription, which is gone afterwards."""
    words = "CONNECTION '' PUBLICATION p WITH (connect = false, enabled = false, slot_name = NONE)"
    yield lambda: night.do(f"CREATE SUBSCRIPTION {night.name}_follows {words}")
    night.do(f"DROP SUBSCRIPTION {night.name}_follows")


def test_what_holds_the_name_only_since_the_plan_is_found_before_anybody_is_sent_away(
    night: Night,
) -> None:
    with following(night) as subscribe, open_connection(night.live, purpose="test") as user:
        with pytest.raises(RefusedError, match="would hold its name") as caught:
            night.restore(on_progress=at("swapping the names", subscribe))

        user.execute("SELECT 1")
    live, verified = night.databases()
    assert live == night.name
    assert f'"{verified}" is still there' in (caught.value.hint or "")


def test_undo_looks_for_what_holds_the_name_too(night: Night) -> None:
    night.restore()
    plan = plan_undo(night.admin, night.name)
    before = night.databases()
    with following(night) as subscribe:
        subscribe()
        with pytest.raises(RefusedError, match="would hold its name"):
            undo_restore(night.admin, plan, confirmed=True)
    assert night.databases() == before


def test_a_swap_at_the_second_attempt_tells_how_long_both_took(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "_LOCK_TIMEOUT_S", 1)
    attempt = swap._attempt
    with closing(open_connection(night.admin, purpose="test", autocommit=False)) as holder:

        def give_way_after_one(*words: Any) -> Any:
            try:
                return attempt(*words)
            except psycopg.errors.LockNotAvailable:
                holder.rollback()
                raise

        monkeypatch.setattr(swap, "_attempt", give_way_after_one)
        holder.execute(f"ALTER DATABASE {night.name} SET work_mem = '8MB'".encode())

        report = night.restore()

    assert report.swap
    assert report.swap.attempts == 2
    assert report.swap.unavailable_s >= 1
