"""Huge pages are reserved for a tuned server, given back, and no reason to fail."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import hugepages

TUNED = {"huge_pages": "try", "shared_buffers": "4GB", "max_connections": "100"}


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the kernel's file: the real one would take memory from the tests beside it."""
    file = tmp_path / "nr_hugepages"
    file.write_text("7\n")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16000000 kB\nHugepagesize:       2048 kB\n")
    monkeypatch.setattr(hugepages, "_RESERVED", file)
    monkeypatch.setattr(hugepages, "_MEMINFO", meminfo)
    return file


def test_they_are_there_for_the_block_beside_those_of_others(kernel: Path) -> None:
    with hugepages.reserved(TUNED) as why_not:
        assert why_not is None
        assert int(kernel.read_text()) > 7 + 2048

    assert int(kernel.read_text()) == 7


def test_they_are_given_back_when_the_block_fails(kernel: Path) -> None:
    with pytest.raises(RuntimeError), hugepages.reserved(TUNED):
        raise RuntimeError

    assert int(kernel.read_text()) == 7


def test_settings_that_do_not_ask_get_none(kernel: Path) -> None:
    with hugepages.reserved({"shared_buffers": "4GB"}) as why_not:
        assert why_not is None
        assert int(kernel.read_text()) == 7


def test_where_there_is_no_such_file_the_reason_is_told(kernel: Path) -> None:
    kernel.unlink()

    with hugepages.reserved(TUNED) as why_not:
        assert why_not
        assert "No such file" in why_not
    assert not kernel.exists()


def test_a_kernel_without_room_for_all_of_them_is_told_and_still_gets_them_back(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crowded(type(kernel)):  # type: ignore[misc]
        """A kernel that finds ten more pages than it had, whatever is asked for."""

        def write_text(self, data: str, *_words: object, **_more: object) -> int:
            return int(super().write_text(str(min(int(data), 17))))

    monkeypatch.setattr(hugepages, "_RESERVED", Crowded(kernel))
    with hugepages.reserved(TUNED) as why_not:
        assert why_not
        assert why_not.startswith("the kernel found room for 10 of ")
        assert int(kernel.read_text()) == 17

    assert int(kernel.read_text()) == 7


KILLED = """
import os, pathlib, signal, sys
from benchmarks import hugepages
hugepages._RESERVED, hugepages._MEMINFO = map(pathlib.Path, sys.argv[1:3])
with hugepages.reserved({"huge_pages": "on", "shared_buffers": "4GB"}):
    assert int(hugepages._RESERVED.read_text()) > 7
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_they_are_given_back_when_the_bench_is_killed(kernel: Path) -> None:
    argv = [sys.executable, "-c", KILLED, str(kernel), str(kernel.with_name("meminfo"))]
    found = subprocess.run(argv, check=False)
    assert found.returncode == -signal.SIGKILL

    deadline = time.monotonic() + 10
    while int(kernel.read_text() or 0) != 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert int(kernel.read_text()) == 7
