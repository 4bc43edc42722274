"""Rows in COPY's binary format: those of several statements as one, and their fields.

https://www.postgresql.org/docs/15/sql-copy.html, "Binary Format".
"""

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

from backups.streams import Piece
from casedb.errors import ToolFailedError

BEGINS = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""The signature, no flags, and nothing more in the head."""
ENDS = b"\xff\xff"
"""A row of -1 columns."""
_COUNT, _LENGTH = Struct(">h"), Struct(">i")


def joined(parts: Iterator[Iterator[Piece]]) -> Iterator[Piece]:
    """Yield as one what COPY wrote in its binary format in several parts.

    No piece is used after the next one was asked for.

    Raises:
        ToolFailedError: one of the parts does not begin or end as that format does.

    >>> one, other = BEGINS + b"row" + ENDS, BEGINS + b"another" + ENDS
    >>> b"".join(joined(iter([iter([one]), iter([other])]))) == BEGINS + b"rowanother" + ENDS
    True
    """
    yield BEGINS
    for part in parts:
        # What is held back may be the end, which comes once.
        held = b""
        for piece in _begun(part):
            if len(piece) < len(ENDS):
                held += piece
                yield held[: -len(ENDS)]
                held = held[-len(ENDS) :]
                continue
            yield held
            yield piece[: -len(ENDS)]
            held = bytes(piece[-len(ENDS) :])
        if held != ENDS:
            raise _unlike_binary()
    yield ENDS


def _begun(part: Iterator[Piece]) -> Iterator[Piece]:
    """Yield the pieces of what follows the beginning."""
    data = b""
    while len(data) < len(BEGINS) and (piece := next(part, b"")):
        data += piece
    if not data.startswith(BEGINS):
        raise _unlike_binary()
    yield data[len(BEGINS) :]
    yield from part


def _unlike_binary() -> ToolFailedError:
    return ToolFailedError(
        "the rows of a large table did not come in COPY's binary format",
        detail="They begin or end in another way.",
        hint="Have them written as text: --copy-format text.",
    )


def fields_of(data: bytes, so_many_bytes: int | None = None) -> Iterator[list[bytes]]:
    """Yield the fields of each row, with what says how long they are; -1 is that of a null.

    Of the rows that begin in the first `so_many_bytes`, if that is told.

    Raises:
        ToolFailedError: it is not COPY's binary format.

    >>> row = b"\\0\\2" + b"\\0\\0\\0\\1x" + b"\\xff\\xff\\xff\\xff"
    >>> list(fields_of(BEGINS + row + ENDS))
    [[b'\\x00\\x00\\x00\\x01x', b'\\xff\\xff\\xff\\xff']]
    """
    if not data.startswith(BEGINS):
        raise _unlike_binary()
    at = len(BEGINS)
    while so_many_bytes is None or at < so_many_bytes:
        if (row := data[at : at + _COUNT.size]) == ENDS:
            return
        at += _COUNT.size
        fields = []
        for _ in range(_number(_COUNT, row)):
            length = _number(_LENGTH, data[at : at + _LENGTH.size])
            ends_at = at + _LENGTH.size + max(0, length)
            fields.append(data[at:ends_at])
            at = ends_at
        yield fields


def rows_of(fields: Iterable[Sequence[bytes]]) -> bytes:
    """Return the rows that have these fields, without what begins and ends all of them.

    They are of one table: each has as many fields as the first.

    >>> rows_of([[b"\\0\\0\\0\\1x"], [b"\\0\\0\\0\\1y"]])
    b'\\x00\\x01\\x00\\x00\\x00\\x01x\\x00\\x01\\x00\\x00\\x00\\x01y'
    """
    rows = list(fields)
    begins = _COUNT.pack(len(rows[0])) if rows else b""
    return begins + begins.join(map(b"".join, rows))


def _number(form: Struct, data: bytes) -> int:
    if len(data) != form.size:
        raise _unlike_binary()
    return int(form.unpack(data)[0])
