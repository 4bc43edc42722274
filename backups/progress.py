"""How long work tells its caller where it stands, without knowing who shows it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


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
TOLD_EVERY_S = 0.25


def unseen(_: Progress) -> None:
    """Show progress to nobody."""


def seldom(on_progress: OnProgress) -> OnProgress:
    """Return how to tell `on_progress` of one phase a few times a second at most."""
    phase, told_at = None, 0.0

    def tell(step: Progress) -> None:
        nonlocal phase, told_at
        now = time.monotonic()
        if step.phase != phase or now - told_at >= TOLD_EVERY_S:
            phase, told_at = step.phase, now
            on_progress(step)

    return tell


@dataclass
class Watch:
    """Tells of the phases of some work, and measures them."""

    on_progress: OnProgress
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase, to the millisecond."""

    @contextmanager
    def phase(self, name: str, words: str) -> Iterator[None]:
        """Tell that the phase `name` begins, in `words`, and measure the block."""
        self.on_progress(Progress(words))
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 3)
