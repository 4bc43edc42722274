"""What a store in a folder asks of the disk; if the disk obeys, only a power cut would show."""

import hashlib
import os
from pathlib import Path

import pytest

from backups.manifest import MANIFEST, FileFacts
from backups.stores import LocalStore, durable

LABEL = "app-20261122T030000Z"


def test_each_new_folder_of_a_store_is_put_on_the_disk_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An fsync of a file or folder does not save its name, which is its parent's."""
    saved: set[Path] = set()
    sync = os.fsync

    def syncing(descriptor: int) -> None:
        sync(descriptor)
        folder = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if folder.is_dir():
            saved.update(folder.iterdir())

    monkeypatch.setattr(os, "fsync", syncing)
    store = LocalStore(tmp_path / "disk" / "backups")
    with store.lock("app"), store.new_set("app", LABEL) as made:
        with made.create(MANIFEST) as file:
            file.write(b"{}")
        made.commit()
        committed = set(saved)
    store.write_record("app", LABEL, "restore", b"{}")

    home = store.root / "app"
    assert committed >= {store.root.parent, store.root, home, home / LABEL}
    assert home / "records" in saved


@pytest.mark.parametrize("flush_bytes", [1 << 15, 32 << 20])
def test_a_file_is_read_behind_its_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush_bytes: int
) -> None:
    monkeypatch.setattr(durable, "_FLUSH_BYTES", flush_bytes)
    pieces = [os.urandom(10_007) for _ in range(100)]
    store = LocalStore(tmp_path / "backups")
    with store.lock("app"), store.new_set("app", LABEL) as made:
        with made.create("archive") as file:
            for piece in pieces:
                file.write(piece)

        found = made.read_back("archive")

    data = b"".join(pieces)
    assert found == FileFacts(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def test_what_a_file_holds_is_read_and_not_what_was_written(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "backups")
    with store.lock("app"), store.new_set("app", LABEL) as made:
        with made.create("archive") as file:
            file.write(b"what was written")
            file.flush()
            (path,) = (tmp_path / "backups" / "app").glob(".partial-*/archive")
            with path.open("r+b") as other:
                other.write(b"W")

        found = made.read_back("archive")

    assert found
    assert found.size_bytes == len(b"what was written")
    assert found.sha256 == hashlib.sha256(b"What was written").hexdigest()


def test_a_signal_while_the_name_of_a_set_is_put_on_the_disk_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_folder: Path) -> None:
        raise KeyboardInterrupt

    store = LocalStore(tmp_path)
    with store.lock("app"):
        monkeypatch.setattr("backups.stores.durable.sync_folder", interrupted)
        with pytest.raises(KeyboardInterrupt), store.new_set("app", LABEL):
            pass

    assert list((tmp_path / "app").glob(".partial-*")) == []
