"""A backup's archive in clear, in a file without a name: what several jobs can load at once."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from backups import archive
from backups.aside import aside
from backups.contents import stored_facts, stored_name
from backups.manifest import DUMP, Manifest
from backups.progress import OnProgress, Progress, unseen
from backups.stores.base import Store
from backups.streams import NO_ROOM, HashingReader, decompressed
from backups.toc_completed import CompletedArchive
from casedb.errors import ToolFailedError


@dataclass(frozen=True)
class Unpacked:
    """An archive in clear, in a file without a name: gone with the process, however that ends."""

    descriptor: int
    problem: str | None
    """What is wrong with the bytes it came from; None if nothing is."""

    @property
    def path(self) -> str:
        """What a child process that inherits the descriptor opens, once for each job."""
        return f"/dev/fd/{self.descriptor}"


@contextmanager
def unpacked(
    store: Store, manifest: Manifest, folder: Path, on_progress: OnProgress = unseen
) -> Iterator[Unpacked | None]:
    """Decompress a backup's archive into `folder` while its bytes are checked: one reading.

    What is there then is for a pg_restore with several jobs; see toc_completed.py. None where the
    folder's disk filled up meanwhile: nothing lies there then.

    Raises:
        UnverifiedError: the store cannot be read.
        ToolFailedError: `folder` cannot be written.
    """
    with ExitStack() as stack:
        try:
            with _scratching(folder):
                raw = stack.enter_context(
                    tempfile.TemporaryFile(dir=folder, prefix="casedb-archive-", buffering=0)
                )
            problem = _unpack(store, manifest, _Scratch(raw, folder), on_progress)
        except _FullError:
            stack.close()
            yield None
            return
        yield Unpacked(raw.fileno(), problem)


def _unpack(
    store: Store, manifest: Manifest, scratch: "_Scratch", on_progress: OnProgress
) -> str | None:
    facts = stored_facts(manifest, DUMP)
    with store.open(manifest.database, manifest.label, stored_name(manifest, DUMP)) as file:
        reader, completed = HashingReader(file), CompletedArchive(scratch)
        problem = None
        with aside(completed.write) as write, reader.hashing_aside():
            try:
                with archive.decoding_errors():
                    for chunk in decompressed(reader):
                        write(chunk)
                        on_progress(
                            Progress(
                                f"reading {DUMP}", reader.size_bytes, facts.size_bytes, "bytes"
                            )
                        )
            except archive.UnreadableArchiveError as error:
                problem = f"{DUMP} cannot be read: {error}."
                reader.drain()
        completed.finish()
    if reader.size_bytes != facts.size_bytes:
        return f"{DUMP} has {reader.size_bytes} bytes, the manifest says {facts.size_bytes}."
    if reader.sha256 != facts.sha256:
        return f"{DUMP} has SHA-256 {reader.sha256[:12]}…, the manifest says {facts.sha256[:12]}…."
    return problem


class _FullError(Exception):
    """There is no room left for the archive."""


@contextmanager
def _scratching(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise _FullError from error
        raise ToolFailedError(
            f"the archive cannot be unpacked into {folder}",
            detail=f"{error.strerror or error}.",
            hint="Name a folder with room on a disk that works: --scratch.",
        ) from error


class _Scratch:
    """The file it is unpacked into: its failures are those of the folder, not of the store."""

    def __init__(self, raw: IO[bytes], folder: Path) -> None:
        self._raw, self._folder = raw, folder

    def write(self, data: bytes, /) -> None:
        """Write all of it."""
        rest = memoryview(data)
        with _scratching(self._folder):
            while rest:
                rest = rest[self._raw.write(rest) :]

    def seek(self, offset: int, /) -> None:
        """Go to `offset`."""
        self._raw.seek(offset)
