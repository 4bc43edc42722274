"""Rows in COPY's text format: their fields, and the rows of fields.

https://www.postgresql.org/docs/15/sql-copy.html, "Text Format".
"""

from collections.abc import Iterable, Iterator, Sequence

_BETWEEN, _ENDS = b"\t", b"\n"


def fields_of(data: bytes, so_many_bytes: int | None = None) -> Iterator[list[bytes]]:
    """Yield the fields of each row, as they are written: tabs and line ends in them are escaped.

    Of the rows that begin in the first `so_many_bytes`, if that is told.

    >>> list(fields_of(b"1\\ta\\n2\\tb\\n", 4))
    [[b'1', b'a']]
    """
    at = 0
    while at < len(data) and (so_many_bytes is None or at < so_many_bytes):
        end = data.index(_ENDS, at)
        yield data[at:end].split(_BETWEEN)
        at = end + len(_ENDS)


def rows_of(fields: Iterable[Sequence[bytes]]) -> bytes:
    """Return the rows that have these fields.

    >>> rows_of([[b"1", b"a"], [b"2", b"b"]])
    b'1\\ta\\n2\\tb\\n'
    """
    return b"".join(_BETWEEN.join(row) + _ENDS for row in fields)
