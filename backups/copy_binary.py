"""Rows in COPY's binary format, as it comes from several statements.

https://www.postgresql.org/docs/15/sql-copy.html, "Binary Format".
"""

from collections.abc import Iterator

from casedb.errors import ToolFailedError

BEGINS = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""The signature, no flags, and nothing more in the head."""
ENDS = b"\xff\xff"
"""A row of -1 columns."""


def joined(parts: Iterator[Iterator[bytes]]) -> Iterator[bytes]:
    """Yield as one what COPY wrote in its binary format in several parts.

    Raises:
        ToolFailedError: one of the parts does not begin or end as that format does.

    >>> one, other = BEGINS + b"row" + ENDS, BEGINS + b"another" + ENDS
    >>> b"".join(joined(iter([iter([one]), iter([other])]))) == BEGINS + b"rowanother" + ENDS
    True
    """
    yield BEGINS
    for part in parts:
        begun, rest = False, b""
        for piece in part:
            rest += piece
            if not begun and len(rest) >= len(BEGINS):
                begun, rest = True, _without(rest, BEGINS)
            # It may be the end, which comes once.
            if begun and len(rest) > len(ENDS):
                yield rest[: -len(ENDS)]
                rest = rest[-len(ENDS) :]
        if not begun or rest != ENDS:
            raise _unlike_binary()
    yield ENDS


def _without(data: bytes, begin: bytes) -> bytes:
    if not data.startswith(begin):
        raise _unlike_binary()
    return data[len(begin) :]


def _unlike_binary() -> ToolFailedError:
    return ToolFailedError(
        "the rows of a large table did not come in COPY's binary format",
        detail="They begin or end in another way.",
        hint="Have them written as text: --copy-format text.",
    )
