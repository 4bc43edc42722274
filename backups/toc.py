"""The table of contents of pg_dump's custom archive, completed for a pg_restore with several jobs.

pg_dump writes it first. Into a pipe it cannot come back and say where each table's rows begin, so
every job of pg_restore looks for its table row by row from the front, and none knows which table is
the largest and has to come first. Whoever unpacks such an archive has seen where they begin.

And a table that pg_restore has just made can be filled with rows that are frozen: nobody has to
come back to every page to note that they were committed, not the first reader, nor autovacuum.

The layout is that of src/bin/pg_dump/pg_backup_archiver.c (WriteHead, WriteToc, WriteInt, WriteStr)
and pg_backup_custom.c (_StartData, _WriteData, _EndData, _WriteExtraToc).
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

_MAGIC = b"PGDMP"
_CUSTOM = 1
_VERSIONS = ((1, 14), (1, 15), (1, 16))
"""PostgreSQL 12 to 15, 16, and 17 on."""
_POSITION_KNOWN = 2
_TABLE, _ROWS = b"TABLE", b"TABLE DATA"
_COPY_BEGINS = re.compile(
    rb'COPY ((?:"(?:[^"]|"")*"|[a-z0-9_$]+)\.(?:"(?:[^"]|"")*"|[a-z0-9_$]+)) '
)
_COPY_ENDS = b" FROM stdin;\n"
_COPY_FROZEN_ENDS = b" FROM stdin WITH (FREEZE);\n"
_BLOCK_OF_ROWS = 1
_FIRST_TRY_BYTES = 1 << 20
_HEAD_AT_MOST_BYTES = 64 << 20
"""Some 100,000 tables. Of what promises a longer one, nothing is kept in memory."""


class UnknownLayoutError(Exception):
    """It is not the layout that is known here; pg_restore may know it all the same."""


@dataclass(frozen=True)
class Entry:
    """One entry: a table, an index, or the rows of a table."""

    dump_id: int
    has_data: bool
    kind: bytes
    copy: tuple[int, int]
    """Where the statement that loads its rows begins and ends in the head, its length included."""
    into_itself: bool
    """Whether its rows go into the table that it names, and not into the one it is a part of."""
    depends_on: tuple[bytes, ...]
    position_at: int
    """Where in the head is written where its data begin: a byte of state, then the number."""
    is_known: bool
    """Whether it is written there: what has no data, or went into a pipe, has no such place."""


@dataclass(frozen=True)
class Head:
    """An archive up to where its data begin."""

    entries: tuple[Entry, ...]
    size_bytes: int
    int_bytes: int
    position_bytes: int
    is_compressed: bool

    @property
    def filled_here(self) -> list[Entry]:
        """Those whose rows go into a table that the same archive makes."""
        tables = {str(entry.dump_id).encode() for entry in self.entries if entry.kind == _TABLE}
        return [
            entry
            for entry in self.entries
            if entry.kind == _ROWS
            and entry.into_itself
            and entry.depends_on[:1]
            and entry.depends_on[0] in tables
        ]

    @property
    def rows_only(self) -> bool:
        """Whether all data are rows as COPY writes them, in which no byte is zero."""
        data = [entry for entry in self.entries if entry.has_data]
        return not self.is_compressed and all(entry.kind == _ROWS for entry in data)


def read_head(data: bytes) -> Head | None:
    """Return the head of the archive that begins with `data`; None if there is more of it to come.

    Raises:
        UnknownLayoutError: if it is none, or of a version that is not known here.
    """
    try:
        return _read_head(_Cursor(data))
    except IndexError:
        return None


def begun(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the head of the archive that comes in `chunks`, and what comes after it.

    The head is empty if its layout is not known here, or it is no archive: all comes after it then.
    """
    data, try_at_bytes = bytearray(), 0
    for chunk in chunks:
        data += chunk
        if len(data) < try_at_bytes:
            continue
        # Not at each chunk: an archive that is none would be read as often as it has chunks.
        try_at_bytes = 2 * len(data)
        try:
            head = read_head(bytes(data))
        except UnknownLayoutError:
            break
        if len(data) > _HEAD_AT_MOST_BYTES:
            break
        if head:
            after = bytes(data[head.size_bytes :])
            return bytes(data[: head.size_bytes]), itertools.chain([after], chunks)
    return b"", itertools.chain([bytes(data)], chunks)


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
        if not statement.endswith(_COPY_ENDS):
            continue
        table = b"" if emptied else _copied_into(statement)
        if table is None:
            continue
        first = b"TRUNCATE TABLE ONLY " + table + b";\n" if table else b""
        statement = first + statement.removesuffix(_COPY_ENDS) + _COPY_FROZEN_ENDS
        pieces += [data[end:begin], b"\0", len(statement).to_bytes(head.int_bytes, "little")]
        pieces.append(statement)
        end = after
    return b"".join([*pieces, data[end : head.size_bytes]])


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
            in_bounds = len(self._begun) <= _HEAD_AT_MOST_BYTES
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
            self._blocks = _Blocks(moved)
        self._write(data[head.size_bytes :])

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        if self._blocks:
            self._blocks.see(data)


class _Blocks:
    """Sees where the rows of each table begin.

    A block is a byte, the number of its entry, then pieces with their lengths before them, and the
    length 0. No row has a zero byte, and no length but that has five of them.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self._wanted = {entry.dump_id: entry for entry in head.entries if entry.has_data}
        self._found: dict[int, int] = {}
        self._is_sound = True  # Until something is not what it was taken for.
        self._end = b"\0" * (1 + head.int_bytes)
        self._begin_bytes = 2 + head.int_bytes
        # What was not looked at yet, and where in the file that is. The head ends as a block does.
        self._rest = self._end
        self._rest_at = head.size_bytes - len(self._end)
        self._last = self._rest_at - self._begin_bytes - len(self._end)

    def see(self, data: bytes) -> None:
        """Look at what comes next."""
        data, at = self._rest + data, self._rest_at
        kept = min(len(data), len(self._end) + self._begin_bytes - 1)
        self._rest, self._rest_at = data[-kept:], at + len(data) - kept
        for place in self._ends(data):
            begin = at + place + len(self._end)
            # The number of an entry may end in zero bytes, and the first length begin with some.
            if begin - self._last >= self._begin_bytes + 2 * len(self._end):
                self._note(begin, data[place + len(self._end) :][: self._begin_bytes])

    def found(self) -> Sequence[tuple[Entry, int]]:
        """Return where the rows of each entry begin; nothing unless all were seen."""
        if not self._is_sound or self._found.keys() != self._wanted.keys():
            return ()
        return [(self._wanted[dump_id], at) for dump_id, at in self._found.items()]

    def _ends(self, data: bytes) -> Sequence[int]:
        # Backwards, because Python finds the last one twice as fast as the first.
        places = []
        place = data.rfind(self._end, 0, len(data) - self._begin_bytes)
        while place >= 0:
            places.append(place)
            place = data.rfind(self._end, 0, place)
        return places[::-1]

    def _note(self, begin: int, first: bytes) -> None:
        self._last = begin
        dump_id = int.from_bytes(first[2:], "little")
        known = self._wanted.get(dump_id)
        if first[:2] != bytes([_BLOCK_OF_ROWS, 0]) or known is None or dump_id in self._found:
            self._is_sound = False
            return
        self._found[dump_id] = begin


class _Cursor:
    """Reads what pg_dump's WriteByte, WriteInt and WriteStr have written."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.int_bytes = 4

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def take(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self.data):
            raise IndexError
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        is_negative = self.byte()
        value = int.from_bytes(self.take(self.int_bytes), "little")
        return -value if is_negative else value

    def text(self) -> bytes | None:
        length = self.number()
        return None if length < 0 else self.take(length)


def _read_head(cursor: _Cursor) -> Head:
    if cursor.take(len(_MAGIC)) != _MAGIC:
        raise UnknownLayoutError("it does not begin as an archive of pg_dump")
    version = (cursor.byte(), cursor.byte())
    cursor.byte()
    cursor.int_bytes, position_bytes, layout = cursor.byte(), cursor.byte(), cursor.byte()
    if version not in _VERSIONS or layout != _CUSTOM:
        raise UnknownLayoutError(f"archive of version {version}, layout {layout}")
    compression = cursor.byte() if version >= (1, 15) else cursor.number()
    for _ in range(7):  # The time: second to year, and whether it is summer time.
        cursor.number()
    for _ in range(3):  # The database, the versions of server and pg_dump.
        cursor.text()
    entries = tuple(_read_entry(cursor, version, position_bytes) for _ in range(cursor.number()))
    return Head(entries, cursor.at, cursor.int_bytes, position_bytes, compression != 0)


def _read_entry(cursor: _Cursor, version: tuple[int, int], position_bytes: int) -> Entry:
    dump_id, has_data = cursor.number(), bool(cursor.number())
    for _ in range(3):  # OIDs of catalog and object, and its name.
        cursor.text()
    kind = cursor.text() or b""
    cursor.number()  # The section.
    # The statement that makes it; of rows: nothing, or a remark that they go through the root of
    # the partitions.
    makes = cursor.text()
    cursor.text()  # The statement that drops it.
    copy_begins = cursor.at
    cursor.text()
    copy = (copy_begins, cursor.at)
    for _ in range(3):  # Schema, tablespace, table access method.
        cursor.text()
    if version >= (1, 16):
        cursor.number()  # What kind of relation it is.
    for _ in range(2):  # The owner, and what was WITH OIDS.
        cursor.text()
    depends_on = []
    while (other := cursor.text()) is not None:
        depends_on.append(other)
    position_at = cursor.at
    is_known = cursor.byte() == _POSITION_KNOWN
    cursor.take(position_bytes)
    return Entry(dump_id, has_data, kind, copy, not makes, tuple(depends_on), position_at, is_known)
