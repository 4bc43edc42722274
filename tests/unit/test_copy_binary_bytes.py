"""The bytes of COPY's binary format: parts put together, and split into fields."""

from collections.abc import Iterator

import pytest

from backups.copy_binary import BEGINS, ENDS, fields_of, joined
from casedb.errors import ToolFailedError

FIELDS = [[b"\0\0\0\2ab", b"\xff\xff\xff\xff", b"\0\0\0\0"], [b"\0\0\0\1" + b"c"] * 3]
ROWS = [b"\0\3" + b"".join(fields) for fields in FIELDS]


def parts(*data: bytes, pieces: int) -> Iterator[Iterator[bytes]]:
    for part in data:
        yield (part[at : at + pieces] for at in range(0, len(part), pieces))


@pytest.mark.parametrize("pieces", [1, 2, 19, 20, 1000])
def test_parts_are_joined_wherever_their_pieces_end(pieces: int) -> None:
    one, two, three = (BEGINS + row + ENDS for row in (b"\xff\xff\xff", b"", b"PGCOPY"))

    found = b"".join(joined(parts(one, two, three, pieces=pieces)))

    assert found == BEGINS + b"\xff\xff\xffPGCOPY" + ENDS


@pytest.mark.parametrize(
    "part", [b"", BEGINS, BEGINS + b"row", BEGINS[:-1] + b"\x01" + ENDS, ENDS, b"1\ttext\n" * 9]
)
@pytest.mark.parametrize("pieces", [1, 1000])
def test_what_is_not_in_binary_is_refused(part: bytes, pieces: int) -> None:
    with pytest.raises(ToolFailedError, match="binary format"):
        list(joined(parts(BEGINS + ENDS, part, pieces=pieces)))


def test_fields_are_those_of_the_rows_that_begin_in_so_many_bytes() -> None:
    data = BEGINS + b"".join(ROWS) + ENDS

    assert list(fields_of(data)) == FIELDS
    second_at = len(BEGINS + ROWS[0])
    assert list(fields_of(data, second_at + 1)) == FIELDS
    assert list(fields_of(data, second_at)) == FIELDS[:1]


@pytest.mark.parametrize(
    "data",
    [b"", b"ab\tcd\n" * 9, BEGINS, BEGINS + ROWS[0], BEGINS + ROWS[0][:4], BEGINS + ROWS[0][:3]],
)
def test_fields_of_what_is_not_in_binary_are_refused(data: bytes) -> None:
    with pytest.raises(ToolFailedError, match="not come in COPY's binary format"):
        list(fields_of(data))
