"""Reading an archive back: through zstd, past its checksum, into pg_restore."""

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import IO, BinaryIO

from backups.manifest import FileFacts
from backups.sealing import Keys, UnsealError, unsealed
from backups.streams import HashingReader, ZstdError, decompressed
from backups.toc import begun, for_one_job
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.errors import ToolFailedError
from casedb.tools import PostgresTools, ToolStoppedError

_TOLD_EVERY_S = 0.25
_UP_TO_ROWS = ("--section=pre-data", "--section=data")
_AFTER_ROWS = "--section=post-data"


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
    argv = [tools["pg_restore"], "--list"]
    with (
        tempfile.TemporaryFile() as err,
        programs.start(argv, stdin=-1, stdout=out, stderr=err) as process,
    ):
        with raw_archive(reader, keys) as chunks:
            _feed(chunks, process, to_the_end=decompress_all)
        if decompress_all:
            # Something behind its end may not have been asked for.
            reader.drain()
        returncode = process.wait()
        err.seek(0)
        programs.check(argv, returncode, err.read().decode(errors="replace"))


def load(
    source: BinaryIO,
    target: Conninfo,
    argv: Sequence[str],
    keys: Keys | None = None,
    tell: Callable[[], None] = lambda: None,
    *,
    jobs: int | None = None,
) -> FileFacts:
    """Feed a compressed archive to `argv`, a pg_restore that reads standard input.

    With `keys` it is encrypted besides; the checksum is of what lies in the store. `tell` is
    called every now and then.

    With `jobs` all that is in it is loaded, and nothing is there yet: then the rows come frozen. A
    pipe has one reader, but what follows the rows, indexes above all, needs the archive's head
    alone, which holds no rows: it stays in memory for a second pg_restore with that many jobs.

    Raises:
        UnreadableArchiveError: if age or zstd cannot read it.
        ToolFailedError: if pg_restore fails.
    """
    reader = HashingReader(source)
    with raw_archive(reader, keys) as chunks:
        head, rest = begun(chunks) if jobs else (b"", chunks)
        in_two = head and jobs and jobs > 1 and hasattr(os, "memfd_create")
        run_restore(
            [*argv, *(_UP_TO_ROWS if in_two else ())],
            target,
            tell,
            chunks=itertools.chain([for_one_job(head)], rest),
        )
    if in_two:
        with _in_memory(head) as descriptor:
            words = [_AFTER_ROWS, f"--jobs={jobs}", f"/dev/fd/{descriptor}"]
            run_restore([*argv, *words], target, tell, descriptor=descriptor)
    return reader.facts()


def run_restore(
    argv: Sequence[str],
    target: Conninfo,
    tell: Callable[[], None],
    *,
    chunks: Iterable[bytes] | None = None,
    descriptor: int | None = None,
) -> None:
    """Run pg_restore, which reads `chunks` or inherits `descriptor`; `tell` every now and then.

    Raises:
        ToolFailedError: if it fails.
    """
    with (
        tempfile.TemporaryFile() as err,
        programs.start(
            argv,
            target=target,
            stdin=DEVNULL if chunks is None else PIPE,
            stdout=err,
            stderr=err,
            pass_fds=() if descriptor is None else (descriptor,),
        ) as process,
    ):
        if chunks is not None:
            _feed(_telling(chunks, tell), process)
        returncode = _waited(process, tell)
        err.seek(0)
        programs.check(argv, returncode, err.read().decode(errors="replace"))


@contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("casedb-archive-head")
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        yield descriptor


def _waited(process: "Popen[bytes]", tell: Callable[[], None]) -> int:
    while True:
        try:
            return process.wait(timeout=_TOLD_EVERY_S)
        except TimeoutExpired:
            tell()


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


def _telling(chunks: Iterable[bytes], tell: Callable[[], None]) -> Iterator[bytes]:
    last = time.monotonic()
    for chunk in chunks:
        yield chunk
        if time.monotonic() - last >= _TOLD_EVERY_S:
            tell()
            last = time.monotonic()


def _feed(chunks: Iterable[bytes], process: "Popen[bytes]", *, to_the_end: bool = True) -> None:
    sink = process.stdin
    assert sink is not None
    for chunk in chunks:
        if sink is None and not to_the_end:
            break
        if sink is not None:
            try:
                sink.write(chunk)
            except BrokenPipeError:
                # It needs no more, or failed; its exit code tells. The rest is only read.
                sink = None
    if sink is not None:
        with suppress(BrokenPipeError):
            sink.close()


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Turn what zstd raises inside the block into UnreadableArchiveError."""
    try:
        yield
    except UnsealError as error:
        raise UnreadableArchiveError(f"it cannot be decrypted: {error}") from error
    except (ZstdError, EOFError) as error:
        raise UnreadableArchiveError(f"zstd cannot read it: {error}") from error
