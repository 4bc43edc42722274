"""An archive unpacked for several jobs, and what comes of it when it cannot be."""

import errno
import io
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from backups.load import load_archive
from backups.manifest import DUMP, MANIFEST
from backups.stores import LocalStore
from backups.stores.base import NoFileError
from backups.unpack import unpacked
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ToolFailedError, UnverifiedError
from casedb.tools import PostgresTools
from tests.backups.conftest import Made
from tests.matrix.disk import SmallDisk, small_disk

LEFT_BYTES = 16 * 1024
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def nearly_full(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small", 1) as disk:
        free = disk.fill()
        with (disk.path / "filler").open("r+b") as file:
            file.truncate(free - LEFT_BYTES)
        yield disk


def test_a_disk_that_fills_up_has_its_room_back(made: Made, nearly_full: SmallDisk) -> None:
    assert (made.manifest.files[DUMP].raw_size_bytes or 0) > LEFT_BYTES

    with unpacked(made.store, made.manifest, nearly_full.path) as found:
        assert found is None
        assert shutil.disk_usage(nearly_full.path).free == LEFT_BYTES


def test_one_job_loads_all_when_the_disk_fills_up(
    made: Made,
    cluster: Conninfo,
    tools: PostgresTools,
    empty_database: Conninfo,
    nearly_full: SmallDisk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # There was room when it was asked for.
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage(1 << 40, 0, 1 << 40))

    load_archive(made.store, made.manifest, empty_database, tools, scratch=nearly_full.path, jobs=2)

    with connect(empty_database, purpose="test") as connection:
        assert scalar(connection, "SELECT count(*) FROM app.cases") == 100


def test_a_disk_that_fails_is_not_the_stores_fault(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Broken())

    with (
        pytest.raises(ToolFailedError, match="cannot be unpacked into") as caught,
        unpacked(made.store, made.manifest, tmp_path),
    ):
        pass

    assert "--scratch" in (caught.value.hint or "")


def write_what_is_read(made: Made) -> None:
    with made.store.open(made.manifest.database, made.label, MANIFEST) as file:
        assert file.read(1) == b"{"
        raise OSError(errno.ENOSPC, "mine")


def test_only_what_fails_at_reading_is_the_stores_fault(made: Made, tmp_path: Path) -> None:
    (tmp_path / "db" / "set").mkdir(parents=True)
    (tmp_path / "db" / "other").symlink_to("other")
    store = LocalStore(tmp_path)

    with pytest.raises(OSError, match="mine"):
        write_what_is_read(made)
    with (
        pytest.raises(UnverifiedError, match="the store cannot be read"),
        store.open("db", "other", "in a loop"),
    ):
        pass
    with pytest.raises(NoFileError, match="not complete"), store.open("db", "set", "nothing"):
        pass


def test_a_store_that_has_gone_is_not_missing_a_file(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)

    with (
        pytest.raises(UnverifiedError, match="the store cannot be read"),
        store.open("db", "set", "file"),
    ):
        pass


@pytest.mark.parametrize("size", [10, -1])
def test_a_disk_that_cannot_be_read_is_the_stores_fault(tmp_path: Path, size: int) -> None:
    (tmp_path / "db" / "set").mkdir(parents=True)
    # Its first page is nobody's: reading it is an I/O error.
    (tmp_path / "db" / "set" / "file").symlink_to("/proc/self/mem")

    with (
        LocalStore(tmp_path).open("db", "set", "file") as file,
        pytest.raises(UnverifiedError, match="the store cannot be read") as caught,
    ):
        file.read(size)

    assert "Input/output error" in (caught.value.detail or "")


def test_a_folder_that_takes_no_file_is_named(made: Made, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 1) as disk:
        disk.remount("ro")

        with (
            pytest.raises(ToolFailedError, match=f"unpacked into {disk.path}"),
            unpacked(made.store, made.manifest, disk.path),
        ):
            pass
