"""Rotating deletes what has expired, and cannot hurt."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backups.catalog import catalog, read_backup
from backups.manifest import DUMP, MANIFEST
from backups.retention import Retention
from backups.rotate import rotate
from backups.stores import LocalStore
from backups.tombstones import Tombstone, read_tombstones
from backups.verify import verify
from casedb.errors import LockedError, RefusedError, ToolFailedError
from casedb.tools import PostgresTools
from tests.backups.conftest import Made

NOW = datetime.now(UTC)
A_WEEK = Retention(timedelta(days=7), keep_last=1)
DATABASE = "sample db"


@pytest.fixture
def aged(made: Made, tmp_path: Path) -> LocalStore:
    """A store with backups of 0, 5, 10 and 20 days ago."""
    store = LocalStore(tmp_path / "store")
    home = store.root / DATABASE
    home.mkdir(parents=True)
    for days in (0, 5, 10, 20):
        label = label_of_age(days)
        shutil.copytree(made.folder, home / label)
        manifest = made.manifest.model_copy(
            update={"label": label, "started_at": NOW - timedelta(days=days)}
        )
        (home / label / MANIFEST).write_bytes(manifest.to_bytes())
    return store


def label_of_age(days: int) -> str:
    return f"{DATABASE}-{NOW - timedelta(days=days):%Y%m%dT%H%M%SZ}"


def labels(store: LocalStore) -> list[str]:
    return [backup.label for backup in catalog(store, DATABASE)]


def test_without_apply_nothing_is_deleted(aged: LocalStore) -> None:
    before = labels(aged)

    plan = rotate(aged, DATABASE, A_WEEK, now=NOW, apply=False)

    assert [e.backup.label for e in plan.expired] == [label_of_age(10), label_of_age(20)]
    assert plan.deleted == ()
    assert labels(aged) == before


def test_with_apply_what_has_expired_is_gone_oldest_first(
    aged: LocalStore, tools: PostgresTools
) -> None:
    verify(aged, label_of_age(20), tools=tools)
    checksum = read_backup(aged, DATABASE, label_of_age(20)).manifest_sha256

    plan = rotate(aged, DATABASE, A_WEEK, now=NOW, apply=True)

    assert plan.deleted == (label_of_age(20), label_of_age(10))
    assert labels(aged) == [label_of_age(0), label_of_age(5)]
    # Its records go with it; that it was deleted on purpose stays.
    names = {path.name for path in (aged.root / DATABASE / "records").iterdir()}
    assert names == {f"{label}.expired.json" for label in plan.deleted}
    tombstone = read_tombstones(aged, DATABASE)[label_of_age(20)]
    assert tombstone.reason == "no rule keeps it"
    assert tombstone.manifest_sha256 == checksum
    assert rotate(aged, DATABASE, A_WEEK, now=NOW, apply=True).deleted == ()


def test_a_clock_that_jumped_back_deletes_nothing(aged: LocalStore) -> None:
    before = labels(aged)

    with pytest.raises(RefusedError, match="from the future"):
        rotate(aged, DATABASE, A_WEEK, now=NOW - timedelta(days=1), apply=True)

    assert labels(aged) == before


def test_a_clock_that_jumped_ahead_deletes_nothing_unless_the_number_is_confirmed(
    aged: LocalStore,
) -> None:
    before = labels(aged)
    policy, later = Retention(keep_last=2), NOW + timedelta(days=9999)

    with pytest.raises(RefusedError, match="unusually much") as caught:
        rotate(aged, DATABASE, policy, now=later, apply=True)
    assert "--confirm 2" in (caught.value.hint or "")
    with pytest.raises(RefusedError, match="2 backups have expired, not 3"):
        rotate(aged, DATABASE, policy, now=later, apply=True, confirmed=3)
    assert labels(aged) == before

    rotate(aged, DATABASE, policy, now=later, apply=True, confirmed=2)

    # Not even then the last two.
    assert labels(aged) == [label_of_age(0), label_of_age(5)]


def test_a_dump_after_the_clock_jumped_ahead_does_not_let_the_others_go_unasked(
    aged: LocalStore, made: Made
) -> None:
    later, policy = NOW + timedelta(days=60), Retention(timedelta(days=28), keep_last=2)
    label = label_of_age(-60)
    manifest = made.manifest.model_copy(update={"label": label, "started_at": later})
    shutil.copytree(made.folder, aged.root / DATABASE / label)
    (aged.root / DATABASE / label / MANIFEST).write_bytes(manifest.to_bytes())
    before = labels(aged)
    assert len(before) == 5

    with pytest.raises(RefusedError, match="unusually much") as caught:
        rotate(aged, DATABASE, policy, now=later, apply=True)

    assert caught.value.detail == "3 of 5 backups would go at once."
    assert "--confirm 3" in (caught.value.hint or "")
    assert labels(aged) == before


def test_a_backup_that_somebody_reads_stays(aged: LocalStore) -> None:
    with aged.lease(DATABASE, label_of_age(20)):
        plan = rotate(aged, DATABASE, A_WEEK, now=NOW, apply=True)

    assert plan.deleted == (label_of_age(10),)
    assert plan.in_use == (label_of_age(20),)
    assert label_of_age(20) in labels(aged)
    # It was not deleted: should it vanish one day, it is missing and not expired.
    assert list(read_tombstones(aged, DATABASE)) == [label_of_age(10)]


def test_a_rotation_killed_before_it_deleted_leaves_no_tombstone_to_the_next_run(
    aged: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_from: Path, _to: Path) -> None:
        raise KeyboardInterrupt

    tombstone = Tombstone.of(
        read_backup(aged, DATABASE, label_of_age(20)), at=NOW, reason="too old"
    )
    rename = Path.rename
    with aged.lock(DATABASE), monkeypatch.context() as patch:
        patch.setattr(
            Path,
            "rename",
            lambda self, to: (killed if ".deleting-" in to.name else rename)(self, to),
        )
        with pytest.raises(KeyboardInterrupt):
            aged.delete(DATABASE, label_of_age(20), tombstone.to_bytes())
    assert list(read_tombstones(aged, DATABASE)) == [label_of_age(20)]

    with aged.lock(DATABASE):
        assert aged.sweep(DATABASE) == [f"the tombstone of {label_of_age(20)}"]

    assert read_tombstones(aged, DATABASE) == {}
    assert label_of_age(20) in labels(aged)


def test_what_was_found_of_a_backup_goes_although_the_rotation_was_killed_before_that(
    aged: LocalStore,
) -> None:
    rotate(aged, DATABASE, A_WEEK, now=NOW, apply=True)
    # What a kill after the last file of the set leaves.
    aged.write_record(DATABASE, label_of_age(20), "drill", b"found")
    aged.write_record(DATABASE, label_of_age(0), "drill", b"found")

    with aged.lock(DATABASE):
        assert aged.sweep(DATABASE) == [f"the reports of {label_of_age(20)}"]
        assert aged.sweep(DATABASE) == []

    assert aged.recorded(DATABASE, "drill") == [label_of_age(0)]
    assert label_of_age(20) in read_tombstones(aged, DATABASE)


def test_a_store_that_does_not_let_go_of_a_backup_has_no_tombstone_of_it(
    aged: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refusing(self: Path, target: Path) -> Path:
        if target.name == f".deleting-{label_of_age(10)}":
            raise PermissionError(1, "Operation not permitted", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refusing)

    plan = rotate(aged, DATABASE, A_WEEK, now=NOW, apply=True)

    assert isinstance(plan.failure, ToolFailedError)
    # What was deleted before is not forgotten.
    assert plan.deleted == (label_of_age(20),)
    assert list(read_tombstones(aged, DATABASE)) == [label_of_age(20)]
    assert label_of_age(10) in labels(aged)


def test_a_running_dump_keeps_rotation_out(aged: LocalStore) -> None:
    with aged.lock(DATABASE), pytest.raises(LockedError):
        rotate(aged, DATABASE, A_WEEK, now=NOW, apply=True)


def test_a_truncated_backup_does_not_push_a_good_one_out(aged: LocalStore) -> None:
    for days in (0, 5):
        os.truncate(aged.root / DATABASE / label_of_age(days) / DUMP, 10)

    rotate(aged, DATABASE, A_WEEK, now=NOW, apply=True, confirmed=1)

    assert labels(aged) == [label_of_age(0), label_of_age(5), label_of_age(10)]


def test_a_rotation_killed_half_way_leaves_only_whole_backups(
    aged: LocalStore, tools: PostgresTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, **_: object) -> None:
        (path / MANIFEST).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            rotate(aged, DATABASE, A_WEEK, now=NOW, apply=True)

    assert labels(aged) == [label_of_age(0), label_of_age(5), label_of_age(10)]
    assert all(backup.is_good for backup in catalog(aged, DATABASE))
    rotate(aged, DATABASE, A_WEEK, now=NOW, apply=True)
    left = {p.name for p in (aged.root / DATABASE).iterdir()}
    assert left == {".lock", "records", label_of_age(0), label_of_age(5)}
