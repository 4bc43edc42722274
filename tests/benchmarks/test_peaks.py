"""What is counted as a command's memory."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.peaks import Peaks, peaks_of
from casedb.errors import ToolFailedError

MB = 1 << 20


def peaks(place: Path, program: str, *arguments: str) -> Peaks:
    argv = [sys.executable, "-I", "-S", "-c", program, *arguments]
    return peaks_of(argv, env=os.environ, cwd=place)


def test_memory_that_was_given_back_counts(tmp_path: Path) -> None:
    found = peaks(tmp_path, f"import time; x = b'x' * {100 * MB}; del x; time.sleep(0.2)")

    assert 100 < found.programs < 150
    assert found.servers == 0


def test_the_largest_program_counts_and_not_their_sum(tmp_path: Path) -> None:
    child = f"import time; x = b'x' * {60 * MB}; time.sleep(0.3)"
    parent = (
        "import subprocess, sys; run = [sys.executable, '-I', '-S', '-c', sys.argv[1]];"
        "a, b = subprocess.Popen(run), subprocess.Popen(run); a.wait(); b.wait()"
    )

    assert 60 < peaks(tmp_path, parent, child).programs < 100


def test_of_a_server_only_private_memory_counts(tmp_path: Path) -> None:
    server = tmp_path / "postgres"
    server.symlink_to(os.path.realpath(sys.executable))
    work = (
        f"import mmap, time; own = b'x' * {50 * MB}; shared = mmap.mmap(-1, {200 * MB})\n"
        f"for _ in range(200): shared.write(own[:{MB}])\n"
        "time.sleep(0.3)"
    )
    parent = "import subprocess, sys; subprocess.check_call(sys.argv[1:])"

    found = peaks(tmp_path, parent, str(server), "-I", "-S", "-c", work)

    assert 50 < found.servers < 100
    assert found.programs < 50


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ToolFailedError) as caught:
        peaks(tmp_path, "raise SystemExit('no room')")

    assert "no room" in (caught.value.detail or "")
