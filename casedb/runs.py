"""What one run of a verb did: a line of the log, and what on_success and on_failure are told.

Nothing here is secret: messages are redacted.
"""

import errno
import json
import os
import signal
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, ConfigDict, TypeAdapter, ValidationError

from casedb.ages import Seconds
from casedb.conninfo import redact
from casedb.errors import ToolFailedError
from casedb.ownership import create_for_folder_owner

# Not CASEDB_: a hook that calls casedb would be told of unknown settings.
_PREFIX = "RUN_"
# Thousands of runs; a log of years is not read to its beginning.
_READ_BYTES = 1 << 20
_TAKE_LINES = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFCHR)


@dataclass(frozen=True)
class Run:
    """One run that has ended."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    command: str
    """The verb: dump, verify, drill, rotate, expire, restore, undo-restore or drop-kept."""
    database: str
    label: str | None
    """Of the backup it was about; None if it did not come to that."""
    outcome: Literal["success", "failure"]
    exit_code: int
    started_at: AwareDatetime
    """UTC."""
    seconds: Seconds
    bytes: int | None
    """What was written or read; None if nobody knows."""
    store: tuple[str, ...]
    """Where, without secrets."""
    message: str | None
    """What went wrong, in one sentence."""
    invocation: str | None = None
    """systemd's number for it, if it ran as a unit: `journalctl _SYSTEMD_INVOCATION_ID=...`."""

    @property
    def ended_at(self) -> datetime:
        """When it ended."""
        return self.started_at + timedelta(seconds=self.seconds)

    def to_json(self) -> str:
        """Return one line of JSON; the time in ISO 8601."""
        found = asdict(self)
        found["started_at"] = self.started_at.isoformat(timespec="seconds")
        found["seconds"] = round(self.seconds, 3)
        found["message"] = redact(self.message) if self.message else None
        return json.dumps(found, ensure_ascii=False)

    def environment(self) -> dict[str, str]:
        """Return the same for a shell: RUN_COMMAND, RUN_LABEL and so on; unknown ones are empty."""
        found = json.loads(self.to_json())
        found["store"] = " ".join(self.store)
        return {
            _PREFIX + name.upper(): "" if value is None else str(value)
            for name, value in found.items()
        }


_RUN = TypeAdapter(Run)


def append_line(path: Path, run: Run) -> None:
    """Add the run to the log, in one write, so that two runs at once do not mix their lines.

    Nothing is waited for: what the run has to do is done.

    Raises:
        ToolFailedError: if it cannot be written.
    """
    try:
        descriptor = _open_log(path)
        try:
            # Two runs that find the same half line leave an empty one, which harms nobody.
            start = b"" if _ends_whole(path, descriptor) else b"\n"
            # What is no UTF-8 in a path cannot be in JSON: a "?" stands for it.
            line = run.to_json().encode(errors="replace")
            _write_whole(descriptor, start + line + b"\n")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ToolFailedError(
            "the log cannot be written", detail=f"{path}: {error.strerror}."
        ) from error


def read_runs(path: Path) -> list[Run]:
    """Return the runs in the newer part of the log, oldest first; none where there is no log.

    Lines that somebody else wrote, or an older casedb, are left out.

    Raises:
        ToolFailedError: if it cannot be read.
    """
    try:
        # A device or a pipe keeps no lines, and may have no end.
        if not path.is_file():
            return []
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - _READ_BYTES, 0))
            lines = file.read(_READ_BYTES).splitlines()
    except OSError as error:
        raise ToolFailedError(
            "the log cannot be read", detail=f"{path}: {error.strerror}."
        ) from error
    return [run for line in lines if (run := _run_of(line))]


def last_runs(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Return the last of `runs` for each command and database."""
    return tuple({(run.command, run.database): run for run in runs}.values())


def failure_of_unit(result: str, code: str, status: str) -> tuple[int, str]:
    """Return exit code and message of a run that systemd saw fail.

    From its $MONITOR_SERVICE_RESULT, _EXIT_CODE and _EXIT_STATUS: see systemd.exec(5).

    >>> failure_of_unit("oom-kill", "killed", "KILL")
    (137, 'the machine was out of memory; ended by SIGKILL')
    >>> failure_of_unit("exit-code", "exited", "3")
    (3, 'exit code 3')
    """
    why = {"oom-kill": "the machine was out of memory", "timeout": "it took too long"}.get(result)
    if code in ("killed", "dumped"):
        name = f"SIG{status}"
        # As shells count; 1 where it is a signal that this machine does not know.
        number = 128 + signal.Signals[name] if name in signal.Signals.__members__ else 1
        how = f"ended by {name}"
    else:
        number = int(status) if status.isdigit() and status != "0" else 1
        how = f"exit code {status}" if code == "exited" else f"systemd says: {result or 'failed'}"
    return number, f"{why}; {how}" if why else how


def _open_log(path: Path) -> int:
    # A disk knows no end to add to: it would be written over from its beginning.
    with suppress(FileNotFoundError):
        if stat.S_IFMT(path.stat().st_mode) not in _TAKE_LINES:
            raise OSError(errno.EINVAL, "it is no file, pipe or character device")
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        with suppress(FileExistsError):
            return create_for_folder_owner(path, flags, 0o640)
        # Another run was quicker.
        return os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO and path.is_fifo():
            raise OSError(errno.ENXIO, "it is a pipe that nobody reads") from error
        raise


def _ends_whole(path: Path, descriptor: int) -> bool:
    """Whether the log's last line has ended: a crash or a full disk may have left half of one."""
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or not about.st_size:
        return True
    try:
        # `descriptor` is for writing, and the log need not be readable for us.
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.pread(reader, 1, about.st_size - 1) == b"\n"
    finally:
        os.close(reader)


def _write_whole(descriptor: int, line: bytes) -> None:
    """Write all of `line` or, on a disk that fills, nothing: half a line tells nobody anything."""
    written = os.write(descriptor, line)
    if written == len(line):
        return
    with suppress(OSError):
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        # Unless another run's line is behind it already.
        if os.fstat(descriptor).st_size == end:
            os.ftruncate(descriptor, end - written)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _run_of(line: bytes) -> Run | None:
    try:
        return _RUN.validate_json(line)
    except ValidationError:
        return None
