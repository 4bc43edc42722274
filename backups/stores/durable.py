"""Files and folders that a power cut leaves whole or not there at all."""

import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backups.manifest import FileFacts
from casedb.ownership import create_for_folder_owner, give_to_folder_owner

_FLUSH_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 20


def make_folder(path: Path, *, exist_ok: bool = True) -> None:
    """Make `path` durably: what is in it goes with its name after a power cut."""
    path.mkdir(mode=0o700, exist_ok=exist_ok)
    give_to_folder_owner(path)
    sync_folder(path.parent)


@contextmanager
def new_file(path: Path) -> Iterator["DurableFile"]:
    """Make `path` for writing; its bytes are on the disk when the block ends. Its name is not."""
    descriptor = create_for_folder_owner(path, os.O_RDWR, 0o600)
    with io.FileIO(descriptor, "wb") as raw, DurableFile(raw) as file:
        try:
            yield file
            file.flush()
        finally:
            # Before the descriptor is closed, and becomes another file's.
            file.settle()
        os.fsync(descriptor)
        file.follow()


class DurableFile(io.BufferedWriter):
    """Lets the disk begin while there is more to come, and reads behind what is written.

    By itself Linux keeps gigabytes in memory, and an fsync at the end of a dump waits for all of
    them. Whoever read the file only afterwards would have everything wait for that, too.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self._worker = ThreadPoolExecutor(1, "casedb flush")
        self._flushing: Future[None] | None = None
        self._waiting_bytes = 0
        self._hash = hashlib.sha256()
        self._read_bytes = 0

    @property
    def found(self) -> FileFacts:
        """What was read in the file: all that is in it, when `new_file`'s block has ended."""
        return FileFacts(size_bytes=self._read_bytes, sha256=self._hash.hexdigest())

    def write(self, data: Any) -> int:
        """Write `data`, and now and then have what was written before put on the disk."""
        written = super().write(data)
        self._waiting_bytes += written
        if self._waiting_bytes >= _FLUSH_BYTES and (not self._flushing or self._flushing.done()):
            self._raise_failed()
            self._waiting_bytes = 0
            self._flushing = self._worker.submit(self._keep_up)
        return written

    def follow(self) -> None:
        """Read on, from where it was read last to where the file ends now."""
        end = os.fstat(self.fileno()).st_size
        while (ahead := end - self._read_bytes) > 0:
            data = os.pread(self.fileno(), min(_CHUNK_BYTES, ahead), self._read_bytes)
            if not data:
                break
            self._hash.update(data)
            self._read_bytes += len(data)

    def settle(self) -> None:
        """Wait for the disk; raise what it reported, which no later fsync would report again."""
        self._worker.shutdown()
        self._raise_failed()

    def _keep_up(self) -> None:
        os.fdatasync(self.fileno())
        self.follow()

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
