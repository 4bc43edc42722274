"""What a test does while a restore in its own process is at work."""

from typing import Any

from backups.progress import Progress
from casedb.errors import TerminatedError


def at(phase: str, action: Any) -> Any:
    """Return an on_progress that does `action` once, when `phase` begins."""
    done: list[bool] = []

    def tell(progress: Progress) -> None:
        if progress.phase == phase and not done:
            done.append(True)
            action()

    return tell


def interrupt() -> None:
    """Do what a signal to end does."""
    raise TerminatedError
