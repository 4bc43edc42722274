"""Compressed streams that know their checksum: one pass writes, hashes and counts."""

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from backups.aside import aside
from backups.manifest import FileFacts

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Piece = bytes | memoryview
"""Of what is read from front to end; a view is the reader's until he asks for the next one."""

CHUNK_BYTES = 1 << 20
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a write fails with where a disk, or what one may have of it, is full."""
_LEVEL = 2
_SHORTEST_MATCH_BYTES = 7
_HASH_LOG, _WINDOW_LOG = 18, 22
"""Smaller than zstd's level 3, on a log for less work (`casedb bench compression` has this, and
what each of the choices below costs and saves). Shorter matches make cases 6 % larger, and a log no
smaller. With half of the table, window and part a log and cases are about 2 % larger, for a fifth
and an eighth less work."""
_ACCELERATION = 2
"""With it matches are looked for at two of three bytes (zstd's "targetLength", for its fast
strategy): a fifth less work, and hardly larger for a log, most of which matches nothing; text is
two thirds as large again. At two of four (3) the log is 4 % larger."""
_PART_BYTES = 4 << 20
"""What each worker compresses at a time. zstd itself would take four times the window, and so much
more memory for each of them."""
_HALF_OF_THE_WINDOW = 8
"""So much of what lies before it each part sees. All of it makes nothing smaller; an eighth, as
zstd has it at low levels, makes log and cases about 1 % larger."""
_MOST_WORKERS = 8
"""Chosen, and not measured: each holds a part and its window, so on a machine of many processors a
dump would take more memory for workers that one stream of rows can hardly feed."""

ZstdError = zstd.ZstdError


class HashingWriter:
    """Writes to a file, and remembers how much and its SHA-256."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Write `data`."""
        self._sink.write(data)
        self._hash.update(data)
        self.size_bytes += len(data)

    def facts(self, *, raw_size_bytes: int | None = None) -> FileFacts:
        """Return what the manifest says of the file."""
        return FileFacts(
            size_bytes=self.size_bytes,
            sha256=self._hash.hexdigest(),
            raw_size_bytes=raw_size_bytes,
        )


class HashingReader:
    """Reads a file, and remembers how much and its SHA-256."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self._update: Callable[[bytes], None] = self._hash.update
        self.size_bytes = 0

    @contextmanager
    def hashing_aside(self) -> Iterator[None]:
        """Compute the checksum in a thread of its own meanwhile; it is there after the block."""
        with aside(self._hash.update) as self._update:
            yield
        self._update = self._hash.update

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """Return up to `size` bytes; none at the end."""
        data = self._source.read(size)
        self._update(data)
        self.size_bytes += len(data)
        return data

    def drain(self) -> None:
        """Read to the end."""
        while self.read():
            pass

    @property
    def sha256(self) -> str:
        """The checksum of what was read so far."""
        return self._hash.hexdigest()

    def facts(self) -> FileFacts:
        """Return what was read so far."""
        return FileFacts(size_bytes=self.size_bytes, sha256=self.sha256)


class Readable(Protocol):
    """Something that is read from front to end."""

    def read(self, size: int = ..., /) -> bytes:
        """Return up to `size` bytes; none at the end."""
        ...


class Source(Protocol):
    """Something to compress, whose pieces may be views: what compresses them copies them."""

    def read(self, size: int = ..., /) -> Piece:
        """Return up to `size` bytes; none at the end."""
        ...


def never() -> bool:
    """Return False: nothing of a source is to be accelerated."""
    return False


def compress(
    source: Source,
    sink: BinaryIO,
    level: int | None = None,
    is_accelerated: Callable[[], bool] = never,
) -> FileFacts:
    """Copy `source` to `sink` compressed, and return the facts of what was written.

    `level` and `is_accelerated` are those of `Compressed`.
    """
    written = HashingWriter(sink)
    reader = Compressed(source, level, is_accelerated)
    while chunk := reader.read():
        written.write(chunk)
    return written.facts(raw_size_bytes=reader.raw_size_bytes)


class Compressed:
    """Reads a file compressed.

    Each frame carries zstd's own checksum besides, which the zstd program tests by itself. There is
    one, or as many as there are stretches that are accelerated or not.
    """

    def __init__(
        self,
        source: Source,
        level: int | None = None,
        is_accelerated: Callable[[], bool] = never,
    ) -> None:
        """Read `source`, whose last piece is to be compressed as `is_accelerated` says then.

        `level` is one of zstd's, 1 to 19; without it, what was measured to be the best for its
        work, which alone can be accelerated.
        """
        self._source = source
        self._is_accelerated = never if level else is_accelerated
        self._accelerated = False
        self._compressor: zstd.ZstdCompressor | None = zstd.ZstdCompressor(options=options(level))
        self.raw_size_bytes = 0

    def read(self, _size: int = -1) -> bytes:
        """Return what comes next, however much that is; nothing at the end."""
        while self._compressor is not None:
            chunk = self._source.read(CHUNK_BYTES)
            self.raw_size_bytes += len(chunk)
            if not chunk:
                out, self._compressor = self._compressor.flush(), None
            elif self._is_accelerated() == self._accelerated:
                out = self._compressor.compress(chunk)
            else:
                # The old one's memory goes before there is a new one.
                out, self._compressor = self._compressor.flush(), None
                self._accelerated = not self._accelerated
                self._compressor = zstd.ZstdCompressor(
                    options=options(accelerated=self._accelerated)
                )
                out += self._compressor.compress(chunk)
            if out:
                return out
        return b""


def compressed(data: bytes, *, accelerated: bool = False) -> bytes:
    """Return `data` as a file of it would be, compressed, without threads: they are to be few."""
    return zstd.compress(data, options=options(accelerated=accelerated, workers=0))


def options(
    level: int | None = None, *, accelerated: bool = False, workers: int = os.cpu_count() or 1
) -> dict[int, int]:
    """Return what zstd is told, by its parameters.

    With a `level`, which takes the time of all `workers` that there are, nothing else is chosen.
    """
    parameter = zstd.CompressionParameter
    chosen: dict[int, int] = {
        parameter.compression_level: _LEVEL,
        parameter.min_match: _SHORTEST_MATCH_BYTES,
        parameter.hash_log: _HASH_LOG,
        parameter.window_log: _WINDOW_LOG,
        # 0 leaves it to the level.
        parameter.target_length: _ACCELERATION if accelerated else 0,
        parameter.job_size: _PART_BYTES,
        parameter.overlap_log: _HALF_OF_THE_WINDOW,
    }
    if level:
        chosen = {parameter.compression_level: level}
    else:
        workers = min(workers, _MOST_WORKERS)
    return {
        **chosen,
        parameter.checksum_flag: 1,
        # Workers of the library's own; 0 where it was built without threads.
        parameter.nb_workers: min(workers, parameter.nb_workers.bounds()[1]),
    }


def decompressed(source: HashingReader | BinaryIO) -> Iterator[bytes]:
    """Yield what was compressed, in one frame or in several.

    Raises:
        ZstdError: if it is not what `compress` wrote.
        EOFError: if its end is missing. Where it ends with a frame that is not its last, nothing
            tells: that is for the manifest, which knows how long it is.
    """
    chunk = source.read(CHUNK_BYTES)
    while True:
        decompressor = zstd.ZstdDecompressor()
        while not decompressor.eof:
            if decompressor.needs_input and not chunk and not (chunk := source.read(CHUNK_BYTES)):
                raise EOFError("the compressed data end too early")
            if out := decompressor.decompress(chunk, max_length=CHUNK_BYTES):
                yield out
            chunk = b""
        chunk = decompressor.unused_data or source.read(CHUNK_BYTES)
        if not chunk:
            return
