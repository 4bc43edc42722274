"""What a bench is, and which there are."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Arm, Figure, Sense, Target
from benchmarks.site import Site
from casedb.errors import UsageError

NAMES = (
    "start",
    "dump",
    "size",
    "compression",
    "restore",
    "verify",
    "audit",
    "seed",
    "queries",
    "mix",
    "recipes",
    "memory",
    "s3",
    "up",
    "hosts",
)
"""In the order in which they run; each is a module of benchmarks.benches."""


@dataclass(frozen=True)
class Found:
    """What a bench measured."""

    arms: Sequence[Arm] = ()
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Bench:
    """One file of benches/."""

    name: str
    question: str
    """What it answers, a sentence."""
    measure: Callable[[Site], Found]
    minutes: float
    """About how long three rounds take at medium scale on two cores, the filling left out."""
    targets: tuple[Target, ...] = ()


def load(name: str) -> Bench:
    """Return one bench; only its own imports are paid for.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in NAMES:
        raise UsageError(f'there is no bench "{name}"', hint=f"There are: {', '.join(NAMES)}.")
    bench = importlib.import_module(f"benchmarks.benches.{name}").BENCH
    assert isinstance(bench, Bench)
    return bench


def at_most(figure: str, limit: float, unit: str = "") -> Target:
    """Return a target that bounds a figure from above."""
    return Target(figure=figure, sense=Sense.AT_MOST, limit=limit, unit=unit)


def at_least(figure: str, limit: float, unit: str = "") -> Target:
    """Return a target that bounds a figure from below."""
    return Target(figure=figure, sense=Sense.AT_LEAST, limit=limit, unit=unit)
