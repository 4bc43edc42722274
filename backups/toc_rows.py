"""Rows that somebody else has read, put into an archive of pg_dump as if pg_dump had.

An archive is its table of contents, then a block of data for each entry that has any, in the same
order: a pg_restore that reads from a pipe cannot go back. So the new entries come last among those
with data, and their blocks after all others.
"""

from collections.abc import Iterator, Mapping

from backups.streams import Piece
from backups.toc import ROWS, TABLE, Entry, Head, has_relation_kind, read_head

_SECTION_DATA, _SECTION_POST_DATA = 3, 4
_BLOCK_OF_ROWS = b"\x01"
_ROWS_END = b"\\.\n\n\n"
_POSITION_NOT_SET = b"\x01"
_NONE = -1


class UnfitHeadError(Exception):
    """The rows cannot be added to this archive; says why."""


def with_rows(data: bytes, copies: Mapping[tuple[str, str], str]) -> tuple[bytes, list[int]]:
    """Return the head `data` with entries for rows that come after all others, and their numbers.

    `copies` has, by schema and name of each table, the statement that loads its rows; the numbers
    are in the same order.

    Raises:
        UnfitHeadError: it does not make one of the tables, or has its rows already.
    """
    head = read_head(data)
    if head is None:
        raise UnfitHeadError("it has no end that is known here")
    after = next((e for e in head.entries if e.section == _SECTION_POST_DATA), None)
    place = after.begins_at if after else head.size_bytes
    number = max((entry.dump_id for entry in head.entries), default=0)
    entries, numbers = [], []
    for table, copy in copies.items():
        number += 1
        entries.append(_entry(head, _table(head, table), number, copy.encode()))
        numbers.append(number)
    count_ends = head.count_at + 1 + head.int_bytes
    pieces = [
        data[: head.count_at],
        _number(head, len(head.entries) + len(entries)),
        data[count_ends:place],
        *entries,
        data[place:],
    ]
    return b"".join(pieces), numbers


def block(
    head: Head, number: int, rows: Iterator[Piece], *, is_binary: bool = False
) -> Iterator[Piece]:
    """Yield the block of data of entry `number`, in pieces as `rows` has them.

    Text ends as pg_dump ends it; COPY's binary format has an end of its own.
    """
    yield _BLOCK_OF_ROWS + _number(head, number)
    for piece in rows:
        # A length of 0 would be the end of the block.
        if piece:
            yield _number(head, len(piece))
            yield piece
    if not is_binary:
        yield _number(head, len(_ROWS_END)) + _ROWS_END
    yield _number(head, 0)


def _table(head: Head, table: tuple[str, str]) -> Entry:
    schema, name = (word.encode() for word in table)
    same = [entry for entry in head.entries if (entry.schema, entry.name) == (schema, name)]
    tables = [entry for entry in same if entry.kind == TABLE]
    if len(tables) != 1:
        raise UnfitHeadError(f"it makes {table[0]}.{table[1]} {len(tables)} times")
    if any(entry.kind == ROWS for entry in same):
        raise UnfitHeadError(f"it has the rows of {table[0]}.{table[1]} already")
    return tables[0]


def _entry(head: Head, table: Entry, number: int, copy: bytes) -> bytes:
    def text(value: bytes | None) -> bytes:
        return _number(head, _NONE) if value is None else _number(head, len(value)) + value

    return b"".join(
        [
            _number(head, number),
            _number(head, 1),  # It has data.
            text(b"0"),  # No catalog has it.
            text(table.oid),
            text(table.name),
            text(ROWS),
            _number(head, _SECTION_DATA),
            text(None),  # Nothing makes it,
            text(None),  # and nothing drops it.
            text(copy),
            text(table.schema),
            text(None),  # No tablespace,
            text(None),  # and no table access method.
            _number(head, 0) if has_relation_kind(head.version) else b"",
            text(table.owner),
            text(b"false"),  # Not WITH OIDS.
            text(str(table.dump_id).encode()),
            text(None),  # The end of what it depends on.
            _POSITION_NOT_SET + bytes(head.position_bytes),
        ]
    )


def _number(head: Head, value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(head.int_bytes, "little")
