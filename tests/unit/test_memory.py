"""Pieces of memory go back to the kernel when they are freed, if they are as large as was said."""

import subprocess
import sys

import pytest

MB = 1 << 20
PROGRAM = """
import re, sys
from casedb.memory import give_back_from

def private_bytes():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

for limit in map(int, sys.argv[1:]):
    give_back_from(limit)
first = b"x" * (8 << 20)
del first
before = private_bytes()
pieces, between = [], []
for _ in range(16):
    pieces.append(b"x" * (1 << 20))
    between.append(b"x" * 100_000)
pieces.clear()
print(private_bytes() - before)
"""


def kept(*limits: int) -> int:
    """Return how many bytes a process keeps of 16 MB that it has done with."""
    argv = [sys.executable, "-c", PROGRAM, *map(str, limits)]
    return int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("limits", [(MB // 2,), (MB // 2, 4 * MB), (4 * MB, MB // 2)])
def test_of_several_limits_the_least_counts(limits: tuple[int, ...]) -> None:
    assert kept(*limits) < 4 * MB


def test_the_c_library_would_keep_them() -> None:
    assert kept() > 12 * MB
    assert kept(4 * MB) > 12 * MB
