"""What comes out of a pipe, kept in one piece of memory that is used again and again.

Pieces of their own for what is read would cost the kernel a page each 4 KB, and leave holes in the
heap where those of several pipes are freed in another order than they came. Here nothing is
allocated while data flow; who takes a piece has to be done with it before the next one.
"""

import os

from backups.end_mark import EndMark

_LARGEST_BYTES = 1 << 20
"""Of a piece: while one is in use, what comes next needs room too."""


class Ring:
    """Bytes in the order they came, as many as there is room for.

    The memory has a margin before its first byte, as long as what may be held back: when the rest
    at the end is too short to hand out, it moves there, before what follows it.
    """

    def __init__(self, room_bytes: int, held_bytes: int = 0) -> None:
        self._margin = held_bytes
        self._ends = held_bytes + room_bytes
        self._data = bytearray(self._ends)
        self._view = memoryview(self._data)
        self._begin = held_bytes
        """Where that is which is to be handed out next."""
        self._kept = 0
        """How many bytes there are from `_begin` on; behind the last comes the one at the margin's
        end."""
        self._in_use = 0
        """How many there are before `_begin` that were handed out last."""

    @property
    def has_room(self) -> bool:
        """Whether more can be read."""
        return self._kept + self._in_use < self._ends - self._margin

    def read_from(self, descriptor: int) -> bool:
        """Read what is there, as far as there is room; return False at its end."""
        room = self._ends - self._margin - self._kept - self._in_use
        at = self._begin + self._kept
        if at >= self._ends:
            at -= self._ends - self._margin
        first = min(room, self._ends - at)
        places = [self._view[at : at + first]]
        if first < room:
            places.append(self._view[self._margin : self._margin + room - first])
        count = os.readv(descriptor, places)
        self._kept += count
        return count > 0

    def take(self) -> memoryview:
        """Return what comes next; nothing if nothing is there. It is the caller's until he asks
        for more."""
        self.done()
        return self._handed(min(self._in_one_piece, _LARGEST_BYTES))

    def take_before(
        self, mark: EndMark, *, nothing_follows: bool = False
    ) -> tuple[memoryview, bool] | None:
        """Return what comes next and lies before the mark, and whether the mark follows; None if
        more has to be read to tell.

        A mark that nothing follows is looked for at the end alone. `held_bytes` must be at least
        as many as its line has.
        """
        self.done()
        line = mark.line
        held = len(line) - 1
        if self._in_one_piece <= held < self._kept:
            self._to_front(self._in_one_piece)
        count = min(self._in_one_piece, _LARGEST_BYTES + held)
        end = self._begin + count
        if nothing_follows:
            at = self._data.find(line, max(self._begin, end - len(line)), end)
        else:
            at = mark.find(self._data, self._begin, end)
        if at >= 0:
            piece = self._handed(at - self._begin)
            self._handed(len(line))
            self._in_use = len(piece) + len(line)
            return piece, True
        if count <= held:
            return None
        return self._handed(count - held), False

    def done(self) -> None:
        """Have the place again of what was handed out last."""
        self._in_use = 0
        if self._kept <= self._margin and self._in_one_piece == self._kept:
            # The same place again is in the processor's cache; the next would not be.
            self._to_front(self._kept)

    @property
    def _in_one_piece(self) -> int:
        return min(self._kept, self._ends - self._begin)

    def _to_front(self, count: int) -> None:
        """Move the next bytes before what is at the margin's end."""
        begin = self._margin - count
        self._data[begin : self._margin] = self._data[self._begin : self._begin + count]
        self._begin = begin

    def _handed(self, count: int) -> memoryview:
        piece = self._view[self._begin : self._begin + count]
        self._begin += count
        self._kept -= count
        self._in_use = count
        if self._begin == self._ends:
            self._begin = self._margin
        return piece
