"""The standard streams as verbs find them: open, and no cause of an exit code of their own."""

import errno
import io
import os
import sys
from typing import Any

has_document = False
"""Whether this run has printed its one JSON document."""
_OPEN = (0, 1, 2)
# A closed pipe; a terminal that is gone.
_NOBODY_READS = (errno.EPIPE, errno.EIO)


def settle() -> None:
    """Open what the caller closed (`>&-`), and let no failed write be more than a lost word.

    What is closed becomes /dev/null: the next file that is opened would get its number, and be
    written to. Has to be called before anything is opened or printed.
    """
    for number in _OPEN:
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115  for as long as the process lives
    sys.stdout = _text(_Results(1, "wb", closefd=False), sys.stdout)
    sys.stderr = _text(_Remarks(2, "wb", closefd=False), sys.stderr, errors="backslashreplace")


def _text(raw: io.RawIOBase, like: Any, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=like.encoding if like else None,
        errors=like.errors if like else errors,
        line_buffering=like.line_buffering if like else False,
    )


class _Remarks(io.FileIO):
    """Standard error: what cannot be said there is not said, and changes nothing of the work."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # What is still buffered would fail again when Python ends, and change the exit code.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            self._lost(error)
        return len(data)

    def _lost(self, error: OSError) -> None:
        pass


class _Results(_Remarks):
    """Standard output: a verb whose result cannot be written stops, as when nobody reads it."""

    def _lost(self, error: OSError) -> None:
        if error.errno not in _NOBODY_READS:
            print(f"standard output cannot be written: {error.strerror}", file=sys.stderr)
        raise BrokenPipeError(errno.EPIPE, "nobody reads what is printed") from error
