"""What root writes among another account's files is that account's to read and to delete."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backups.manifest import MANIFEST
from backups.metrics import write_metrics
from backups.stores.local import LocalStore
from casedb.errors import ToolFailedError, UnverifiedError
from casedb.runs import Run, append_line

SOMEBODY = 65534
LABEL = "app-20261122T030000Z"
RUN = Run(
    command="restore",
    database="app",
    label=LABEL,
    outcome="success",
    exit_code=0,
    started_at=datetime(2026, 11, 22, 3, tzinfo=UTC),
    seconds=1,
    bytes=None,
    store=(),
    message=None,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of another account, as a host's store is to its administrator."""
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    return tmp_path


def not_theirs(folder: Path) -> list[str]:
    return [str(p) for p in folder.rglob("*") if p.lstat().st_uid != SOMEBODY]


def test_all_of_a_store_belongs_to_the_stores_owner(folder: Path) -> None:
    store = LocalStore(folder)
    with store.lock("app"), store.new_set("app", LABEL) as made:
        with made.create(MANIFEST) as file:
            file.write(b"{}")
        made.commit()
    store.write_record("app", LABEL, "restore", b"{}")

    assert store.recorded("app", "restore") == [LABEL]
    assert not_theirs(folder) == []


def test_the_log_and_the_metrics_belong_to_their_folders_owner(folder: Path) -> None:
    append_line(folder / "runs.jsonl", RUN)
    write_metrics(folder / "app.prom", [], [RUN])

    assert not_theirs(folder) == []


def test_a_store_of_another_account_is_unread_and_not_a_fault(folder: Path) -> None:
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.seteuid(SOMEBODY)
    try:
        with pytest.raises(UnverifiedError, match="the store cannot be read"):
            LocalStore(home / "backups").databases()
    finally:
        os.seteuid(0)


def test_a_log_that_is_there_keeps_its_owner(folder: Path) -> None:
    log = folder / "runs.jsonl"
    log.touch()
    os.chown(log, 1, 1)

    append_line(log, RUN)

    assert log.stat().st_uid == 1


@pytest.mark.parametrize("make", ["records", "app"])
def test_what_a_link_in_its_place_names_is_not_given_away(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, make: str
) -> None:
    """Else the account that owns a store could have root give it any folder of the machine."""
    roots = tmp_path_factory.mktemp("roots")
    store = LocalStore(folder)
    (folder / "app").mkdir()
    link = folder / "app" / "records" if make == "records" else folder / "app"
    if make == "app":
        link.rmdir()
    link.symlink_to(roots)

    with store.lock("app"):
        store.write_record("app", LABEL, "restore", b"{}")

    assert roots.stat().st_uid == 0


def test_a_log_that_is_a_link_to_nothing_is_not_made_elsewhere(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("roots") / "made"
    (folder / "runs.jsonl").symlink_to(elsewhere)

    with pytest.raises(ToolFailedError):
        append_line(folder / "runs.jsonl", RUN)

    assert not elsewhere.exists()


def test_metrics_do_not_follow_a_link(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("roots") / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    (folder / f".app.prom.{os.getpid()}").symlink_to(secret)

    write_metrics(folder / "app.prom", [], [RUN])

    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("secret", 0o600)
    assert secret.stat().st_uid == 0
    assert not_theirs(folder) == []
