"""What is compressed comes back, in however many frames, and what was cut or added to does not."""

import io
import os
import random

import pytest

from backups.streams import (
    Compressed,
    Piece,
    ZstdError,
    compress,
    compressed,
    decompressed,
    options,
)
from tests.backups.frames import frames


class Stretches:
    """A source whose pieces are to be accelerated or not."""

    def __init__(self, *pieces: tuple[bytes, bool]) -> None:
        self._pieces = iter(pieces)
        self.accelerated = False

    def read(self, _size: int = -1) -> Piece:
        piece, self.accelerated = next(self._pieces, (b"", self.accelerated))
        return piece

    def is_accelerated(self) -> bool:
        return self.accelerated


def text(count: int) -> bytes:
    chance = random.Random(7)
    return b"".join(b"%032x\n" % chance.choice([1, chance.getrandbits(128)]) for _ in range(count))


PIECES = [
    (b"the beginning", False),
    (os.urandom(3 << 20), True),
    (b"more of it", True),
    (text(90_000), False),
    (os.urandom(100), True),
]


def contents(data: bytes) -> list[bytes]:
    return [frame.content for frame in frames(data)]


def written(*pieces: tuple[bytes, bool], level: int | None = None) -> bytes:
    source, sink = Stretches(*pieces), io.BytesIO()
    facts = compress(source, sink, level, source.is_accelerated)
    assert facts.size_bytes == len(sink.getvalue())
    assert facts.raw_size_bytes == sum(len(piece) for piece, _ in pieces)
    return sink.getvalue()


def test_each_stretch_that_is_accelerated_or_not_is_a_frame() -> None:
    pieces = [piece for piece, _ in PIECES]

    found = written(*PIECES)

    assert contents(found) == [pieces[0], pieces[1] + pieces[2], pieces[3], pieces[4]]
    assert b"".join(decompressed(io.BytesIO(found))) == b"".join(pieces)


def test_at_a_level_that_is_asked_for_there_is_one_frame() -> None:
    assert contents(written(*PIECES, level=9)) == [b"".join(piece for piece, _ in PIECES)]


def test_acceleration_is_not_for_text() -> None:
    data = text(20_000)

    assert len(compressed(data, accelerated=True)) > len(compressed(data)) * 1.2
    assert len(written((data, True))) > len(written((data, False))) * 1.2


def test_nothing_at_all_is_a_frame_as_well() -> None:
    assert contents(written()) == [b""]
    assert list(decompressed(io.BytesIO(written()))) == []


@pytest.mark.parametrize("reads", [1, 17, 1 << 20])
def test_frames_may_end_anywhere_in_what_is_read(reads: int) -> None:
    class Slow(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            return super().read(reads)

    stretches = [(b"one", False), (b"two" * 999, True), (b"three", False)]

    assert b"".join(decompressed(Slow(written(*stretches)))) == b"".join(p for p, _ in stretches)


def test_what_is_cut_within_a_frame_is_found_and_what_follows_the_last_too() -> None:
    whole = written(*PIECES)
    first = frames(whole)[0].end

    for cut in (0, 1, first - 1, first + 1, first + 1000, len(whole) - 1):
        with pytest.raises(EOFError):
            list(decompressed(io.BytesIO(whole[:cut])))
    with pytest.raises(ZstdError):
        list(decompressed(io.BytesIO(whole + b"and more")))


def test_a_flipped_bit_in_any_frame_is_found() -> None:
    whole = written(*PIECES)

    for _, end in frames(whole):
        # The last four bytes of a frame are its checksum.
        spoiled = bytearray(whole)
        spoiled[end - 2] ^= 1
        with pytest.raises(ZstdError):
            list(decompressed(io.BytesIO(spoiled)))


def test_the_source_is_asked_about_the_piece_that_it_has_just_given() -> None:
    source = Stretches((b"a", True))
    reader = Compressed(source, None, source.is_accelerated)

    assert contents(b"".join(iter(reader.read, b""))) == [b"", b"a"]


def test_only_a_level_that_is_told_takes_memory_for_all_of_many_processors() -> None:
    assert options(workers=64) == options(workers=8) != options(workers=2)
    assert options(19, workers=64) != options(19, workers=8)
