"""Verify tells damaged from unreadable, names the file, and says what to restore instead."""

import json
import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from backups.catalog import read_backup
from backups.dump import dump
from backups.manifest import DUMP, MANIFEST
from backups.stores import LocalStore
from backups.verify import verify
from casedb.conninfo import Conninfo
from casedb.errors import (
    BackupDamagedError,
    ConfigurationError,
    ToolFailedError,
    UnverifiedError,
)
from casedb.tools import PostgresTools
from tests.backups.conftest import Made


def flip(path: Path, position: int) -> None:
    """Flip one bit, as a dying disk does: the size stays."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_whole_backup_passes_and_the_outcome_is_recorded(
    copied: Made, tools: PostgresTools
) -> None:
    report = verify(copied.store, copied.label, tools=tools)

    assert report.outcome == "passed"
    assert report.files == 6
    assert report.size_bytes == copied.manifest.size_bytes
    assert read_backup(copied.store, "sample db", copied.label).verified == report
    # The set itself was not touched: it may lie where nothing can be changed.
    assert {p.name for p in copied.folder.iterdir()} == {*copied.manifest.files, MANIFEST}


@pytest.mark.parametrize("name", ["database.dump.zst", "globals.sql", "catalog.json"])
def test_one_flipped_bit_is_found_and_the_file_named(
    copied: Made, tools: PostgresTools, name: str
) -> None:
    flip(copied.folder / name, -10)

    with pytest.raises(BackupDamagedError, match="does not match its manifest") as caught:
        verify(copied.store, copied.label, tools=tools)

    assert f"{name} has SHA-256" in (caught.value.detail or "")
    backup = read_backup(copied.store, "sample db", copied.label)
    assert not backup.is_good
    assert backup.verified
    assert backup.verified.outcome == "failed"


def test_a_dump_cut_short_is_found(copied: Made, tools: PostgresTools) -> None:
    """pg_restore --list is content with the first half."""
    path = copied.folder / DUMP
    os.truncate(path, path.stat().st_size * 6 // 10)

    with pytest.raises(BackupDamagedError) as caught:
        verify(copied.store, copied.label, tools=tools)

    assert f"{DUMP} has" in (caught.value.detail or "")


def test_a_store_that_lets_nobody_write_is_verified_all_the_same(
    copied: Made, tools: PostgresTools
) -> None:
    # A folder cannot be replaced by a file, for root neither.
    (copied.store.root / "sample db" / "records" / f"{copied.label}.verify.json").mkdir(
        parents=True
    )

    report = verify(copied.store, copied.label, tools=tools)

    assert report.outcome == "passed"
    assert "could not be recorded: the store cannot be written" in report.notes[0]


def test_damage_on_a_read_only_store_is_still_damage(copied: Made, tools: PostgresTools) -> None:
    class ReadOnly(LocalStore):
        def write_record(self, *_: object) -> None:
            raise ToolFailedError("the store cannot be written")

    flip(copied.folder / DUMP, -10)

    with pytest.raises(BackupDamagedError, match="does not match its manifest"):
        verify(ReadOnly(copied.store.root), copied.label, tools=tools)


def test_a_missing_and_an_unexpected_file_are_found(copied: Made, tools: PostgresTools) -> None:
    (copied.folder / "globals.sql").rename(copied.folder / "globals.sql.bak")

    with pytest.raises(BackupDamagedError) as caught:
        verify(copied.store, copied.label, tools=tools)

    assert "globals.sql is missing" in (caught.value.detail or "")
    assert "globals.sql.bak is not in the manifest" in (caught.value.detail or "")


def test_a_changed_digit_in_the_manifest_is_found(copied: Made, tools: PostgresTools) -> None:
    path = copied.folder / MANIFEST
    rows = json.loads(path.read_text())["tables"][0]["rows"]
    path.write_text(path.read_text().replace(f'"rows": {rows}', f'"rows": {rows + 1}', 1))

    with pytest.raises(BackupDamagedError, match="changed manifest"):
        verify(copied.store, copied.label, tools=tools)


def test_a_manifest_that_names_nothing_is_found(copied: Made, tools: PostgresTools) -> None:
    empty = copied.manifest.model_copy(update={"files": {}})
    for path in copied.folder.iterdir():
        path.unlink()
    (copied.folder / MANIFEST).write_bytes(empty.to_bytes())

    with pytest.raises(BackupDamagedError) as caught:
        verify(copied.store, copied.label, tools=tools)

    assert "database.dump.zst is not in the manifest" in (caught.value.detail or "")


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a/b", "..", "", "x\n"])
def test_a_manifest_names_files_of_its_own_folder_only(
    copied: Made, tools: PostgresTools, name: str
) -> None:
    facts = copied.manifest.files["globals.sql"]
    manifest = copied.manifest.model_copy(update={"files": {**copied.manifest.files, name: facts}})
    (copied.folder / MANIFEST).write_bytes(manifest.to_bytes())

    with pytest.raises(BackupDamagedError, match="no readable manifest"):
        verify(copied.store, copied.label, tools=tools)


def test_a_manifest_with_more_in_it_may_be_a_newer_casedb_s(
    copied: Made, tools: PostgresTools
) -> None:
    path = copied.folder / MANIFEST
    path.write_text(path.read_text().replace("{", '{"of_next_year": 1,', 1))

    with pytest.raises(BackupDamagedError, match="no readable manifest") as caught:
        verify(copied.store, copied.label, tools=tools)

    assert "of_next_year" in (caught.value.detail or "")
    assert "newer casedb" in (caught.value.detail or "")


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"schema_version": 2}'])
def test_a_manifest_that_cannot_be_read_is_damage(
    copied: Made, tools: PostgresTools, content: str
) -> None:
    (copied.folder / MANIFEST).write_text(content)

    with pytest.raises(BackupDamagedError, match="no readable manifest"):
        verify(copied.store, copied.label, tools=tools)


def test_another_backups_folder_is_not_taken_for_this_one(
    copied: Made, tools: PostgresTools
) -> None:
    label = "sample db-20200101T000000Z"
    copied.folder.rename(copied.folder.with_name(label))

    with pytest.raises(BackupDamagedError, match="manifest of another backup"):
        verify(copied.store, label, tools=tools)


def test_what_cannot_be_read_is_unverified_and_not_damaged(
    copied: Made, tools: PostgresTools
) -> None:
    path = copied.folder / DUMP
    path.unlink()
    # Opening it for reading fails, for root too: a link to itself.
    path.symlink_to(path)

    with pytest.raises(UnverifiedError, match="cannot be read"):
        verify(copied.store, copied.label, tools=tools)

    assert read_backup(copied.store, "sample db", copied.label).verified is None


def test_an_unknown_label_is_neither(copied: Made, tools: PostgresTools) -> None:
    with pytest.raises(ConfigurationError, match="there is no backup"):
        verify(copied.store, "sample db-20200101T000000Z", tools=tools)
    with pytest.raises(ConfigurationError, match="not the label"):
        verify(copied.store, "nonsense", tools=tools)


def test_the_next_older_good_backup_is_named(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    oldest, older, broken, newer = (dump(small, store, tools=tools) for _ in range(4))
    home = tmp_path / small.dbname
    flip(home / broken.label / DUMP, 50)
    # At a glance already not good, so it is not what is named.
    os.truncate(home / older.label / DUMP, 5)

    with pytest.raises(BackupDamagedError) as caught:
        verify(store, broken.label, tools=tools)

    assert f"Restore {oldest.label} instead" in (caught.value.hint or "")
    assert newer.started_at - oldest.started_at > timedelta(0)


def _socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


@pytest.mark.parametrize("name", ["catalog.json", DUMP])
@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, _socket], ids=["pipe", "folder", "socket"])
def test_what_is_no_file_is_damage_and_nobody_waits_for_it(
    copied: Made, tools: PostgresTools, put: Callable[[Path], None], name: str
) -> None:
    (copied.folder / name).unlink()
    put(copied.folder / name)

    with pytest.raises(BackupDamagedError) as caught:
        verify(copied.store, copied.label, tools=tools)

    assert caught.value.detail == f"{name} is not a file."


def test_a_record_that_is_no_file_proves_nothing(copied: Made) -> None:
    records = copied.store.root / "sample db" / "records"
    records.mkdir(exist_ok=True)
    os.mkfifo(records / f"{copied.label}.verify.json")

    assert read_backup(copied.store, "sample db", copied.label).verified is None
