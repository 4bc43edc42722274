"""What parts on their way to and from a bucket leave behind."""

import subprocess
import sys

PROGRAM = """
import re, sys
from casedb.s3_streams import PART_BYTES, STREAMS, give_parts_back

def private_kb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])

if sys.argv[1] == "given back":
    give_parts_back()
first = b"x" * PART_BYTES
del first
before = private_kb()
parts, between = [], []
for _ in range(STREAMS):
    parts.append(b"x" * PART_BYTES)
    between.append(b"x" * 100_000)
parts.clear()
print((private_kb() - before) * 1024 / PART_BYTES)
"""


def parts_kept(how: str) -> float:
    """Return how many parts a process still has the memory of that it has done with."""
    argv = [sys.executable, "-c", PROGRAM, how]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def test_the_memory_of_a_part_is_given_back() -> None:
    assert parts_kept("given back") < 0.5


def test_the_c_library_would_keep_it() -> None:
    # Where this fails, give_parts_back is not needed any more.
    assert parts_kept("kept") > 2
