"""The way back from a restore: the databases swap their names again, and what was kept goes."""

import importlib
import io
from pathlib import Path
from typing import Any

import pytest

from backups import kept, swap
from backups.attempt import Wish
from backups.dump import dump
from backups.restore import restore
from backups.restore_facts import kept_databases
from backups.sealing import new_key, read_keys
from backups.stores import LocalStore
from backups.undo import plan_undo, undo_restore
from casedb.cli.main import run
from casedb.database import connect, open_connection
from casedb.errors import ConfigurationError, RefusedError
from tests.restore.conftest import Night


def test_undo_without_a_restore_says_so(night: Night) -> None:
    with pytest.raises(ConfigurationError, match="nothing to swap"):
        plan_undo(night.admin, night.name)


def test_undo_swaps_back_and_doing_it_twice_is_where_one_began(night: Night) -> None:
    night.write_case("after the backup")
    night.restore()

    plan = plan_undo(night.admin, night.name)
    assert plan.changes == ()
    first = undo_restore(night.admin, plan, confirmed=False)
    assert night.ask("SELECT count(*) FROM cases") == 2
    night.write_case("the old one can be written again")

    again = plan_undo(night.admin, night.name)
    assert any("public.cases had 2 rows and has 3" in line for line in again.changes or ())
    second = undo_restore(night.admin, again, confirmed=True)

    assert second.now == first.kept
    assert night.ask("SELECT count(*) FROM cases") == 1
    night.write_case("and so can the restored one")
    assert len(night.databases()) == 2


def test_undo_of_a_database_that_was_written_to_is_refused_unless_confirmed(night: Night) -> None:
    night.restore()
    night.write_case("since the restore")
    plan = plan_undo(night.admin, night.name)

    with pytest.raises(RefusedError, match="was changed since") as caught:
        undo_restore(night.admin, plan, confirmed=False)
    assert "public.cases had 1 rows and has 2" in (caught.value.detail or "")
    report = undo_restore(night.admin, plan, confirmed=True)

    assert night.ask("SELECT count(*) FROM cases", report.kept) == 2
    assert any("public.cases" in line for line in report.changes or ())


def test_what_is_written_between_the_look_and_the_swap_keeps_undo_from_swapping(
    night: Night,
) -> None:
    """By a session that stays: what it wrote is known at its end, which the swap waits for."""
    night.restore()
    with open_connection(night.live, purpose="test") as busy:
        busy.execute("SELECT 1")
        plan = plan_undo(night.admin, night.name)
        assert not plan.needs_confirmation
        busy.execute("CREATE TABLE late (n int)")
        before = night.databases()

        with pytest.raises(swap.WrittenMeanwhileError, match="written to just now"):
            undo_restore(night.admin, plan, confirmed=False)

    assert night.databases() == before
    assert night.ask("SELECT to_regclass('late')") == "late"
    again = plan_undo(night.admin, night.name)
    assert again.changes
    assert again.changes[0] == "table public.late is new, with 0 rows"
    assert undo_restore(night.admin, again, confirmed=True).changes == again.changes


def test_reading_between_the_look_and_the_swap_changes_nothing(night: Night) -> None:
    night.restore()
    plan = plan_undo(night.admin, night.name)
    night.ask("SELECT count(*) FROM cases")

    assert undo_restore(night.admin, plan, confirmed=False).changes == ()


def test_what_nobody_counts_has_to_be_confirmed(night: Night) -> None:
    night.restore()
    for statement in ("SET track_counts = off", "RESET track_counts"):
        with connect(night.admin, purpose="test") as connection:
            connection.execute(f"ALTER SYSTEM {statement}".encode())
            connection.execute("SELECT pg_reload_conf(), pg_sleep(0.2)")
        plan = plan_undo(night.admin, night.name)

        assert plan.changes == ()
        assert plan.needs_confirmation is statement.startswith("SET")


def test_the_command_looks_again_and_asks_for_what_was_written_meanwhile(
    night: Night,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    night.restore()

    def look_and_be_overtaken(*words: Any, **more: Any) -> Any:
        plan = plan_undo(*words, **more)
        monkeypatch.setattr(command, "plan_undo", plan_undo)
        night.write_case("while it was looked at")
        return plan

    command = importlib.import_module("casedb.cli.undo_restore")
    monkeypatch.setattr(command, "plan_undo", look_and_be_overtaken)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())

    code = run(["undo-restore", *night.words])

    assert code == 7
    assert "public.cases had 1 rows and has 2" in capsys.readouterr().err
    assert night.ask("SELECT count(*) FROM cases") == 2


def test_a_changed_row_counts_as_written_too(night: Night) -> None:
    night.restore()
    night.do("ALTER TABLE users DISABLE TRIGGER ALL; UPDATE users SET first_name = 'Other'")

    plan = plan_undo(night.admin, night.name)

    assert plan.needs_confirmation
    assert plan.changes == (
        "every table has as many rows as before, but not all the same",
        "catalog: trigger not as before",
    )


def test_only_what_was_kept_can_be_dropped(night: Night) -> None:
    report = night.restore()
    assert report.swap
    with connect(night.admin, purpose="test") as connection:
        (found,) = kept_databases(connection, night.name)

    undone = undo_restore(night.admin, plan_undo(night.admin, night.name), confirmed=False)
    with pytest.raises(RefusedError, match="is not a database that was kept"):
        kept.drop_kept(night.admin, found)
    with connect(night.admin, purpose="test") as connection:
        (other,) = kept_databases(connection, night.name)
    kept.drop_kept(night.admin, other)

    assert other.name == undone.kept
    assert night.databases() == [night.name]


def test_an_undo_names_no_table_where_backups_are_encrypted(night: Night, tmp_path: Path) -> None:
    public = new_key(tmp_path / "key")
    store = LocalStore(tmp_path / "sealed")
    source = night.live.replace(user="case_backup")
    sealed = dump(source, store, tools=night.tools, recipients=[public])
    wish = Wish(sealed.label, night.name, replace=True)
    restore(store, wish, night.admin, tools=night.tools, keys=read_keys(tmp_path / "key"))
    night.write_case("written later")

    plan = plan_undo(night.admin, night.name)
    undone = undo_restore(night.admin, plan, confirmed=True, store=store)

    assert any("public.cases" in line for line in undone.changes or ())
    (record,) = (store.root / night.name / "records").glob("*.undo.json")
    assert "public." not in record.read_text()
