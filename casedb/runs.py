"""What one run of a verb did: a line of the log, and what on_success and on_failure are told.

Nothing here is secret: messages are redacted, and a command of on_success gets none of our
settings, passwords or keys in its environment.
"""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from casedb.conninfo import redact
from casedb.errors import ToolFailedError

HOOK_TIMEOUT_S = 60.0
"""How long a command of on_success or on_failure may take."""
_KEPT = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")
# Not CASEDB_: a hook that calls casedb would be told of unknown settings.
_PREFIX = "RUN_"
_LINES_SHOWN = 3


@dataclass(frozen=True)
class Run:
    """One run that has ended."""

    command: str
    """The verb: dump, verify, drill or rotate."""
    database: str
    label: str | None
    """Of the backup it was about; None if it did not come to that."""
    outcome: Literal["success", "failure"]
    exit_code: int
    started_at: datetime
    """Aware, UTC."""
    seconds: float
    bytes: int | None
    """What was written or read; None if nobody knows."""
    store: tuple[str, ...]
    """Where, without secrets."""
    message: str | None
    """What went wrong, in one sentence."""

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


def append_line(path: Path, run: Run) -> None:
    """Add the run to the log, in one write, so that two runs at once do not mix their lines.

    Raises:
        ToolFailedError: if it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, run.to_json().encode() + b"\n")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ToolFailedError(
            "the log cannot be written", detail=f"{path}: {error.strerror}."
        ) from error


def call_hook(
    command: str,
    run: Run,
    *,
    inherited: Mapping[str, str],
    timeout_s: float = HOOK_TIMEOUT_S,
) -> None:
    """Run a command with the run's facts: JSON on standard input, RUN_* in the environment.

    `command` is split as a shell would, and no shell runs it. Of `inherited`, an environment, it
    gets what any program needs and nothing else. Whatever it has started is ended with it.

    Raises:
        ToolFailedError: it could not be started, failed, or took longer than `timeout_s`.
    """
    argv = _split(command)
    kept = {name: value for name, value in inherited.items() if name in _KEPT}
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**kept, **run.environment()},
            start_new_session=True,
        )
    except OSError as error:
        raise ToolFailedError(
            f"{argv[0]} cannot be run", detail=f"{error.strerror or error}."
        ) from error
    try:
        printed, _ = process.communicate(run.to_json().encode() + b"\n", timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ToolFailedError(f"{argv[0]} did not end within {timeout_s:g} s") from None
    finally:
        # Also what it left running: it would hold the pipe, or live on unseen.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                with suppress(OSError):
                    stream.close()
    if process.returncode:
        lines = redact(printed.decode(errors="replace")).strip().splitlines()[-_LINES_SHOWN:]
        raise ToolFailedError(
            f"{argv[0]} failed with exit code {process.returncode}", detail="\n".join(lines) or None
        )


def _split(command: str) -> Sequence[str]:
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise ToolFailedError(
            f"the command {command!r} cannot be run", detail=f"{error}."
        ) from None
    if not argv:
        raise ToolFailedError("an empty command cannot be run")
    return argv
