"""The most memory that the processes of a command take: its programs, and servers that it runs."""

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from casedb.errors import ToolFailedError

_EVERY_S = 0.02
_SERVER = "postgres"


@dataclass(frozen=True)
class Peaks:
    """In MB, of the process that had most."""

    programs: float
    """All that was in memory at its most (VmHWM): of the command, or of a program that it ran."""
    servers: float
    """Private memory (RssAnon) of a process of a PostgreSQL server that it ran; 0 without one.

    What is shared (shared_buffers) would be counted for each process that has touched it.
    """


def peaks_of(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> Peaks:
    """Run a command to its end, look at it and all below it many times a second.

    Raises:
        ToolFailedError: it failed.
    """
    programs = servers = 0
    with tempfile.TemporaryFile() as errors:
        running = subprocess.Popen(
            argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=errors,
        )  # fmt: skip
        while running.poll() is None:
            for pid in _family(running.pid):
                name, highest_kb, private_kb = _memory(pid)
                if name == _SERVER:
                    servers = max(servers, private_kb)
                else:
                    programs = max(programs, highest_kb)
            time.sleep(_EVERY_S)
        if running.returncode:
            errors.seek(0)
            raise ToolFailedError(
                f"{' '.join(argv[-6:])} failed (exit code {running.returncode})",
                detail=errors.read().decode(errors="replace").strip()[-800:] or None,
            )
    return Peaks(programs / 1024, servers / 1024)


def _family(pid: int) -> list[int]:
    with suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def _memory(pid: int) -> tuple[str, int, int]:
    """Return the name of a process, the most memory it had and its private memory now, in kB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return "", 0, 0
    found = dict(line.split(":", 1) for line in lines)
    # A process that has ended and was not waited for yet has no memory.
    highest, private = (int(found.get(what, "0").split()[0]) for what in ("VmHWM", "RssAnon"))
    return found["Name"].strip(), highest, private
