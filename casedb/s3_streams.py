"""Long objects of a bucket as files: parts on their way at once, with bounded memory."""

import io
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from casedb.kept_parts import Fetch
from casedb.s3_model import S3Error

if TYPE_CHECKING:
    from casedb.s3 import Bucket

PART_BYTES = 8 << 20
"""Of an upload or download; parts grow with the object, because there may be 10,000 of them."""
STREAMS = 4
"""Parts in flight at once: what a stream takes of memory is this many, and two more."""
_PARTS_BEFORE_GROWTH = 1000


class Upload:
    """A file to write to; sends parts while it is written to, with bounded memory."""

    def __init__(
        self, bucket: "Bucket", pool: ThreadPoolExecutor, key: str, *, locked: bool
    ) -> None:
        self._bucket, self._pool, self._key, self._locked = bucket, pool, key, locked
        self._buffer = bytearray()
        self._part_bytes = PART_BYTES
        self._id: str | None = None
        self._number = 0
        self._in_flight: list[Future[Mapping[str, Any]]] = []
        self._sent: list[Mapping[str, Any]] = []

    def write(self, data: bytes) -> int:
        """Write `data`, all of it."""
        rest = memoryview(data)
        while rest:
            room = self._part_bytes - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]
            if len(self._buffer) == self._part_bytes:
                # Not copied: to touch new memory costs more than what is done with it.
                part, self._buffer = self._buffer, bytearray()
                self._send(part)
        return len(data)

    def finish(self) -> None:
        """Send the rest and make it one object."""
        if self._id is None:
            self._bucket.put(self._key, bytes(self._buffer), locked=self._locked)
            return
        if self._buffer:
            self._send(self._buffer)
        while self._in_flight:
            self._sent.append(self._in_flight.pop(0).result())
        self._bucket.end_upload(self._key, self._id, self._sent)

    def abort(self) -> None:
        """Leave nothing of it, as far as the server can be reached."""
        for future in self._in_flight:
            future.cancel()
        for future in self._in_flight:
            with suppress(BaseException):
                future.result()
        if self._id is not None:
            with suppress(S3Error):
                self._bucket.abort_upload(self._key, self._id)

    def _send(self, part: bytearray) -> None:
        if self._id is None:
            self._id = self._bucket.begin_upload(self._key, locked=self._locked)
        if len(self._in_flight) >= STREAMS:
            self._sent.append(self._in_flight.pop(0).result())
        self._number += 1
        if self._number % _PARTS_BEFORE_GROWTH == 0:
            self._part_bytes *= 2
        self._in_flight.append(
            self._pool.submit(self._bucket.send_part, self._key, self._id, self._number, part)
        )


class Download(io.RawIOBase):
    def __init__(self, pool: ThreadPoolExecutor, fetch: Fetch, size_bytes: int) -> None:
        self._pool, self._fetch, self._size = pool, fetch, size_bytes
        self._asked = 0
        self._ahead: list[Future[bytes]] = []
        self._part = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._part:
            self._ask()
            if not self._ahead:
                return 0
            self._part = memoryview(self._ahead.pop(0).result())
            self._ask()
        count = min(len(buffer), len(self._part))
        buffer[:count] = self._part[:count]
        self._part = self._part[count:]
        return count

    def close(self) -> None:
        for future in self._ahead:
            future.cancel()
        super().close()

    def _ask(self) -> None:
        while self._asked < self._size and len(self._ahead) < STREAMS:
            count = min(PART_BYTES, self._size - self._asked)
            self._ahead.append(self._pool.submit(self._fetch, self._asked, count))
            self._asked += count
