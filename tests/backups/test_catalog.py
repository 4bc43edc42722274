"""What the store holds is told as it is: by recorded time, broken ones included."""

import json
import math
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backups.catalog import catalog, read_backup, resolve_label
from backups.labels import database_of, folder_of, label_of
from backups.manifest import DUMP, MANIFEST
from backups.records import write_record
from backups.reports import DrillReport
from backups.stores import LocalStore, open_store
from backups.verify import damaged, verify
from casedb.cli.main import run
from casedb.errors import ConfigurationError, RefusedError, ToolFailedError
from casedb.tools import PostgresTools
from tests.backups.conftest import Made

DATABASE = "sample db"


def add(made: Made, label: str, started_at: datetime) -> Path:
    path = made.store.root / DATABASE / label
    shutil.copytree(made.folder, path)
    manifest = made.manifest.model_copy(update={"label": label, "started_at": started_at})
    (path / MANIFEST).write_bytes(manifest.to_bytes())
    return path


def test_backups_are_ordered_by_recorded_time_and_never_by_name(copied: Made) -> None:
    older = copied.manifest.started_at - timedelta(days=1)
    add(copied, "sample db-29990101T000000Z", older)

    found = [backup.label for backup in catalog(copied.store, DATABASE)]

    assert found == [copied.label, "sample db-29990101T000000Z"]
    assert resolve_label(copied.store, DATABASE, "latest").label == copied.label


def test_broken_sets_are_listed_with_what_is_wrong(copied: Made) -> None:
    now = datetime.now(UTC)
    short = add(copied, "sample db-20260101T000000Z", now)
    (short / DUMP).write_bytes(b"short")
    bare = add(copied, "sample db-20260102T000000Z", now)
    (bare / MANIFEST).unlink()
    poor = add(copied, "sample db-20260103T000000Z", now)
    (poor / "globals.sql").unlink()
    (copied.store.root / DATABASE / "empty").mkdir()

    damage = {b.label: b.damage for b in catalog(copied.store, DATABASE)}

    assert damage[copied.label] is None
    assert "has 5 bytes" in str(damage[short.name])
    assert "manifest is missing" in str(damage[bare.name])
    assert damage[poor.name] == "globals.sql is missing."
    assert "manifest is missing" in str(damage["empty"])
    # A newer one that is broken is never "latest".
    assert resolve_label(copied.store, DATABASE, "latest").label == copied.label


def test_the_newest_stays_the_newest_when_its_manifest_is_destroyed(copied: Made) -> None:
    older = add(copied, "sample db-20200101T000000Z", copied.manifest.started_at.replace(year=2020))
    (copied.folder / MANIFEST).write_bytes(b"")

    assert [b.label for b in catalog(copied.store, DATABASE)] == [copied.label, older.name]
    looked_at = resolve_label(copied.store, DATABASE, "latest", good_only=False)
    assert looked_at.label == copied.label
    assert resolve_label(copied.store, DATABASE, "latest").label == older.name


@pytest.mark.parametrize("name", ["database.dump.zst", "globals.sql", "catalog.json"])
def test_a_manifest_that_leaves_out_a_file_is_damage(copied: Made, name: str) -> None:
    """Who may write to the store can make a manifest that agrees with an empty folder."""
    files = {n: facts for n, facts in copied.manifest.files.items() if n != name}
    manifest = copied.manifest.model_copy(update={"files": files})
    (copied.folder / MANIFEST).write_bytes(manifest.to_bytes())
    (copied.folder / name).unlink()

    damage = read_backup(copied.store, DATABASE, copied.label).damage

    assert damage == f"{name} is not in the manifest, and no backup is without it."


def test_a_clear_set_said_to_be_encrypted_is_damage(copied: Made) -> None:
    manifest = copied.manifest.model_copy(update={"recipients": ("age1xyz",)})
    (copied.folder / MANIFEST).write_bytes(manifest.to_bytes())

    damage = read_backup(copied.store, DATABASE, copied.label).damage

    assert "database.dump.zst.age is not in the manifest" in str(damage)


def test_the_latest_drilled_is_found(drilled: tuple[Made, DrillReport], tmp_path: Path) -> None:
    made = drilled[0].copy(tmp_path / "store")
    newer = made.manifest.started_at + timedelta(seconds=5)
    add(made, "sample db-29990101T000000Z", newer)

    assert resolve_label(made.store, DATABASE, "latest").label == "sample db-29990101T000000Z"
    assert resolve_label(made.store, DATABASE, "latest-drilled").label == made.label


def test_a_backup_from_the_future_is_the_latest_only_if_there_is_no_other(copied: Made) -> None:
    ahead = add(copied, "sample db-29990101T000000Z", datetime.now(UTC) + timedelta(days=400))

    assert catalog(copied.store, DATABASE)[0].label == ahead.name
    assert resolve_label(copied.store, DATABASE, "latest").label == copied.label
    assert resolve_label(copied.store, DATABASE, "latest", good_only=False).label == copied.label
    with pytest.raises(RefusedError, match="which backup is the latest cannot be told") as refused:
        resolve_label(copied.store, DATABASE, "latest", certain=True)
    assert ahead.name in refused.value.message
    assert f"The newest that is not from the future is {copied.label}" in f"{refused.value.detail}"
    assert resolve_label(copied.store, DATABASE, ahead.name, certain=True).label == ahead.name

    hint = damaged(copied.store, DATABASE, "another", []).hint
    assert f"{hint}".startswith(f"Restore {copied.label} instead, and")

    shutil.rmtree(copied.folder)

    assert resolve_label(copied.store, DATABASE, "latest", certain=True).label == ahead.name


def test_a_label_with_a_slip_is_told_the_nearest(copied: Made) -> None:
    with pytest.raises(ConfigurationError, match="there is no backup") as caught:
        resolve_label(copied.store, DATABASE, copied.label.replace("Z", ""))

    assert caught.value.hint == f'Did you mean "{copied.label}"?'
    assert caught.value.exit_code == 3


def test_without_any_backup_the_way_to_one_is_told(copied: Made) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_label(copied.store, "another", "latest")
    assert "casedb dump" in str(caught.value.hint)

    with pytest.raises(ConfigurationError) as caught:
        resolve_label(copied.store, DATABASE, "latest-drilled")
    assert "casedb drill" in str(caught.value.hint)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        {"at": "2026-11-22T03:00:00"},
        {"phases_s": {"restore": math.inf}},
        {"phases_s": {"roles": 1e308, "restore": 1e308}},
        {"duration_s": math.nan},
    ],
    ids=["no JSON", "no zone", "infinite", "infinite as a sum", "no number"],
)
def test_a_record_that_cannot_be_read_proves_nothing(
    drilled: tuple[Made, DrillReport],
    tmp_path: Path,
    odd: dict[str, object] | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = drilled[0].copy(tmp_path / "store")
    record = made.store.root / DATABASE / "records" / f"{made.label}.drill.json"
    record.write_text("{" if odd is None else json.dumps(json.loads(record.read_bytes()) | odd))

    (backup,) = catalog(made.store, DATABASE)

    assert backup.is_good
    assert backup.drilled is None
    words = ["--store", str(made.store.root), "--database", DATABASE]
    assert run(["backups", *words]) == 0
    assert run(["rotate", *words]) == 0
    assert "never" in capsys.readouterr().out


def test_a_verify_that_failed_without_saying_why_counts(
    drilled: tuple[Made, DrillReport], tools: PostgresTools, tmp_path: Path
) -> None:
    made = drilled[0].copy(tmp_path / "store")
    failed = verify(made.store, made.label, tools=tools).model_copy(update={"outcome": "failed"})
    write_record(made.store, DATABASE, failed)

    (backup,) = catalog(made.store, DATABASE)

    assert f"{backup.damage}".endswith(": it does not say why")
    assert run(["backups", "--store", str(made.store.root), "--database", DATABASE]) == 0


def test_a_manifest_whose_time_names_no_zone_is_damage(copied: Made) -> None:
    naive = copied.manifest.started_at.replace(tzinfo=None)
    add(copied, "sample db-20260101T000000Z", naive)

    whole, odd = catalog(copied.store, DATABASE)

    assert whole.label == copied.label
    assert "started_at: Input should have timezone info" in f"{odd.damage}"


def test_a_store_that_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    """An unmounted disk must not look like "no backups"."""
    with pytest.raises(ConfigurationError, match="there is no store"):
        catalog(LocalStore(tmp_path / "not mounted"), DATABASE)


def test_a_store_is_opened_by_url_or_path(tmp_path: Path) -> None:
    assert open_store(str(tmp_path)).url == tmp_path.as_uri()
    assert open_store(tmp_path.as_uri()).url == tmp_path.as_uri()
    assert open_store("file:///var/back%20ups").url == "file:///var/back%20ups"
    for wrong in ("ftp://host/path", "file://other/path", "s3:/"):
        if "://" in wrong:
            with pytest.raises(ConfigurationError, match="address cannot be used"):
                open_store(wrong)


def test_databases_of_a_store_are_listed(copied: Made) -> None:
    assert copied.store.databases() == [DATABASE]


@pytest.mark.parametrize("name", ["plain", "../up", ".hidden", "a/b", "ä ö", "100%", "x-1", "."])
def test_any_name_of_a_database_makes_a_folder_of_its_own(name: str) -> None:
    label = label_of(name, datetime(2026, 11, 22, 16, tzinfo=UTC))

    assert "/" not in label
    assert not folder_of(name).startswith(".")
    assert label.endswith("-20261122T160000Z")
    assert database_of(label) == name


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(ToolFailedError, match="cannot be written"),
        LocalStore(tmp_path / "file" / "below").lock(DATABASE),
    ):
        pass
