"""Every failure a user can meet: one message, detail, hint and lasting exit code.

    CasedbError                 1  unexpected
    +-- UsageError              2  the command line asks for something that makes no sense
    +-- ConfigurationError      3  a setting or a file of ours is wrong or missing
    +-- ServerUnreachableError  4  no server answered, or it refused us
    +-- ToolFailedError         5  PostgreSQL or one of its programs reported an error
    +-- BackupDamagedError      6  a backup is not what its manifest says
    +-- RefusedError            7  refused for safety: it would destroy or expose something
    +-- LockedError             8  another run holds the lock
    +-- DifferenceError         9  drift or another difference was found
    +-- UnverifiedError        10  could not be verified (which is not the same as damaged)

A code never changes its meaning once released; tests/unit/test_errors.py holds the table still.
"""

from collections.abc import Sequence
from enum import IntEnum

_FEW = 20


class ExitCode(IntEnum):
    """What the process returns. 0 means done and checked."""

    WELL = 0
    UNEXPECTED = 1
    USAGE = 2
    CONFIGURATION = 3
    UNREACHABLE = 4
    TOOL_FAILED = 5
    DAMAGED = 6
    REFUSED = 7
    LOCKED = 8
    DIFFERENT = 9
    UNVERIFIED = 10
    # 128 + the signal's number, as shells count.
    INTERRUPTED = 130
    UNREAD = 141
    TERMINATED = 143


class CasedbError(Exception):
    """A failure: message (the fact), detail (the circumstances), hint (the way out)."""

    exit_code: ExitCode = ExitCode.UNEXPECTED

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        """Return the three lines as they are shown, with PostgreSQL's own headings."""
        lines = [f"ERROR:  {self.message}"]
        if self.detail:
            lines.append(f"DETAIL:  {self.detail}")
        if self.hint:
            lines.append(f"HINT:  {self.hint}")
        return "\n".join(lines)


class UsageError(CasedbError):
    """The command line asks for something that makes no sense."""

    exit_code = ExitCode.USAGE


class ConfigurationError(CasedbError):
    """A setting, a file of ours or a program we need is wrong or missing."""

    exit_code = ExitCode.CONFIGURATION


class ServerUnreachableError(CasedbError):
    """No server answered, or it refused the connection."""

    exit_code = ExitCode.UNREACHABLE


class ToolFailedError(CasedbError):
    """PostgreSQL or one of its programs reported an error."""

    exit_code = ExitCode.TOOL_FAILED


class BackupDamagedError(CasedbError):
    """A backup is not what its manifest says."""

    exit_code = ExitCode.DAMAGED


class RefusedError(CasedbError):
    """Refused for safety: what was asked would destroy or expose something."""

    exit_code = ExitCode.REFUSED


class LockedError(CasedbError):
    """Another run holds the lock."""

    exit_code = ExitCode.LOCKED


class DifferenceError(CasedbError):
    """Two things that should be equal are not."""

    exit_code = ExitCode.DIFFERENT


class UnverifiedError(CasedbError):
    """Something could not be verified, which is not the same as being damaged."""

    exit_code = ExitCode.UNVERIFIED


class TerminatedError(KeyboardInterrupt):
    """SIGTERM arrived. A KeyboardInterrupt, so that no `except Exception` swallows it."""


def first_few(lines: Sequence[str], at_most: int = _FEW, *, of: str = "") -> list[str]:
    """Return the first lines, and in one more how many there are besides: for a detail.

    >>> first_few(["a", "b", "c"], 2, of=" tables")
    ['a', 'b', 'and 1 more tables']
    """
    more = len(lines) - at_most
    return [*lines[:at_most], *([f"and {more} more{of}"] if more > 0 else [])]
