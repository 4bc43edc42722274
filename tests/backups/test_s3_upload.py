"""What is sent to a bucket arrives whole, or is no success."""

import os
from dataclasses import replace
from typing import Any

import pytest

from backups.catalog import catalog
from backups.dump import dump
from backups.manifest import DUMP, MANIFEST
from backups.stores.s3 import S3Store
from casedb import s3
from casedb.conninfo import Conninfo
from casedb.errors import ToolFailedError, UnverifiedError
from casedb.s3_model import S3Error, parse_location
from casedb.tools import PostgresTools
from tests.backups.conftest import SAMPLE, Made, put_set, store_in
from tests.s3.proxy import Proxy, Seen, proxy
from tests.s3.servers import Server, moto

pytestmark = pytest.mark.usefixtures("as_pruner", "small_parts")


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
