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
        last = _begun(part)
        for piece in part:
            # What is held back may be the end, which comes once.
            if len(piece) < len(ENDS):
                last += piece
                continue
            if last:
                yield last
            last = piece
        if not last.endswith(ENDS):
            raise _unlike_binary()
        if len(last) > len(ENDS):
            yield last[: -len(ENDS)]
    yield ENDS


def _begun(part: Iterator[bytes]) -> bytes:
    """Return what follows the beginning in the pieces that have it."""
    data = b""
    while len(data) < len(BEGINS) and (piece := next(part, b"")):
        data += piece
    if not data.startswith(BEGINS):
        raise _unlike_binary()
    return data[len(BEGINS) :]


def _unlike_binary() -> ToolFailedError:
    return ToolFailedError(
        "the rows of a large table did not come in COPY's binary format",
        detail="They begin or end in another way.",
        hint="Have them written as text: --copy-format text.",
    )
