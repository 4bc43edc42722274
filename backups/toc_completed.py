"""An archive's table of contents, completed for a pg_restore with several jobs.

Into a pipe pg_dump cannot come back and say where each table's rows begin, so every job of
pg_restore looks for its table row by row from the front, and none knows which table is the largest
and has to come first. Whoever unpacks such an archive has seen where they begin.

And a table that pg_restore has just made can be filled with rows that are frozen: nobody has to
come back to every page to note that they were committed, not the first reader, nor autovacuum.
"""

import re
from collections.abc import Container, Sequence
from typing import Protocol

from backups import toc
from backups.toc import Entry, Head, UnknownLayoutError, read_head

_POSITION_KNOWN = 2
_COPY_BEGINS = re.compile(
    rb'COPY ((?:"(?:[^"]|"")*"|[a-z0-9_$]+)\.(?:"(?:[^"]|"")*"|[a-z0-9_$]+)) '
)
_FROZEN = {
    b" FROM stdin;\n": b" FROM stdin WITH (FREEZE);\n",
    b" FROM stdin WITH (FORMAT binary);\n": b" FROM stdin WITH (FORMAT binary, FREEZE);\n",
}
"""How statements end that load rows, and how they end when the rows are to come frozen."""
_BINARY_ENDS = tuple(ends for pair in _FROZEN.items() for ends in pair if b"FORMAT binary" in ends)
_BLOCK_OF_ROWS = 1
_FIRST_TRY_BYTES = 1 << 20


def for_one_job(data: bytes) -> bytes:
    """Return the head `data` for a pg_restore that makes and fills all, with one job."""
    head = read_head(data)
    return frozen(data, head, emptied=False) if head else data


def frozen(data: bytes, head: Head, *, emptied: bool = True) -> bytes:
    """Return the head with COPY FREEZE for the tables that it makes.

    The server freezes only what is emptied in the same transaction. A pg_restore with several jobs
    does that by itself; unless the tables are `emptied` so, the head does. What pg_restore sends at
    once is one transaction.
    """
    pieces, end = [], 0
    for entry in sorted(head.filled_here, key=lambda entry: entry.copy):
        begin, after = entry.copy
        statement = data[begin + 1 + head.int_bytes : after]
        ends = next((ends for ends in _FROZEN if statement.endswith(ends)), None)
        if ends is None:
            continue
        table = b"" if emptied else _copied_into(statement)
        if table is None:
            continue
        first = b"TRUNCATE TABLE ONLY " + table + b";\n" if table else b""
        statement = first + statement.removesuffix(ends) + _FROZEN[ends]
        pieces += [data[end:begin], b"\0", len(statement).to_bytes(head.int_bytes, "little")]
        pieces.append(statement)
        end = after
    return b"".join([*pieces, data[end : head.size_bytes]])


def _in_binary(data: bytes, head: Head) -> set[int]:
    """Return which of the head's entries have rows in COPY's binary format."""
    return {
        entry.dump_id for entry in head.entries if data[slice(*entry.copy)].endswith(_BINARY_ENDS)
    }


def _copied_into(statement: bytes) -> bytes | None:
    found = _COPY_BEGINS.match(statement)
    return found[1] if found else None


class Seekable(Protocol):
    """A file that one can come back into; it writes all that it is given."""

    def write(self, data: bytes, /) -> object:
        """Write `data`."""
        ...

    def seek(self, offset: int, /) -> object:
        """Go to `offset`, from the front."""
        ...


class CompletedArchive:
    """Writes an archive into a file as it comes, and completes its head.

    What has another layout than is known here is written as it is.
    """

    def __init__(self, file: Seekable) -> None:
        self._file = file
        self._begun: bytearray | None = bytearray()
        self._try_at_bytes = _FIRST_TRY_BYTES
        self._blocks: _Blocks | None = None

    def write(self, chunk: bytes) -> None:
        """Write what comes next."""
        if self._begun is None:
            self._write(chunk)
            return
        self._begun += chunk
        if len(self._begun) >= self._try_at_bytes:
            self._try_at_bytes *= 2
            in_bounds = len(self._begun) <= toc.HEAD_AT_MOST_BYTES
            self._begin(bytes(self._begun), more_to_come=in_bounds)

    def finish(self) -> None:
        """Write down where the rows of each table begin, if that was seen of all."""
        if self._begun is not None:
            self._begin(bytes(self._begun), more_to_come=False)
        if self._blocks:
            for entry, position in self._blocks.found():
                self._file.seek(entry.position_at)
                number = position.to_bytes(self._blocks.head.position_bytes, "little")
                self._file.write(bytes([_POSITION_KNOWN]) + number)

    def _begin(self, data: bytes, *, more_to_come: bool) -> None:
        try:
            head = read_head(data)
            if head is None and more_to_come:
                return
        except UnknownLayoutError:
            head = None
        self._begun = None
        if head is None or any(entry.is_known for entry in head.entries):
            self._write(data)
            return
        rewritten = frozen(data, head)
        self._file.write(rewritten)
        moved = read_head(rewritten)
        if moved and moved.rows_only:
            self._blocks = _Blocks(moved, _in_binary(rewritten, moved))
        self._write(data[head.size_bytes :])

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        if self._blocks:
            self._blocks.see(data)


class _Blocks:
    """Sees where the rows of each table begin.

    A block is a byte, the number of its entry, then pieces with their lengths before them, and the
    length 0. In text no row has a zero byte, and no length but that has five of them: it is looked
    for, because pg_dump writes each row as a piece. Rows in binary have zeros, but come in large
    pieces: from one length one goes to the next.
    """

    def __init__(self, head: Head, binary: Container[int]) -> None:
        self.head = head
        self._wanted = {entry.dump_id: entry for entry in head.entries if entry.has_data}
        self._binary = binary
        self._found: dict[int, int] = {}
        self._is_sound = True  # Until something is not what it was taken for.
        self._end = b"\0" * (1 + head.int_bytes)
        self._begin_bytes = 2 + head.int_bytes
        # What was not looked at yet, and where in the file that is. The head ends as a block does.
        self._rest, self._rest_at, self._last = b"", 0, 0
        self._ended_at(head.size_bytes)
        self._in_binary = False
        self._piece_rest = 0  # How much of a piece in binary is still to come.

    def see(self, data: bytes) -> None:
        """Look at what comes next."""
        while data and self._is_sound:
            data = self._walk(data) if self._in_binary else self._scan(data)

    def found(self) -> Sequence[tuple[Entry, int]]:
        """Return where the rows of each entry begin; nothing unless all were seen."""
        if not self._is_sound or self._found.keys() != self._wanted.keys():
            return ()
        return [(self._wanted[dump_id], at) for dump_id, at in self._found.items()]

    def _scan(self, data: bytes) -> bytes:
        """Look for blocks; return what follows the beginning of one in binary."""
        data, at = self._rest + data, self._rest_at
        kept = min(len(data), len(self._end) + self._begin_bytes - 1)
        self._rest, self._rest_at = data[-kept:], at + len(data) - kept
        for place in self._ends(data):
            begin = at + place + len(self._end)
            # The number of an entry may end in zero bytes, and the first length begin with some.
            if begin - self._last >= self._begin_bytes + 2 * len(self._end):
                after = place + len(self._end) + self._begin_bytes
                self._note(begin, data[after - self._begin_bytes : after])
                if self._in_binary:
                    self._rest, self._rest_at = b"", at + after
                    return data[after:]
        return b""

    def _walk(self, data: bytes) -> bytes:
        """Go from piece to piece; return what follows the end of the block."""
        data = self._rest + data
        at, length_bytes = 0, len(self._end)
        while True:
            passed = min(self._piece_rest, len(data) - at)
            self._piece_rest -= passed
            at += passed
            if self._piece_rest or len(data) - at < length_bytes:
                self._rest, self._rest_at = data[at:], self._rest_at + at
                return b""
            self._piece_rest = int.from_bytes(data[at + 1 : at + length_bytes], "little")
            at += length_bytes
            if not self._piece_rest:
                self._in_binary = False
                self._ended_at(self._rest_at + at)
                return data[at:]

    def _ends(self, data: bytes) -> Sequence[int]:
        # Backwards, because Python finds the last one twice as fast as the first.
        places = []
        place = data.rfind(self._end, 0, len(data) - self._begin_bytes)
        while place >= 0:
            places.append(place)
            place = data.rfind(self._end, 0, place)
        return places[::-1]

    def _ended_at(self, at: int) -> None:
        self._rest, self._rest_at = self._end, at - len(self._end)
        self._last = self._rest_at - self._begin_bytes - len(self._end)

    def _note(self, begin: int, first: bytes) -> None:
        self._last = begin
        dump_id = int.from_bytes(first[2:], "little")
        known = self._wanted.get(dump_id)
        if first[:2] != bytes([_BLOCK_OF_ROWS, 0]) or known is None or dump_id in self._found:
            self._is_sound = False
            return
        self._found[dump_id] = begin
        self._in_binary = dump_id in self._binary
