"""Whoever reads a backup in a bucket keeps rotation off it, and nobody is failed half-way."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backups.attempt import Wish
from backups.manifest import MANIFEST
from backups.restore import restore
from backups.rotate import rotate
from backups.stores import s3_lease
from backups.stores.s3 import S3Store
from backups.stores.s3_objects import Objects
from backups.tombstones import read_tombstones
from backups.verify import verify
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import LockedError
from casedb.tools import PostgresTools
from tests.backups.conftest import EVERYTHING, NOW, SAMPLE, Made, keys, put_set
from tests.s3.proxy import proxy

pytestmark = pytest.mark.usefixtures("as_pruner", "small_parts")


def test_a_backup_that_somebody_reads_stays(store: S3Store, aged: tuple[str, str]) -> None:
    old, _new = aged

    with store.lease(SAMPLE, old):
        plan = rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True)

    assert plan.in_use == (old,)
    assert old in store.labels(SAMPLE)
    assert read_tombstones(store, SAMPLE) == {}


def test_a_restore_keeps_rotation_on_another_host_off_its_backup_to_its_end(
    store: S3Store, aged: tuple[str, str], cluster: Conninfo, tools: PostgresTools
) -> None:
    old, _new = aged
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
    store: S3Store, aged: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After rotation has looked for readers, and before its tombstone tells them."""
    old, _new = aged
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
    store: S3Store, aged: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _new = aged
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


def test_a_dead_readers_lease_ends_by_itself(
    store: S3Store, aged: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _new = aged
    store.bucket.put(f"some/where/{SAMPLE}/.leases/{old}/dead", b"process 1 on nowhere")
    monkeypatch.setattr(s3_lease, "LIFETIME", -timedelta(minutes=1))

    assert rotate(store, SAMPLE, EVERYTHING, now=NOW, apply=True).deleted == (old,)
