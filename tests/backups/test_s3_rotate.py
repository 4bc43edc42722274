"""What goes from a bucket and what stays: retention, locked objects, what killed runs left."""

from dataclasses import replace
from datetime import timedelta

import pytest

from backups.catalog import catalog
from backups.manifest import DUMP, MANIFEST
from backups.rotate import rotate
from backups.stores import s3_sweep
from backups.stores.s3 import S3Store
from backups.tombstones import read_tombstones
from backups.verify import verify
from casedb import s3
from casedb.errors import ToolFailedError
from casedb.s3_model import S3Error
from casedb.tools import PostgresTools
from tests.backups.conftest import EVERYTHING, NOW, SAMPLE, Made, keys, put_set, store_in
from tests.s3.proxy import proxy
from tests.s3.servers import Server

pytestmark = pytest.mark.usefixtures("as_pruner", "small_parts")


def test_a_locked_backup_is_retained_and_no_error(
    server: Server, made: Made, tools: PostgresTools
) -> None:
    bucket = server.new_bucket(lock=True)
    locked = store_in(server, bucket, "&lock_days=3&lock_mode=GOVERNANCE")
    old, new = put_set(locked, made, days=9), put_set(locked, made)

    plan = rotate(locked, SAMPLE, EVERYTHING, now=NOW, apply=True)

    assert plan.retained == (old,)
    assert plan.deleted == ()
    assert locked.labels(SAMPLE) == [old, new]
    assert verify(locked, old, tools=tools).outcome == "passed"
    assert read_tombstones(locked, SAMPLE) == {}
    # What drills and leases write is not locked: it has to change.
    records = [v for v in locked.bucket.listing("some/where/").versions if "/records/" in v.key]
    assert records
    assert locked.bucket.retained_until(records[0].key, records[0].version_id) is None


def test_even_a_pruner_cannot_delete_what_is_locked(server: Server, made: Made) -> None:
    bucket = server.new_bucket(lock=True)
    locked = store_in(server, bucket, "&lock_days=1&lock_mode=GOVERNANCE")
    label = put_set(locked, made)
    (manifest,) = [v for v in locked.bucket.listing("").versions if v.key.endswith(MANIFEST)]

    with pytest.raises(S3Error) as caught:
        locked.bucket.delete(manifest.key, manifest.version_id)

    assert caught.value.is_denied
    assert locked.labels(SAMPLE) == [label]


def test_rotation_takes_every_version_and_leaves_a_tombstone(
    store: S3Store, aged: tuple[str, str]
) -> None:
    old, new = aged

    plan = rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True)

    assert plan.deleted == (old,)
    assert store.labels(SAMPLE) == [new]
    assert list(read_tombstones(store, SAMPLE)) == [old]
    assert [key for key in keys(store) if old in key] == [
        f"some/where/{SAMPLE}/records/{old}.expired.json"
    ]


def test_a_rotation_killed_half_way_leaves_nothing_that_counts(
    store: S3Store, aged: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = aged
    delete = s3.Bucket.delete

    def killed_after_the_manifest(self: s3.Bucket, key: str, version_id: str) -> None:
        delete(self, key, version_id)
        if key.endswith(MANIFEST):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(s3.Bucket, "delete", killed_after_the_manifest)
        with pytest.raises(KeyboardInterrupt):
            rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True)

    assert store.labels(SAMPLE) == [new]
    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == [f"the unfinished set {old}"]


def test_who_may_not_delete_is_told_so_and_leaves_no_tombstone(
    store: S3Store, aged: tuple[str, str]
) -> None:
    old, new = aged
    with proxy(store.location.endpoint or "") as wall:
        wall.fault = lambda method, _path: 403 if method == "DELETE" else None
        pruner = S3Store(replace(store.location, endpoint=wall.endpoint))
        plan = rotate(pruner, SAMPLE, EVERYTHING, now=NOW, apply=True)

    assert wall.count(403)
    assert isinstance(plan.failure, ToolFailedError)
    assert "may not be deleted" in plan.failure.message
    assert plan.retained == ()
    assert store.labels(SAMPLE) == [old, new]
    assert read_tombstones(store, SAMPLE) == {}


def test_a_killed_rotations_tombstone_keeps_nobody_from_reading_and_is_taken_back(
    store: S3Store, made: Made, tools: PostgresTools
) -> None:
    old = put_set(store, made, days=9)
    store.write_record(SAMPLE, old, "expired", b"written, and then killed")

    assert verify(store, old, tools=tools).outcome == "passed"

    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == [f"the tombstone of {old}"]
    assert not [key for key in keys(store) if "expired" in key]


def test_what_a_killed_run_left_counts_for_nothing_and_is_swept(
    server: Server, store: S3Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = f"{SAMPLE}-20260101T000000Z"
    folder = f"some/where/{SAMPLE}"
    # What a kill -9 in the middle of the third file leaves.
    client, bucket = server.client(), store.location.bucket
    client.put_object(Bucket=bucket, Key=f"{folder}/.begun/{label}", Body=b"begun")
    client.put_object(Bucket=bucket, Key=f"{folder}/{label}/globals.sql", Body=b"x")
    upload = client.create_multipart_upload(Bucket=bucket, Key=f"{folder}/{label}/{DUMP}")
    client.upload_part(
        Bucket=bucket,
        Key=f"{folder}/{label}/{DUMP}",
        UploadId=upload["UploadId"],
        PartNumber=1,
        Body=b"x" * (5 << 20),
    )

    assert store.labels(SAMPLE) == []
    with store.lock(SAMPLE):
        left = store.sweep(SAMPLE)

    assert len(left) == 2
    assert {key for key in keys(store) if label in key} == {f"{folder}/.begun/{label}"}
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")
    # Until nothing can come any more that was sent before the kill.
    monkeypatch.setattr(s3_sweep, "LATE", -timedelta(minutes=1))
    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == []
    assert not [key for key in keys(store) if label in key]


def test_a_set_that_lost_its_manifest_is_damage_and_no_debris(server: Server, made: Made) -> None:
    store = store_in(server, server.new_bucket())
    label = put_set(store, made)
    server.client().delete_object(
        Bucket=store.location.bucket, Key=f"some/where/{SAMPLE}/{label}/{MANIFEST}"
    )

    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == []

    (backup,) = catalog(store, SAMPLE)
    assert not backup.is_good


def test_what_was_found_of_a_backup_goes_although_the_rotation_was_killed_before_that(
    store: S3Store, aged: tuple[str, str]
) -> None:
    old, new = aged
    for label in aged:
        store.write_record(SAMPLE, label, "verify", b"found")
    rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True)
    # What a kill after the last file of the set leaves.
    store.write_record(SAMPLE, old, "drill", b"found")

    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == [f"the reports of {old}"]
        assert store.sweep(SAMPLE) == []

    assert store.recorded(SAMPLE, "drill") == []
    assert store.recorded(SAMPLE, "verify") == [new]
    assert list(read_tombstones(store, SAMPLE)) == [old]
