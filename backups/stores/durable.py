"""Files and folders that a power cut leaves whole or not there at all."""

import io
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from casedb.ownership import create_for_folder_owner, give_to_folder_owner

_FLUSH_BYTES = 32 << 20


def make_folder(path: Path, *, exist_ok: bool = True) -> None:
    """Make `path` durably: what is in it goes with its name after a power cut."""
    path.mkdir(mode=0o700, exist_ok=exist_ok)
    give_to_folder_owner(path)
    sync_folder(path.parent)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Make `path` for writing; its bytes are on the disk when the block ends. Its name is not."""
    descriptor = create_for_folder_owner(path, os.O_WRONLY, 0o600)
    with io.FileIO(descriptor, "wb") as raw, _EarlyWriter(raw) as file:
        try:
            yield file
            file.flush()
        finally:
            # Before the descriptor is closed, and becomes another file's.
            file.settle()
        os.fsync(descriptor)


class _EarlyWriter(io.BufferedWriter):
    """Lets the disk begin while there is more to come.

    By itself Linux keeps gigabytes in memory, and an fsync at the end of a dump waits for all of
    them.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self._worker = ThreadPoolExecutor(1, "casedb flush")
        self._flushing: Future[None] | None = None
        self._waiting_bytes = 0

    def write(self, data: Any) -> int:
        """Write `data`, and now and then have what was written before put on the disk."""
        written = super().write(data)
        self._waiting_bytes += written
        if self._waiting_bytes >= _FLUSH_BYTES and (not self._flushing or self._flushing.done()):
            self._raise_failed()
            self._waiting_bytes = 0
            self._flushing = self._worker.submit(os.fdatasync, self.fileno())
        return written

    def settle(self) -> None:
        """Wait for the disk; raise what it reported, which no later fsync would report again."""
        self._worker.shutdown()
        self._raise_failed()

    def _raise_failed(self) -> None:
        if self._flushing:
            self._flushing.result()


def sync_folder(path: Path) -> None:
    """Put the names in the folder `path` on the disk: a changed one outlives a power cut so."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
