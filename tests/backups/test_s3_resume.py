"""A download that was cut off is gone on with: within one run, and by the next one."""

import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backups.downloads import resumed
from backups.manifest import DUMP, FileFacts, Manifest
from backups.stores import LocalStore
from backups.stores.s3 import S3Store
from casedb import s3, s3_streams
from casedb.errors import BackupDamagedError, CasedbError, TerminatedError, UnverifiedError
from casedb.kept_parts import kept_parts
from casedb.s3_model import parse_location
from tests.backups.conftest import Made
from tests.s3.proxy import Proxy, proxy
from tests.s3.servers import Server

DATABASE = "x"
LABEL = "x-20260101T000000Z"
PART = 5 << 20
PARTS = 4
DATA = os.urandom(PART * (PARTS - 1) + 1000)


@dataclass
class Far:
    """A store behind a proxy, with one long file in it, and a folder for what is downloaded."""

    store: S3Store
    wall: Proxy
    manifest: Manifest
    scratch: Path

    def asked(self) -> list[str]:
        """Which parts of the long file were asked for, in the order of its bytes."""
        found = [one.span for one in self.wall.seen if one.span]
        return sorted(found, key=lambda span: int(span.removeprefix("bytes=").split("-")[0]))

    def read(self, interrupt: Callable[[], BaseException] | None = None) -> list[str]:
        """Read it all, or half of it and raise; return the notes."""
        with resumed(self.store, self.manifest, self.scratch) as (store, notes):
            with store.open(DATABASE, LABEL, DUMP) as file:
                assert file.read(PART * 2) == DATA[: PART * 2]
                if interrupt:
                    raise interrupt()
                assert file.read() == DATA[PART * 2 :]
            return notes

    def kept(self) -> list[Path]:
        return sorted(self.scratch.glob("casedb-download-*/*/*-*"))


@pytest.fixture
def far(
    server: Server,
    made: Made,
    as_pruner: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Far]:
    monkeypatch.setattr(s3_streams, "PART_BYTES", PART)
    monkeypatch.setattr(s3, "_PAUSE_S", 0.01)
    bucket = server.new_bucket(versions=True)
    with proxy(server.endpoint) as wall:
        store = S3Store(parse_location(f"s3://{bucket}/far?endpoint={wall.endpoint}"))
        with store.lock(DATABASE), store.new_set(DATABASE, LABEL) as new:
            for name, data in ((DUMP, DATA), ("manifest.json", b"{}")):
                with new.create(name) as file:
                    file.write(data)
            new.commit()
        facts = FileFacts(size_bytes=len(DATA), sha256="", raw_size_bytes=len(DATA))
        manifest = made.manifest.model_copy(update={"label": LABEL, "files": {DUMP: facts}})
        wall.seen.clear()
        yield Far(store, wall, manifest, tmp_path)


def test_an_answer_that_breaks_off_is_asked_for_again_and_no_other(far: Far) -> None:
    left = [2]

    def twice(method: str, path: str) -> bool:
        if method != "GET" or "versionId=" not in path or not left[0]:
            return False
        left[0] -= 1
        return True

    far.wall.cut = twice

    assert far.read() == []
    assert left == [0]
    assert len(far.asked()) == PARTS + 2
    assert len(set(far.asked())) == PARTS


@pytest.mark.parametrize("error", [TerminatedError, lambda: UnverifiedError("gone", hint="Wait.")])
def test_the_next_run_downloads_only_what_is_missing(
    far: Far, error: Callable[[], BaseException]
) -> None:
    with pytest.raises((CasedbError, KeyboardInterrupt)) as caught:
        far.read(error)
    # Some more than were read are on their way at once.
    assert len(far.kept()) >= 2
    for path in far.kept()[2:]:
        path.unlink()
    said = str(getattr(caught.value, "hint", "")) + "".join(getattr(caught.value, "__notes__", []))
    assert f"is kept in {far.scratch}" in said
    far.wall.seen.clear()

    notes = far.read()

    assert notes == ["10.0 MiB of the download were there from an earlier run"]
    assert len(far.asked()) == PARTS - 2
    assert far.asked()[0].startswith(f"bytes={PART * 2}-")
    assert list(far.scratch.iterdir()) == []


def test_a_part_that_has_changed_or_is_half_there_is_downloaded_again(far: Far) -> None:
    with pytest.raises(TerminatedError):
        far.read(TerminatedError)
    changed, half = far.kept()[:2]
    data = bytearray(changed.read_bytes())
    data[7] ^= 1
    changed.write_bytes(data)
    half.write_bytes(half.read_bytes()[:-1])
    far.wall.seen.clear()

    far.read()

    assert far.asked()[0].startswith("bytes=0-")
    assert far.asked()[1].startswith(f"bytes={PART}-")


def test_an_object_that_was_written_anew_is_not_mixed_with_the_old_one(far: Far) -> None:
    with pytest.raises(TerminatedError):
        far.read(TerminatedError)
    (old,) = {path.parent.name for path in far.kept()}
    listing = far.store.bucket.listing(f"far/{DATABASE}/{LABEL}/{DUMP}")
    key, version = listing.versions[0].key, listing.versions[0].version_id
    far.store.bucket.put(key, DATA)
    far.store.bucket.delete(key, version)
    far.wall.seen.clear()

    with pytest.raises(TerminatedError):
        far.read(TerminatedError)

    assert far.asked()[0].startswith("bytes=0-")
    assert {path.parent.name for path in far.kept()} > {old}


def test_of_what_was_damaged_nothing_is_used_again(far: Far) -> None:
    with pytest.raises(BackupDamagedError) as caught:
        far.read(lambda: BackupDamagedError("damaged", hint="Take another."))

    assert caught.value.hint == "Take another."
    assert list(far.scratch.iterdir()) == []


class Room:
    free = len(DATA)


def test_without_room_nothing_is_kept_and_all_is_read(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Room())

    with pytest.raises(TerminatedError):
        far.read(TerminatedError)

    assert list(far.scratch.iterdir()) == []


def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path: Path) -> None:
    with kept_parts(tmp_path, "one") as parts:
        assert parts
        home = parts.folder
    home.mkdir()
    home.chmod(0o777)
    with kept_parts(tmp_path, "one") as parts:
        assert parts is None
    home.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    home.symlink_to(elsewhere)
    with kept_parts(tmp_path, "one") as parts:
        assert parts is None


def keep_and_be_ended(folder: Path, name: str) -> None:
    with kept_parts(folder, name) as parts:
        assert parts
        parts.fetching("object", lambda _first, count: b"x" * count)(0, 10)
        raise TerminatedError


def test_what_a_killed_run_left_for_another_backup_is_swept_and_a_living_ones_is_not(
    tmp_path: Path,
) -> None:
    for name in ("killed", "alive"):
        with pytest.raises(TerminatedError):
            keep_and_be_ended(tmp_path, name)
    alive = sorted(tmp_path.iterdir())[0]
    held = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with kept_parts(tmp_path, "third"):
            assert alive.exists()
            assert len(list(tmp_path.iterdir())) == 2
    finally:
        os.close(held)


def test_two_runs_at_once_do_not_share_a_folder(tmp_path: Path) -> None:
    with kept_parts(tmp_path, "one") as first, kept_parts(tmp_path, "one") as second:
        assert first
        assert second is None


def test_a_store_on_this_machine_keeps_nothing(made: Made, tmp_path: Path) -> None:
    with resumed(LocalStore(made.store.root), made.manifest, tmp_path) as (store, notes):
        assert (store.url, notes) == (made.store.url, [])
        assert list(tmp_path.iterdir()) == []
