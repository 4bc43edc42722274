"""Several programs that write into pipes at once, whose output is taken in turns.

A pipe holds a MiB, and who writes into a full one stands still. So while one program's output is
taken, what the others have written is read and kept, up to a limit.
"""

import fcntl
import select
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from backups.end_mark import EndMark
from backups.ring import Ring

_PIPE_BYTES = 1 << 20


@dataclass(eq=False)
class Outlet:
    """What one program writes."""

    file: IO[bytes]
    ring: Ring
    has_ended: bool = False

    @property
    def has_room(self) -> bool:
        """Whether more of it is to be read."""
        return not self.has_ended and self.ring.has_room

    def read(self) -> None:
        """Keep what is there; only when something is."""
        self.has_ended = not self.ring.read_from(self.file.fileno())


class Pipes:
    """The outlets of some programs.

    What is taken is the caller's until he takes more of the same outlet.
    """

    def __init__(self) -> None:
        self._outlets: list[Outlet] = []

    def add(self, file: IO[bytes], *, keep_bytes: int, mark_bytes: int = 0) -> Outlet:
        """Take part in reading a program's output, of which `keep_bytes` are kept at most.

        Marks whose lines have up to `mark_bytes` can be looked for in it.
        """
        # 64 KiB by default: reader and writer would take turns instead of working at once.
        with suppress(OSError, AttributeError):
            fcntl.fcntl(file.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        outlet = Outlet(file, Ring(keep_bytes, mark_bytes))
        self._outlets.append(outlet)
        return outlet

    def take(self, outlet: Outlet) -> memoryview:
        """Return what comes next out of one; nothing at its end."""
        outlet.ring.done()
        self._look(timeout_ms=0)
        while not (piece := outlet.ring.take()) and not outlet.has_ended:
            self._look(timeout_ms=None)
        return piece

    def take_before(
        self, outlet: Outlet, mark: EndMark, *, nothing_follows: bool = False
    ) -> tuple[memoryview, bool] | None:
        """Return what comes next and lies before a mark, and whether the mark follows.

        None if the outlet has ended without one. A mark that nothing follows, until more is asked
        for, is looked for at the end alone.
        """
        outlet.ring.done()
        self._look(timeout_ms=0)
        while True:
            found = outlet.ring.take_before(mark, nothing_follows=nothing_follows)
            if found or outlet.has_ended:
                return found
            self._look(timeout_ms=None)

    def _look(self, *, timeout_ms: int | None) -> None:
        by_number = {o.file.fileno(): o for o in self._outlets if o.has_room}
        poll = select.poll()
        for number in by_number:
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(timeout_ms):
            by_number[number].read()
