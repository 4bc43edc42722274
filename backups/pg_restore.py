"""The one place that runs pg_restore: what it reads, what it prints, and how it ended."""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import IO

from casedb import tools as programs
from casedb.conninfo import Conninfo

_TOLD_EVERY_S = 0.25


def run(
    argv: Sequence[str],
    *,
    target: Conninfo | None = None,
    chunks: Iterable[bytes] | None = None,
    to_the_end: bool = True,
    descriptor: int | None = None,
    out: IO[bytes] | None = None,
    tell: Callable[[], None] = lambda: None,
) -> None:
    """Run pg_restore, which reads `chunks` or inherits `descriptor`.

    `chunks` are taken to their end, also what it does not ask for, unless `to_the_end` is False.
    What it prints comes into `out`, or else among its errors. `tell` is called every now and then.

    Raises:
        ToolFailedError: it failed.
        ToolStoppedError: it cannot be run, or was killed.
    """
    with (
        tempfile.TemporaryFile() as err,
        programs.start(
            argv,
            target=target,
            stdin=DEVNULL if chunks is None else PIPE,
            stdout=out or err,
            stderr=err,
            pass_fds=() if descriptor is None else (descriptor,),
        ) as process,
    ):
        if chunks is not None:
            _feed(_telling(chunks, tell), process, to_the_end=to_the_end)
        returncode = _waited(process, tell)
        err.seek(0)
        programs.check(argv, returncode, err.read().decode(errors="replace"))


def _waited(process: "Popen[bytes]", tell: Callable[[], None]) -> int:
    while True:
        try:
            return process.wait(timeout=_TOLD_EVERY_S)
        except TimeoutExpired:
            tell()


def _telling(chunks: Iterable[bytes], tell: Callable[[], None]) -> Iterator[bytes]:
    last = time.monotonic()
    for chunk in chunks:
        yield chunk
        if time.monotonic() - last >= _TOLD_EVERY_S:
            tell()
            last = time.monotonic()


def _feed(chunks: Iterable[bytes], process: "Popen[bytes]", *, to_the_end: bool) -> None:
    sink = process.stdin
    assert sink is not None
    for chunk in chunks:
        if sink is None and not to_the_end:
            break
        if sink is not None:
            try:
                sink.write(chunk)
            except BrokenPipeError:
                # It needs no more, or failed; its exit code tells. The rest is only read.
                sink = None
    if sink is not None:
        with suppress(BrokenPipeError):
            sink.close()
