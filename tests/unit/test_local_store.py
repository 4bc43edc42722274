"""What a store in a folder asks of the disk; if the disk obeys, only a power cut would show."""

import os
from pathlib import Path

import pytest

from backups.manifest import MANIFEST
from backups.stores import LocalStore

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
