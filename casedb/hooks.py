"""The commands of on_success and on_failure: what they are told, and how long they may take.

Nothing they get is secret: none of our settings, passwords or keys is in their environment.
"""

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from casedb.conninfo import redact
from casedb.errors import ToolFailedError
from casedb.runs import Run

HOOK_TIMEOUT_S = 60.0
"""How long a command of on_success or on_failure may take."""
_INHERITED = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")
_LINES_SHOWN = 3
_KEPT_BYTES = 8192
# More than any pipe holds: one read finds all that lies in it.
_READ_BYTES = 1 << 20
_LOOK_EVERY_S = 0.05


def call_hook(
    command: str,
    run: Run,
    *,
    inherited: Mapping[str, str],
    timeout_s: float = HOOK_TIMEOUT_S,
) -> None:
    """Run a command with the run's facts: JSON on standard input, RUN_* in the environment.

    `command` is split as a shell would, and no shell runs it. Of `inherited`, an environment, it
    gets what any program needs and nothing else. What it has started is ended with it, but for
    what has made a session of its own: that lives on, and is not waited for.

    Raises:
        ToolFailedError: it could not be started, failed, or took longer than `timeout_s`.
    """
    argv = _split(command)
    kept = {name: value for name, value in inherited.items() if name in _INHERITED}
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
        printed = _attend(process, run.to_json().encode() + b"\n", timeout_s)
    except TimeoutError:
        raise ToolFailedError(f"{argv[0]} did not end within {timeout_s:g} s") from None
    finally:
        # Also what it left running: it would live on unseen.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                with suppress(OSError):
                    stream.close()
    if process.returncode:
        raise ToolFailedError(
            f"{argv[0]} failed with exit code {process.returncode}", detail=_last_lines(printed)
        )


def _attend(process: subprocess.Popen[bytes], told: bytes, timeout_s: float) -> bytes:
    """Give the process what it is `told`, and return the end of what it printed.

    Until it has ended itself: a pipe stays open for as long as anybody holds it. All is read, or it
    would wait for us; little is kept, because nobody knows how much it is.

    Raises:
        TimeoutError: it has not ended in time.
    """
    assert process.stdin
    assert process.stdout
    printed = b""
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as pipes:
        pipes.register(process.stdin, selectors.EVENT_WRITE)
        pipes.register(process.stdout, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)
        while True:
            # Asked before the pipe is read: then nothing comes after what lies in it.
            has_ended = process.poll() is not None
            for key, _ in pipes.select(0 if has_ended else _LOOK_EVERY_S):
                if key.fileobj is process.stdin:
                    told = _rest(key.fd, told)
                    if not told:
                        pipes.unregister(process.stdin)
                        process.stdin.close()
                    continue
                piece = os.read(key.fd, _READ_BYTES)
                # One byte more tells that there was more.
                printed = (printed + piece)[-_KEPT_BYTES - 1 :]
                if not piece:
                    pipes.unregister(process.stdout)
            if has_ended:
                return printed
            if time.monotonic() > deadline:
                raise TimeoutError


def _rest(pipe: int, told: bytes) -> bytes:
    try:
        return told[os.write(pipe, told) :]
    except BrokenPipeError:
        # It does not want to know.
        return b""


def _last_lines(printed: bytes) -> str | None:
    if len(printed) > _KEPT_BYTES:
        # The first line is cut, and a secret may have lost the word that it is known by.
        _, _, printed = printed.partition(b"\n")
    lines = redact(printed.decode(errors="replace")).strip().splitlines()
    return "\n".join(lines[-_LINES_SHOWN:]) or None


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
