"""The same command again, and the way back to any database that was kept."""

import subprocess
import sys
from pathlib import Path

import pytest

from backups.restore import plan_restore
from backups.undo import plan_undo, undo_restore
from casedb.errors import ConfigurationError, RefusedError
from tests.restore.conftest import Night
from tests.restore.test_killed import environment, identity, nobody_restores, running, wait_until
from tests.restore.test_killed import words as restoring


def casedb(night: Night, folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "casedb", *words],
        cwd=folder,
        env=environment(night),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


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
