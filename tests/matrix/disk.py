"""A file system that is small enough to be filled."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A file system of its own that can be filled."""

    path: Path

    def fill(self) -> int:
        """Leave no room at all; return how much was free.

        What the program under test writes meanwhile fails already, and when it then clears away
        what it had written, there is room again: so it is the disk that says when it was full.
        """
        free = shutil.disk_usage(self.path).free
        with (
            (self.path / "filler").open("wb", buffering=0) as file,
            pytest.raises(OSError, match=os.strerror(errno.ENOSPC)),
        ):
            _write_on(file)
        return free

    def make_room(self) -> None:
        (self.path / "filler").unlink()

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)


def _write_on(file: IO[bytes]) -> NoReturn:
    while True:
        file.write(b"\0" * 4096)


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    if os.getuid():
        pytest.skip("only root can mount a small file system")
    path.mkdir()
    options = f"size={megabytes}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "faults", str(path)], check=True)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
