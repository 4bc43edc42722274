"""A ring hands out what was written into a pipe, in order, whatever the sizes; and marks in it."""

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backups.end_mark import LINE_BYTES, EndMark
from backups.pipes import Pipes
from backups.ring import Ring

MARK = EndMark(b"mark", stride=5)
LINE = b"markmark\n"
ROWS = [b"", b"one\n", b"mar\nmark", b"arkmark", b"\xff\xff", b"markmark\r\n", b"m" * 40]
SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=30)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """Yield the ends of a pipe; the one to write to may be closed meanwhile."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb", buffering=0):
        yield read_end, write_end


def written(data: bytes, sizes: list[int], write_end: int) -> Iterator[None]:
    """Write `data` in pieces, one each time that is asked for another; then close."""
    at = 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        os.write(write_end, data[at : at + size])
        at += size
        yield
    os.close(write_end)


@given(st.binary(max_size=200), SIZES, st.integers(1, 30), st.integers(0, 7))
@settings(deadline=None)
def test_all_comes_out_in_its_order(data: bytes, sizes: list[int], room: int, held: int) -> None:
    ring, found = Ring(room, held), bytearray()
    with pipe() as (read_end, write_end):
        for _ in written(data, sizes, write_end):
            while ring.has_room and _is_waiting(read_end):
                ring.read_from(read_end)
            piece = ring.take()
            before = bytes(piece)
            # What is read before it was done with lies elsewhere.
            while ring.has_room and _is_waiting(read_end):
                ring.read_from(read_end)
            assert piece == before
            found += piece
        more = True
        while more or piece:
            ring.done()
            more = ring.read_from(read_end)
            piece = ring.take()
            found += piece
    assert found == data


@given(st.lists(st.sampled_from(ROWS), max_size=9), SIZES, st.integers(len(LINE), 30))
@settings(deadline=None)
def test_marks_are_found_wherever_pieces_end(
    answers: list[bytes], sizes: list[int], room: int
) -> None:
    ring, found, answer = Ring(room, len(LINE)), [], bytearray()
    data = b"".join(rows + LINE for rows in answers) + b"mark"
    with pipe() as (read_end, write_end):
        writing, has_ended = written(data, sizes, write_end), False
        while True:
            taken = ring.take_before(MARK)
            if taken is None and has_ended:
                break
            piece, is_end = taken or (b"", False)
            before = bytes(piece)
            next(writing, None)
            if ring.has_room and _is_waiting(read_end):
                has_ended = not ring.read_from(read_end)
            # What was read before it was done with lies elsewhere.
            assert piece == before
            answer += piece
            if is_end:
                found.append(bytes(answer))
                answer.clear()
    assert found == data.split(LINE)[:-1]
    # The rest is held back: it could be the beginning of a mark.
    rest = b"".join(bytes(ring.take()) for _ in range(2))
    assert answer + rest == data.split(LINE)[-1]


@pytest.mark.parametrize("rows", [*ROWS, b"markmark\nmore", b"markmark\n\n"])
def test_a_mark_that_nothing_follows_is_found_at_the_end(rows: bytes) -> None:
    data = rows + LINE
    for at in range(len(rows) + 1, len(data) + 1):
        ring = Ring(64, len(LINE))
        with pipe() as (read_end, write_end):
            os.write(write_end, data[:at])
            ring.read_from(read_end)
            first = ring.take_before(MARK, nothing_follows=True)
            found = bytes(first[0]) if first else b""
            if not (first and first[1]):
                os.write(write_end, data[at:] or b"\n")
                ring.read_from(read_end)
                last = ring.take_before(MARK, nothing_follows=True)
                assert last
                assert last[1]
                found += last[0]
            os.close(write_end)
        assert found == rows


@given(st.binary(min_size=1, max_size=5), st.integers(1, 30), st.binary(max_size=99), st.data())
def test_a_mark_is_found_wherever_the_look_begins(
    token: bytes, stride: int, rows: bytes, data: st.DataObject
) -> None:
    mark = EndMark(token, stride)
    searched = bytearray(rows + mark.line + data.draw(st.binary(max_size=99)))
    begin = data.draw(st.integers(0, len(rows)))
    end = data.draw(st.integers(begin, len(searched)))

    assert mark.find(searched, begin, end) == searched.find(mark.line, begin, end)


def test_no_two_marks_are_alike_and_each_is_one_line() -> None:
    lines = {EndMark.random().line for _ in range(9)}

    assert len(lines) == 9
    assert {(len(line), line.count(b"\n"), line[-1:]) for line in lines} == {(LINE_BYTES, 1, b"\n")}


def test_the_same_place_is_used_again() -> None:
    """Where nothing else is kept: it is in the processor's cache, and the next would not be."""
    ring, pieces = Ring(1 << 16, len(LINE)), []
    with pipe() as (read_end, write_end):
        for byte in (b"a", b"b", b"c"):
            os.write(write_end, byte * 1000)
            ring.done()
            ring.read_from(read_end)
            taken = ring.take_before(MARK)
            assert taken
            pieces.append(taken[0])
        os.close(write_end)

    assert bytes(pieces[2][-900:]) == b"c" * 900
    assert pieces[1] == pieces[2]


def test_other_pipes_are_read_ahead_as_far_as_is_said() -> None:
    pipes = Pipes()
    with (
        pipe() as (first, write_first),
        pipe() as (second, write_second),
        open(first, "rb", closefd=False) as one,
        open(second, "rb", closefd=False) as other,
    ):
        outlet = pipes.add(one, keep_bytes=100)
        ahead = pipes.add(other, keep_bytes=100, mark_bytes=len(LINE))
        os.write(write_first, b"a")
        os.write(write_second, b"b" * 150)

        assert bytes(pipes.take(outlet)) == b"a"
        assert len(os.read(second, 1000)) == 50
        os.close(write_first)
        os.close(write_second)
        assert bytes(pipes.take(outlet)) == b""
        assert bytes(pipes.take(ahead)) == b"b" * 100
        assert pipes.take_before(ahead, MARK) is None
        assert bytes(pipes.take(ahead)) == b""


def _is_waiting(read_end: int) -> bool:
    return bool(select.select([read_end], [], [], 0)[0])
