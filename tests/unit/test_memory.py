"""Pieces of memory go back to the kernel when they are freed, if they are as large as was said."""

import subprocess
import sys

import pytest

from backups.streams import CHUNK_BYTES
from casedb.s3_streams import PART_BYTES

PIECES = 4
PROGRAM = """
import re, sys
from casedb.memory import give_back_from

def private_kb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])

size, count, *limits = map(int, sys.argv[1:])
for limit in limits:
    give_back_from(limit)
first = b"x" * size
del first
before = private_kb()
pieces, between = [], []
for _ in range(count):
    pieces.append(b"x" * size)
    between.append(b"x" * 100_000)
pieces.clear()
print((private_kb() - before) * 1024 / size)
"""


def kept(size_bytes: int, *limits: int) -> float:
    """Return how many pieces, of four, a process still has the memory of that it has done with."""
    argv = [sys.executable, "-c", PROGRAM, *map(str, (size_bytes, PIECES, *limits))]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("size", [CHUNK_BYTES, PART_BYTES])
def test_it_is_given_back(size: int) -> None:
    # What lies between the pieces stays: a tenth of the smaller ones each.
    assert kept(size, size // 2) < 1


@pytest.mark.parametrize("size", [CHUNK_BYTES, PART_BYTES])
def test_the_c_library_would_keep_it(size: int) -> None:
    # Where this fails, give_back_from is not needed any more.
    assert kept(size) > 2


@pytest.mark.parametrize(
    "limits", [(CHUNK_BYTES // 2, PART_BYTES // 2), (PART_BYTES // 2, CHUNK_BYTES // 2)]
)
def test_of_several_limits_the_least_counts(limits: tuple[int, int]) -> None:
    assert kept(CHUNK_BYTES, PART_BYTES // 2) > 2
    assert kept(CHUNK_BYTES, *limits) < 1
