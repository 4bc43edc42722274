"""The table of contents of pg_dump's custom archive, which pg_dump writes first.

The layout is that of src/bin/pg_dump/pg_backup_archiver.c (WriteHead, WriteToc, WriteInt, WriteStr)
and pg_backup_custom.c (_StartData, _WriteData, _EndData, _WriteExtraToc).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = b"PGDMP"
_CUSTOM = 1
_VERSIONS = ((1, 14), (1, 15), (1, 16))
"""PostgreSQL 12 to 15, 16, and 17 on."""
KNOWN_MAJORS = range(15, 19)
"""Whose pg_dump is known to write one of them."""
_POSITION_KNOWN = 2
TABLE, ROWS = b"TABLE", b"TABLE DATA"
HEAD_AT_MOST_BYTES = 64 << 20
"""Some 100,000 tables. Of what promises a longer one, nothing is kept in memory."""


class UnknownLayoutError(Exception):
    """It is not the layout that is known here; pg_restore may know it all the same."""


@dataclass(frozen=True)
class Entry:
    """One entry: a table, an index, or the rows of a table."""

    begins_at: int
    """Where in the head."""
    dump_id: int
    has_data: bool
    oid: bytes
    name: bytes
    kind: bytes
    section: int
    """Where in the order of a restore: before the rows, among them, or after them."""
    copy: tuple[int, int]
    """Where the statement that loads its rows begins and ends in the head, its length included."""
    into_itself: bool
    """Whether its rows go into the table that it names, and not into the one it is a part of."""
    depends_on: tuple[bytes, ...]
    position_at: int
    """Where in the head is written where its data begin: a byte of state, then the number."""
    schema: bytes | None
    owner: bytes | None
    is_known: bool
    """Whether it is written there: what has no data, or went into a pipe, has no such place."""


@dataclass(frozen=True)
class Head:
    """An archive up to where its data begin."""

    version: tuple[int, int]
    entries: tuple[Entry, ...]
    count_at: int
    """Where in it the number of its entries is written."""
    size_bytes: int
    int_bytes: int
    position_bytes: int
    is_compressed: bool

    @property
    def filled_here(self) -> list[Entry]:
        """Those whose rows go into a table that the same archive makes."""
        tables = {str(entry.dump_id).encode() for entry in self.entries if entry.kind == TABLE}
        return [
            entry
            for entry in self.entries
            if entry.kind == ROWS
            and entry.into_itself
            and entry.depends_on[:1]
            and entry.depends_on[0] in tables
        ]

    @property
    def rows_only(self) -> bool:
        """Whether all data are rows as COPY writes them."""
        data = [entry for entry in self.entries if entry.has_data]
        return not self.is_compressed and all(entry.kind == ROWS for entry in data)


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
    for chunk in itertools.chain(chunks, [b""]):
        data += chunk
        if chunk and len(data) < try_at_bytes:
            continue
        # Not at each chunk: an archive that is none would be read as often as it has chunks.
        try_at_bytes = 2 * len(data)
        try:
            head = read_head(bytes(data))
        except UnknownLayoutError:
            break
        if len(data) > HEAD_AT_MOST_BYTES:
            break
        if head:
            after = bytes(data[head.size_bytes :])
            return bytes(data[: head.size_bytes]), itertools.chain([after], chunks)
    return b"", itertools.chain([bytes(data)], chunks)


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
    count_at = cursor.at
    entries = tuple(_read_entry(cursor, version, position_bytes) for _ in range(cursor.number()))
    return Head(
        version,
        entries,
        count_at,
        cursor.at,
        cursor.int_bytes,
        position_bytes,
        is_compressed=compression != 0,
    )


def _read_entry(cursor: _Cursor, version: tuple[int, int], position_bytes: int) -> Entry:
    begins_at = cursor.at
    dump_id, has_data = cursor.number(), bool(cursor.number())
    cursor.text()  # The OID of its catalog.
    oid, name, kind = (cursor.text() or b"" for _ in range(3))
    section = cursor.number()
    # The statement that makes it; of rows: nothing, or a remark that they go through the root of
    # the partitions.
    makes = cursor.text()
    cursor.text()  # The statement that drops it.
    copy_begins = cursor.at
    cursor.text()
    copy = (copy_begins, cursor.at)
    schema = cursor.text()
    for _ in range(2):  # Tablespace, table access method.
        cursor.text()
    if has_relation_kind(version):
        cursor.number()
    owner = cursor.text()
    cursor.text()  # What was WITH OIDS.
    depends_on = []
    while (other := cursor.text()) is not None:
        depends_on.append(other)
    position_at = cursor.at
    is_known = cursor.byte() == _POSITION_KNOWN
    cursor.take(position_bytes)
    return Entry(
        begins_at=begins_at,
        dump_id=dump_id,
        has_data=has_data,
        oid=oid,
        name=name,
        kind=kind,
        section=section,
        copy=copy,
        into_itself=not makes,
        depends_on=tuple(depends_on),
        position_at=position_at,
        schema=schema,
        owner=owner,
        is_known=is_known,
    )


def has_relation_kind(version: tuple[int, int]) -> bool:
    """Whether an entry says what kind of relation it is."""
    return version >= (1, 16)
