"""Reading an archive back: through zstd, past its checksum, into a listing by pg_restore."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from backups import pg_restore
from backups.manifest import FileFacts
from backups.sealing import Keys, UnsealError, unsealed
from backups.streams import HashingReader, ZstdError, decompressed
from casedb.errors import ToolFailedError
from casedb.tools import PostgresTools, ToolStoppedError


class UnreadableArchiveError(Exception):
    """The file is no archive that can be read to its end; says why."""


def read_back(source: BinaryIO, tools: PostgresTools, keys: Keys | None = None) -> FileFacts:
    """Read a compressed archive to its end, have pg_restore list it, and return what it was.

    pg_restore alone proves little: it reads the head only, and lists a dump cut in half.

    Raises:
        UnreadableArchiveError: if zstd or pg_restore cannot read it.
        ToolStoppedError: if pg_restore cannot be run, or is killed.
    """
    reader = HashingReader(source)
    with reader.hashing_aside():
        require_listed(reader, tools, keys)
    return reader.facts()


def require_listed(
    reader: HashingReader,
    tools: PostgresTools,
    keys: Keys | None = None,
    *,
    decompress_all: bool = True,
) -> None:
    """Have pg_restore list a compressed archive, which is read to its end.

    Without `decompress_all` it is read as far as pg_restore asks for it, which is its head.

    Raises:
        as `read_back`.
    """
    try:
        with tempfile.TemporaryFile() as out:
            _list(reader, out, tools, keys, decompress_all=decompress_all)
    except ToolStoppedError:
        raise
    except ToolFailedError as error:
        raise UnreadableArchiveError(f"{error.message}: {error.detail}") from error


def listing(source: BinaryIO, tools: PostgresTools, keys: Keys | None = None) -> list[str]:
    """Return the archive's table of contents, a line each, as pg_restore --use-list takes them.

    Raises:
        UnreadableArchiveError: if age or zstd cannot read it.
        ToolFailedError: if pg_restore fails.
    """
    with tempfile.TemporaryFile() as out:
        _list(HashingReader(source), out, tools, keys)
        out.seek(0)
        lines = out.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip() and not line.startswith(";")]


def _list(
    reader: HashingReader,
    out: IO[bytes],
    tools: PostgresTools,
    keys: Keys | None,
    *,
    decompress_all: bool = True,
) -> None:
    with raw_archive(reader, keys) as chunks:
        pg_restore.run(
            [tools["pg_restore"], "--list"], chunks=chunks, to_the_end=decompress_all, out=out
        )
    if decompress_all:
        # Something behind its end may not have been asked for.
        reader.drain()


def hash_of(source: BinaryIO) -> FileFacts:
    """Read a file to its end and return what it was, whatever is in it."""
    reader = HashingReader(source)
    reader.drain()
    return reader.facts()


@contextmanager
def raw_archive(reader: HashingReader, keys: Keys | None) -> Iterator[Iterator[bytes]]:
    """Yield what pg_dump wrote, a chunk at a time."""
    with decoding_errors():
        if keys is None:
            yield decompressed(reader)
            return
        with unsealed(reader, keys) as clear:
            yield decompressed(clear)
        # Something behind the end still belongs to the file's checksum.
        reader.drain()


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Turn what zstd raises inside the block into UnreadableArchiveError."""
    try:
        yield
    except UnsealError as error:
        raise UnreadableArchiveError(f"it cannot be decrypted: {error}") from error
    except (ZstdError, EOFError) as error:
        raise UnreadableArchiveError(f"zstd cannot read it: {error}") from error
