"""Each of several stores has all of a backup; one that fails does not keep it from the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from backups.catalog import catalog
from backups.dump import dump
from backups.manifest import DUMP, MANIFEST
from backups.stores import LocalStore
from backups.stores.base import NewSet
from backups.stores.local import LocalSet
from backups.stores.several import SeveralStores
from backups.verify import verify
from casedb.conninfo import Conninfo
from casedb.errors import LockedError, RefusedError, ToolFailedError
from casedb.tools import PostgresTools
from tests.matrix.disk import small_disk


def stores_in(folder: Path) -> tuple[LocalStore, LocalStore]:
    return LocalStore(folder / "one"), LocalStore(folder / "two")


def left_in(store: LocalStore) -> list[str]:
    return [p.name for home in store.root.glob("*") for p in home.iterdir() if p.name != ".lock"]


def test_each_has_the_whole_backup(small: Conninfo, tools: PostgresTools, tmp_path: Path) -> None:
    one, two = stores_in(tmp_path)

    manifest = dump(small, SeveralStores([one, two]), tools=tools)

    for store in (one, two):
        assert verify(store, manifest.label, tools=tools).outcome == "passed"
    bytes_of = [
        {p.name: p.read_bytes() for p in (s.root / small.dbname / manifest.label).iterdir()}
        for s in (one, two)
    ]
    assert bytes_of[0] == bytes_of[1]


@pytest.mark.parametrize("when", ["write", "close", "commit", "read back"])
def test_one_that_fails_is_left_out_and_named_and_keeps_nothing(
    small: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    one, two = stores_in(tmp_path)
    hit: list[str] = []
    create, commit, check = LocalSet.create, LocalSet.commit, LocalSet.check

    def fail(kind: str, new: LocalSet) -> None:
        if kind == when and new._partial.is_relative_to(one.root):
            hit.append(kind)
            raise ToolFailedError("the store is full")

    class Failing:
        def __init__(self, new: LocalSet, file: BinaryIO) -> None:
            self.new, self.file = new, file

        def write(self, data: bytes) -> int:
            fail("write", self.new)
            return self.file.write(data)

    @contextmanager
    def creating(self: LocalSet, name: str) -> Iterator[BinaryIO]:
        with create(self, name) as file:
            yield cast("BinaryIO", Failing(self, file)) if name == DUMP else file
            if name == DUMP:
                fail("close", self)

    def committing(self: LocalSet) -> None:
        fail("commit", self)
        commit(self)

    def checking(self: LocalSet, action: object) -> None:
        fail("read back", self)
        check(self, action)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalSet, "create", creating)
    monkeypatch.setattr(LocalSet, "commit", committing)
    monkeypatch.setattr(LocalSet, "check", checking)
    several = SeveralStores([one, two])

    manifest = dump(small, several, tools=tools)

    assert hit
    assert list(several.failures) == [one.url]
    assert left_in(one) == []
    monkeypatch.undo()
    assert verify(two, manifest.label, tools=tools).outcome == "passed"


def test_when_all_fail_the_dump_fails(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: NewSet) -> None:
        raise ToolFailedError("the store is full")

    monkeypatch.setattr(LocalSet, "commit", failing)
    one, two = stores_in(tmp_path)

    with pytest.raises(ToolFailedError, match="full"):
        dump(small, SeveralStores([one, two]), tools=tools)

    assert catalog(one, small.dbname) == catalog(two, small.dbname) == []


def test_one_that_another_run_holds_does_not_stop_the_other(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    one, two = stores_in(tmp_path)
    several = SeveralStores([one, two])

    with one.lock(small.dbname):
        manifest = dump(small, several, tools=tools)

    assert isinstance(several.failures[one.url], LockedError)
    assert (two.root / small.dbname / manifest.label / MANIFEST).exists()


def test_a_full_disk_does_not_keep_the_backup_from_the_other_store(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "tiny", megabytes=1) as disk:
        one, two = LocalStore(disk.path / "one"), LocalStore(tmp_path / "two")
        several = SeveralStores([one, two])

        manifest = dump(small, several, tools=tools)

        error = several.failures[one.url]
        assert isinstance(error, RefusedError)
        assert "too little room" in error.message
        assert left_in(one) == []
        assert verify(two, manifest.label, tools=tools).outcome == "passed"

        full = SeveralStores([one, LocalStore(disk.path / "three")])
        with pytest.raises(RefusedError, match="too little room"):
            dump(small, full, tools=tools)


def test_a_failing_database_leaves_nothing_in_any(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ToolFailedError("pg_dump failed")

    monkeypatch.setattr("backups.dump_archive.compress_for", broken)
    one, two = stores_in(tmp_path)

    with pytest.raises(ToolFailedError, match="pg_dump failed"):
        dump(small, SeveralStores([one, two]), tools=tools)

    assert left_in(one) == left_in(two) == []
