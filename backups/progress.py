"""How long work tells its caller where it stands, without knowing who shows it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One step of some work. Always reported from the thread that called the function."""

    phase: str
    """What is being done, in words for people, such as "reading the tables"."""
    done: int = 0
    total: int | None = None
    """How much there is to do in the same unit as `done`; None if nobody knows."""
    unit: str = ""


OnProgress = Callable[[Progress], None]


def unseen(_: Progress) -> None:
    """Show progress to nobody."""
