"""Several programs that write into pipes at once, whose output is taken in turns.

A pipe holds a MiB, and who writes into a full one stands still. So while one program's output is
taken, what the others have written is read and kept, up to a limit.
"""

import fcntl
import select
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from typing import IO

from backups.streams import CHUNK_BYTES

_PIPE_BYTES = 1 << 20


@dataclass(eq=False)
class Outlet:
    """What one program writes."""

    file: BufferedReader
    keep_bytes: int
    """How much of it is kept at most, about; the rest waits in the pipe."""
    kept: deque[bytes] = field(default_factory=deque)
    kept_bytes: int = 0
    has_ended: bool = False

    @property
    def has_room(self) -> bool:
        """Whether more of it is to be read."""
        return not self.has_ended and self.kept_bytes < self.keep_bytes

    def read(self) -> None:
        """Keep what is there; only when something is."""
        if piece := self.file.read1(CHUNK_BYTES):
            self.kept.append(piece)
            self.kept_bytes += len(piece)
        else:
            self.has_ended = True


class Pipes:
    """The outlets of some programs."""

    def __init__(self) -> None:
        self._outlets: list[Outlet] = []

    def add(self, file: IO[bytes], *, keep_bytes: int) -> Outlet:
        """Take part in reading a program's output, of which `keep_bytes` are kept at most."""
        assert isinstance(file, BufferedReader)
        # 64 KiB by default: reader and writer would take turns instead of working at once.
        with suppress(OSError, AttributeError):
            fcntl.fcntl(file.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        outlet = Outlet(file, keep_bytes)
        self._outlets.append(outlet)
        return outlet

    def take(self, outlet: Outlet) -> bytes:
        """Return what comes next out of one; nothing at its end."""
        self._look(timeout_ms=0)
        while not outlet.kept and not outlet.has_ended:
            self._look(timeout_ms=None)
        if not outlet.kept:
            return b""
        piece = outlet.kept.popleft()
        outlet.kept_bytes -= len(piece)
        return piece

    def _look(self, *, timeout_ms: int | None) -> None:
        by_number = {o.file.fileno(): o for o in self._outlets if o.has_room}
        poll = select.poll()
        for number in by_number:
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(timeout_ms):
            by_number[number].read()
