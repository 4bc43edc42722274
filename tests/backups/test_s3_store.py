"""A bucket is as good a store as a folder, on a forgiving server and on a real one."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backups.attempt import Wish
from backups.catalog import catalog, read_backup
from backups.drill import drill
from backups.dump import dump
from backups.manifest import DUMP, MANIFEST
from backups.records import read_tombstones
from backups.restore import restore
from backups.retention import Retention
from backups.rotate import rotate
from backups.stores import LocalStore, Store, open_store, s3_lease, s3_lock
from backups.stores.base import Safeguards
from backups.stores.s3 import S3Store
from backups.stores.s3_objects import Objects
from backups.verify import verify
from casedb import s3, s3_streams
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import (
    BackupDamagedError,
    ConfigurationError,
    LockedError,
    ToolFailedError,
    UnverifiedError,
)
from casedb.s3_model import S3Error, parse_location
from casedb.tools import PostgresTools
from tests.backups.conftest import SAMPLE, Made
from tests.s3.proxy import Proxy, Seen, proxy
from tests.s3.servers import SERVERS, Server, moto, s3_server

NOW = datetime.now(UTC)
EVERYTHING = Retention(keep_within=timedelta(0), keep_last=1)


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with s3_server(request.param) as started:
        yield started


@pytest.fixture(autouse=True)
def pruner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access-pruner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-pruner")
    # Small parts, so that small backups have several.
    monkeypatch.setattr(s3_streams, "PART_BYTES", 5 << 20)


def store_in(server: Server, bucket: str, words: str = "") -> S3Store:
    return S3Store(parse_location(f"s3://{bucket}/some/where?endpoint={server.endpoint}{words}"))


@pytest.fixture(params=["plain", "versions", "lock"])
def store(server: Server, request: pytest.FixtureRequest) -> S3Store:
    kind = request.param
    bucket = server.new_bucket(versions=kind == "versions", lock=kind == "lock")
    return store_in(server, bucket)


@pytest.fixture
def versioned(server: Server) -> S3Store:
    return store_in(server, server.new_bucket(versions=True))


def put_set(store: Store, made: Made, *, days: int = 0, commit: bool = True) -> str:
    """Write a copy of the sample's backup, `days` old."""
    taken_at = NOW - timedelta(days=days)
    label = f"{SAMPLE}-{taken_at:%Y%m%dT%H%M%SZ}"
    manifest = made.manifest.model_copy(update={"label": label, "started_at": taken_at})
    with store.lock(SAMPLE), store.new_set(SAMPLE, label) as new:
        for path in made.folder.iterdir():
            data = manifest.to_bytes() if path.name == MANIFEST else path.read_bytes()
            with new.create(path.name) as file:
                file.write(data)
        if commit:
            new.commit()
    return label


def keys(store: S3Store) -> list[str]:
    return [v.key for v in store.bucket.listing("some/where/").versions if not v.is_marker]


def test_a_dump_into_a_bucket_is_verified_and_drilled_from_there_alone(
    store: S3Store, sample: Conninfo, tools: PostgresTools
) -> None:
    manifest = dump(sample.replace(user="sample_backup"), store, tools=tools)

    assert store.databases() == [SAMPLE]
    assert verify(store, manifest.label, tools=tools).outcome == "passed"
    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"
    (backup,) = catalog(store, SAMPLE)
    assert backup.is_good
    assert backup.passed_drill
    assert not [key for key in keys(store) if ".begun" in key or ".leases" in key]


def count_requests(store: S3Store) -> list[str]:
    """Return a list that gets the method and address of every request from now on."""
    asked: list[str] = []

    def note(request: Any, **_words: object) -> None:
        asked.append(f"{request.method} {request.url}")

    store.bucket._client.meta.events.register("before-send.s3", note)
    return asked


def test_each_backup_costs_the_catalog_one_request_and_one_for_each_report(
    store: S3Store, made: Made, tools: PostgresTools
) -> None:
    labels = [put_set(store, made, days=days) for days in range(3)]
    verify(store, labels[0], tools=tools)
    asked = count_requests(store)

    found = catalog(store, SAMPLE)

    assert [backup.label for backup in found] == labels
    assert [bool(backup.verified) for backup in found] == [True, False, False]
    assert all(backup.is_good for backup in found)
    (listed,) = [one for one in asked if "?versions" in one]
    assert listed == asked[0]
    assert len(asked) == 1 + 3 + 1


def test_a_dump_asks_no_more_where_there_are_more_backups(
    store: S3Store, made: Made, sample: Conninfo, tools: PostgresTools
) -> None:
    asked, took = count_requests(store), []
    for days in (1, 2, 3):
        put_set(store, made, days=days)
        asked.clear()
        dump(sample.replace(user="sample_backup"), store, tools=tools)
        took.append(len(asked))

    # Small files are sent whole: one request each, and the fewest around them.
    assert took[0] == took[1] == took[2] <= 24, asked


def test_a_copy_of_the_bucket_is_a_local_store(
    store: S3Store, made: Made, tools: PostgresTools, tmp_path: Path
) -> None:
    label = put_set(store, made)
    for name in store.files(SAMPLE, label):
        path = tmp_path / SAMPLE / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.open(SAMPLE, label, name) as file:
            path.write_bytes(file.read())

    assert verify(LocalStore(tmp_path), label, tools=tools).outcome == "passed"


def test_many_parts_come_back_in_their_order(versioned: S3Store) -> None:
    data = os.urandom(23 << 20)
    with versioned.lock("x"), versioned.new_set("x", "x-20260101T000000Z") as new:
        with new.create(DUMP) as file:
            for start in range(0, len(data), 700_001):
                file.write(data[start : start + 700_001])
        with new.open(DUMP) as file:
            assert file.read() == data
        with new.open(DUMP) as file:
            assert file.read(10) == data[:10]


def test_a_set_that_was_not_committed_is_nowhere(store: S3Store, made: Made) -> None:
    put_set(store, made, commit=False)

    assert store.labels(SAMPLE) == []
    assert not [key for key in keys(store) if ".lock" not in key]


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
    assert not [key for key in keys(store) if label in key]
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")


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


def test_deleting_and_overwriting_with_put_rights_changes_nothing_for_readers(
    server: Server, versioned: S3Store, made: Made, tools: PostgresTools
) -> None:
    """A delete without a version empties the bucket's listing; the versions are all there."""
    label = put_set(versioned, made)
    client, bucket = server.client(), versioned.location.bucket
    for key in [key for key in keys(versioned) if f"/{label}/" in key]:
        client.put_object(Bucket=bucket, Key=key, Body=b"ransom")
        client.delete_object(Bucket=bucket, Key=key)
    assert not client.list_objects_v2(Bucket=bucket, Prefix=f"some/where/{SAMPLE}/{label}").get(
        "Contents"
    )

    assert versioned.labels(SAMPLE) == [label]
    assert verify(versioned, label, tools=tools).outcome == "passed"


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


def test_rotation_takes_every_version_and_leaves_a_tombstone(store: S3Store, made: Made) -> None:
    old, new = put_set(store, made, days=9), put_set(store, made)

    plan = rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True)

    assert plan.deleted == (old,)
    assert store.labels(SAMPLE) == [new]
    assert list(read_tombstones(store, SAMPLE)) == [old]
    assert [key for key in keys(store) if old in key] == [
        f"some/where/{SAMPLE}/records/{old}.expired.json"
    ]


def test_a_rotation_killed_half_way_leaves_nothing_that_counts(
    store: S3Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = put_set(store, made, days=9), put_set(store, made)
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


def test_a_backup_that_somebody_reads_stays(store: S3Store, made: Made) -> None:
    old = put_set(store, made, days=9)
    put_set(store, made)

    with store.lease(SAMPLE, old):
        plan = rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True)

    assert plan.in_use == (old,)
    assert old in store.labels(SAMPLE)
    assert read_tombstones(store, SAMPLE) == {}


def test_a_restore_keeps_rotation_on_another_host_off_its_backup_to_its_end(
    store: S3Store, made: Made, cluster: Conninfo, tools: PostgresTools
) -> None:
    old = put_set(store, made, days=9)
    put_set(store, made)
    places = {"first": ("GET", f"/{MANIFEST}"), "last": ("PUT", "/records/")}
    in_use: dict[str, tuple[str, ...]] = {}

    def rotate_elsewhere(method: str, path: str) -> None:
        for place, (wanted, part) in places.items():
            if method == wanted and part in path and place not in in_use:
                other = S3Store(store.location)
                in_use[place] = rotate(other, SAMPLE, EVERYTHING, now=NOW, apply=True).in_use

    with proxy(store.location.endpoint or "") as wall:
        wall.fault = rotate_elsewhere
        reader = S3Store(replace(store.location, endpoint=wall.endpoint))
        try:
            restore(reader, Wish(old, "restored from afar"), cluster, tools=tools)
        finally:
            with connect(cluster, purpose="test") as connection:
                connection.execute('DROP DATABASE IF EXISTS "restored from afar" WITH (FORCE)')

    assert in_use == {"first": (old,), "last": (old,)}
    assert rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True).deleted == (old,)


def test_a_reader_who_comes_while_rotation_is_about_to_delete_keeps_the_backup(
    store: S3Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After rotation has looked for readers, and before its tombstone tells them."""
    old = put_set(store, made, days=9)
    put_set(store, made)
    write = S3Store.write_record

    with ExitStack() as reader, monkeypatch.context() as patch:

        def write_late(self: S3Store, *words: Any) -> None:
            reader.enter_context(S3Store(store.location).lease(SAMPLE, old))
            write(self, *words)

        patch.setattr(S3Store, "write_record", write_late)
        plan = rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True)

        assert plan.in_use == (old,)
        assert read_tombstones(store, SAMPLE) == {}
        assert MANIFEST in store.files(SAMPLE, old)


def test_a_reader_who_comes_when_rotation_deletes_is_turned_away_and_not_failed_half_way(
    store: S3Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = put_set(store, made, days=9)
    put_set(store, made)
    remove, told = Objects.remove, []

    def remove_late(self: Objects, *words: Any) -> None:
        with pytest.raises(LockedError, match="is being deleted") as caught:
            verify(S3Store(store.location), old)
        told.append(caught.value)
        remove(self, *words)

    monkeypatch.setattr(Objects, "remove", remove_late)
    plan = rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True)

    assert told
    assert plan.deleted == (old,)
    assert not [key for key in keys(store) if ".leases" in key]


def test_a_killed_rotations_tombstone_keeps_nobody_from_reading_and_is_taken_back(
    store: S3Store, made: Made, tools: PostgresTools
) -> None:
    old = put_set(store, made, days=9)
    store.write_record(SAMPLE, old, "expired", b"written, and then killed")

    assert verify(store, old, tools=tools).outcome == "passed"

    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == [f"the tombstone of {old}"]
    assert not [key for key in keys(store) if "expired" in key]


def test_who_may_not_delete_is_told_so_and_leaves_no_tombstone(store: S3Store, made: Made) -> None:
    old, new = put_set(store, made, days=9), put_set(store, made)
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


def test_a_reader_who_may_not_write_is_told_that_nothing_keeps_the_backup(
    versioned: S3Store, made: Made, tools: PostgresTools
) -> None:
    label = put_set(versioned, made)
    with proxy(versioned.location.endpoint or "") as wall:
        wall.fault = lambda method, _path: 403 if method == "PUT" else None
        report = verify(
            S3Store(replace(versioned.location, endpoint=wall.endpoint)), label, tools=tools
        )

    assert report.outcome == "passed"
    assert any(note.startswith("nothing kept rotation off the backup") for note in report.notes)


@pytest.mark.parametrize("lost", [f"/{MANIFEST}", "/.lock/0000000001"])
def test_what_was_written_although_the_answer_was_lost_is_our_own(
    store: S3Store, made: Made, lost: str
) -> None:
    """boto3 makes the request again, and is told that the object is there already."""
    with proxy(store.location.endpoint or "") as wall:

        def mute_the_first(method: str, path: str) -> bool:
            return method == "PUT" and lost in path and len(puts(wall, lost)) == 1

        wall.mute = mute_the_first
        label = put_set(S3Store(replace(store.location, endpoint=wall.endpoint)), made)

    assert len(puts(wall, lost)) > 1
    (backup,) = catalog(store, SAMPLE)
    assert (backup.label, backup.is_good) == (label, True)


def puts(wall: Proxy, what: str) -> list[Seen]:
    return [one for one in wall.seen if one.method == "PUT" and what in one.path]


def test_what_somebody_else_has_written_is_not_taken_for_our_own(server: Server) -> None:
    plain = store_in(server, server.new_bucket())
    plain.bucket.create("some/where/x", b"another's")

    with pytest.raises(S3Error) as caught:
        plain.bucket.create("some/where/x", b"our own..")

    assert caught.value.is_taken


def test_a_dead_readers_lease_ends_by_itself(
    store: S3Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = put_set(store, made, days=9)
    put_set(store, made)
    store.bucket.put(f"some/where/{SAMPLE}/.leases/{old}/dead", b"process 1 on nowhere")
    monkeypatch.setattr(s3_lease, "LIFETIME", -timedelta(minutes=1))

    assert rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True).deleted == (old,)


def test_of_two_runs_one_is_turned_away_and_told_by_whom(store: S3Store) -> None:
    with store.lock(SAMPLE), pytest.raises(LockedError) as caught, store.lock(SAMPLE):
        pass
    assert f"process {os.getpid()} on" in (caught.value.detail or "")

    with store.lock(SAMPLE):
        pass


def test_of_many_who_want_the_lock_at_once_one_has_it(store: S3Store) -> None:
    inside: list[int] = []
    most: list[int] = []
    turned_away: list[int] = []

    def work() -> None:
        try:
            with store.lock(SAMPLE):
                inside.append(1)
                most.append(len(inside))
                inside.pop()
        except LockedError:
            turned_away.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(most) == 1
    assert len(most) + len(turned_away) == 8


def test_the_lock_of_a_run_that_died_on_this_machine_ends_at_once(store: S3Store) -> None:
    died = subprocess.run(
        [
            sys.executable,
            "-c",
            "from backups.stores.s3_lock import whoami; print(whoami().decode(), end='')",
        ],
        capture_output=True,
        check=True,
    ).stdout
    lock = f"some/where/{SAMPLE}/.lock/0000000007"
    store.bucket.put(lock, s3_lock.whoami())
    with pytest.raises(LockedError, match="another run"), store.lock(SAMPLE):
        pass

    store.bucket.put(lock, died)
    with store.lock(SAMPLE):
        pass


def test_a_killed_runs_lock_on_another_machine_ends_by_itself(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.bucket.put(f"some/where/{SAMPLE}/.lock/0000000041", b"process 1 on nowhere")
    with pytest.raises(LockedError, match="another run"), store.lock(SAMPLE):
        pass

    monkeypatch.setattr(s3_lock, "LIFETIME", -timedelta(minutes=1))
    with store.lock(SAMPLE):
        assert f"some/where/{SAMPLE}/.lock/0000000042" in keys(store)


@pytest.mark.parametrize("lost", ["its lock", "its mark"])
def test_a_run_that_stood_still_and_was_swept_commits_nothing(
    store: S3Store, made: Made, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    label = f"{SAMPLE}-{NOW:%Y%m%dT%H%M%SZ}"
    other = S3Store(store.location)
    with store.lock(SAMPLE), store.new_set(SAMPLE, label) as new:
        for path in made.folder.iterdir():
            with new.create(path.name) as file:
                file.write(path.read_bytes())
        if lost == "its mark":
            assert f"the unfinished set {label}" in other.sweep(SAMPLE)
        else:
            monkeypatch.setattr(s3_lock, "LIFETIME", -timedelta(minutes=1))
            with other.lock(SAMPLE):
                pass
            monkeypatch.undo()
        with pytest.raises(LockedError, match=r"lost its lock|swept by another"):
            new.commit()

    assert catalog(other, SAMPLE) == []
    with other.lock(SAMPLE):
        assert other.sweep(SAMPLE) == []


def test_one_changed_byte_in_a_bucket_is_found(
    server: Server, made: Made, tools: PostgresTools
) -> None:
    store = store_in(server, server.new_bucket())
    label = put_set(store, made)
    data = bytearray((made.folder / DUMP).read_bytes())
    data[-10] ^= 1
    key = f"some/where/{SAMPLE}/{label}/{DUMP}"
    server.client().put_object(Bucket=store.location.bucket, Key=key, Body=bytes(data))

    with pytest.raises(BackupDamagedError, match="does not match"):
        verify(store, label, tools=tools)

    assert not read_backup(store, SAMPLE, label).is_good


def test_a_missing_bucket_is_named(server: Server, sample: Conninfo, tools: PostgresTools) -> None:
    store = store_in(server, "casedb-nowhere")

    with pytest.raises(ConfigurationError, match="no bucket casedb-nowhere"):
        catalog(store, SAMPLE)
    with pytest.raises(ConfigurationError, match="no bucket casedb-nowhere"):
        dump(sample, store, tools=tools)


def test_a_server_that_is_gone_is_neither_damage_nor_success(
    sample: Conninfo, tools: PostgresTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "REQUEST_ATTEMPTS", 1)
    store = S3Store(parse_location("s3://bucket/x?endpoint=http://127.0.0.1:9"))

    with pytest.raises(UnverifiedError, match="cannot be read"):
        catalog(store, SAMPLE)
    with pytest.raises((UnverifiedError, ToolFailedError)):
        dump(sample, store, tools=tools)


def test_a_server_that_dies_in_the_middle_of_an_upload_leaves_no_success(
    store: S3Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: Any, **__: Any) -> None:
        raise S3Error("EndpointConnectionError", "gone")

    monkeypatch.setattr(s3.Bucket, "end_upload", dead)
    monkeypatch.setattr(s3.Bucket, "put", _once_small(s3.Bucket.put, dead))

    with pytest.raises(ToolFailedError, match="cannot be written"):
        put_set(store, made)

    monkeypatch.undo()
    assert store.labels(SAMPLE) == []


def _once_small(put: Any, dead: Any) -> Any:
    """Let our own marks pass, and fail the files of the set."""

    def wrapped(self: s3.Bucket, key: str, data: bytes, **words: Any) -> Any:
        if words.get("locked"):
            dead()
        return put(self, key, data, **words)

    return wrapped


def test_storage_class_and_encryption_of_the_address_reach_the_server(made: Made) -> None:
    """Against moto: Ceph has one storage class, and no such encryption without a vault."""
    with moto() as forgiving:
        words = "&storage_class=STANDARD_IA&sse=aws:kms&sse_key=some-key"
        store = store_in(forgiving, forgiving.new_bucket(), words)
        label = put_set(store, made)

        for name in (DUMP, MANIFEST):
            head = forgiving.client().head_object(
                Bucket=store.location.bucket, Key=f"some/where/{SAMPLE}/{label}/{name}"
            )
            assert head["StorageClass"] == "STANDARD_IA"
            assert head["ServerSideEncryption"] == "aws:kms"
            assert head["SSEKMSKeyId"].endswith("some-key")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("s3://key:secret@bucket/x", "has credentials in it"),
        ("s3://bucket/x?lockdays=3", 'unknown option "lockdays"'),
        ("s3:///x", "names no bucket"),
        ("s3://bucket?lock_days=x", "not a number"),
        ("s3://bucket?storage_class=GLACIER", "cannot be read at once"),
        ("s3://bucket?storage_class=DEEP_ARCHIVE", "cannot be read at once"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)

    assert complaint in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_a_bucket_tells_how_it_keeps_what_is_deleted(server: Server, store: S3Store) -> None:
    kept = bool(store.bucket.keeps_versions())
    assert store.safeguards() == Safeguards(kept, None, None, 0)

    name = server.new_bucket(versions=True)
    server.client().put_bucket_lifecycle_configuration(
        Bucket=name,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "forget",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 5},
                    "Expiration": {"Days": 9},
                }
            ]
        },
    )
    assert store_in(server, name, "&lock_days=3").safeguards() == Safeguards(True, 5, 9, 3)
    with pytest.raises((UnverifiedError, ConfigurationError)):
        store_in(server, "no-such-bucket-at-all").safeguards()
