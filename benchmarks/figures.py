"""What a bench found, as values that become JSON and come back, and what may be claimed. Pure.

A ratio is taken within each round, whose runs followed each other, and the median of the rounds
counts: what slows the whole machine down for a minute slows both sides down. Its noise is half the
range in which the median lies (rounds.py), or how far a contestant run twice was from itself,
whichever is more.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from statistics import median

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.rounds import by_round, half_range, spread


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sense(StrEnum):
    """On which side of its limit a figure has to be."""

    AT_MOST = "at most"
    AT_LEAST = "at least"


class Verdict(StrEnum):
    """What a figure says to its target."""

    MET = "met"
    MISSED = "missed"
    REPORTED = "reported"
    """There is no target."""
    NOT_MEASURED = "not measured"


class Target(_Value):
    """What a figure has to reach."""

    figure: str
    """The figure's name."""
    sense: Sense
    limit: float
    unit: str = ""

    def __str__(self) -> str:
        """Return it for people, such as "at most 0.80"."""
        return f"{self.sense.value} {shown(self.limit, self.unit)}"


class Cost(_Value):
    """What one round of one contestant took."""

    wall_s: float
    own_s: float = 0.0
    """CPU seconds of this process."""
    children_s: float = 0.0
    """CPU seconds of the programs it ran."""
    server_s: float | None = None
    """CPU seconds of the server's processes; None where they cannot be seen."""
    size_bytes: int | None = None
    """What it wrote, where that is asked."""
    value: float | None = None
    """What it measured by itself, where time is not the question: transactions a second."""

    @property
    def cpu_s(self) -> float:
        """All CPU seconds that can be seen."""
        return self.own_s + self.children_s + (self.server_s or 0.0)


class Arm(_Value):
    """One contestant's rounds."""

    name: str
    what: str
    """In words for people."""
    unit: str = "s"
    costs: tuple[Cost, ...]

    @property
    def numbers(self) -> tuple[float, ...]:
        """What is compared, a number a round: its own value, or the seconds it took."""
        return tuple(c.wall_s if c.value is None else c.value for c in self.costs)

    @property
    def middle(self) -> float:
        """The median round."""
        return median(self.numbers)

    @property
    def spread(self) -> float:
        """Half the range in which the median lies, as a part of it; 0 for one round."""
        return spread(self.numbers)

    @property
    def cpu_s(self) -> float:
        """The median round's CPU seconds."""
        return median(cost.cpu_s for cost in self.costs)

    @property
    def size_bytes(self) -> int | None:
        """What the last round wrote."""
        return self.costs[-1].size_bytes if self.costs else None


class Figure(_Value):
    """One number that a bench is about."""

    name: str
    value: float
    unit: str = ""
    """Empty for a ratio; "s", "ms", "%", "MB", "tps" otherwise."""
    noise: float | None = None
    """In the figure's own unit; None: one round, so nobody knows. Below it nothing is claimed."""
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the target is met."""
        if self.target is None:
            return Verdict.REPORTED
        under = self.value <= self.target.limit
        over = self.value >= self.target.limit
        met = under if self.target.sense is Sense.AT_MOST else over
        return Verdict.MET if met else Verdict.MISSED

    @property
    def is_clear(self) -> bool:
        """Whether the figure is farther from its target than the noise."""
        if self.target is None or self.noise is None:
            return self.target is None
        return abs(self.value - self.target.limit) > self.noise

    @property
    def says(self) -> str:
        """The verdict for people, with what keeps it from being claimed."""
        if self.target is not None and self.noise is None:
            return f"{self.verdict.value}, by one round"
        return self.verdict.value + ("" if self.is_clear else ", within the noise")


class Result(_Value):
    """What one bench found, or why it found nothing."""

    bench: str
    question: str
    code: str
    """The version and commit that was measured."""
    at: datetime
    cases: int | None = None
    """How many cases there were; None where no database was needed."""
    logs: int | None = None
    rounds: int
    took_s: float
    targets: tuple[Target, ...] = ()
    arms: tuple[Arm, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None
    """Why there are no figures."""

    @property
    def unmeasured(self) -> tuple[Target, ...]:
        """The targets of which there is no figure."""
        found = {figure.name for figure in self.figures if figure.target}
        return tuple(target for target in self.targets if target.figure not in found)

    @property
    def missed(self) -> tuple[Figure, ...]:
        """The figures that miss their targets."""
        return tuple(f for f in self.figures if f.verdict is Verdict.MISSED)


class Machine(_Value):
    """Where it was measured."""

    cpus: int
    cpu_model: str
    memory_bytes: int
    system: str
    """Such as "Debian GNU/Linux 12 (bookworm), Linux 6.1.0"."""


class Run(_Value):
    """All that one run of `casedb bench` measured."""

    schema_version: int = 1
    started: datetime
    scale: str
    machine: Machine
    postgres: str
    results: tuple[Result, ...] = Field(default=())

    def with_result(self, result: Result) -> "Run":
        """Return the run with `result` in the place of an older one of the same bench."""
        kept = [r for r in self.results if r.bench != result.bench]
        return self.model_copy(update={"results": (*kept, result)})


def ratios(over: Arm, under: Arm) -> list[float]:
    """Return `over` through `under`, round by round."""
    return [a / b for a, b in by_round(over.numbers, under.numbers)]


def self_noise(first: Arm, again: Arm) -> float:
    """Return how far the same contestant, run twice in each round, was from itself."""
    return abs(median(ratios(again, first)) - 1)


def ratio_figure(
    name: str,
    over: Arm,
    under: Arm,
    *,
    targets: Sequence[Target] = (),
    floor: float = 0.0,
    percent_more: bool = False,
    note: str = "",
) -> Figure:
    """Return the figure `over` through `under`; `floor` is the noise known from `self_noise`.

    With `percent_more` it is by how many percent `over` is more.
    """
    found = ratios(over, under)
    value = median(found)
    noise = None if len(found) < 2 else max(spread(found), floor) * value
    if percent_more:
        value, noise = (value - 1) * 100, None if noise is None else noise * 100
    return Figure(
        name=name,
        value=value,
        unit="%" if percent_more else "",
        noise=noise,
        target=target_of(name, targets),
        note=note,
    )


def plain_figure(
    name: str,
    numbers: Sequence[float],
    unit: str,
    *,
    targets: Sequence[Target] = (),
    note: str = "",
) -> Figure:
    """Return the median of `numbers`, with half the range in which it lies as its noise."""
    return Figure(
        name=name,
        value=median(numbers),
        unit=unit,
        noise=half_range(numbers) if len(numbers) > 1 else None,
        target=target_of(name, targets),
        note=note,
    )


def size_figure(
    name: str, found_bytes: int, other_bytes: int, *, targets: Sequence[Target] = ()
) -> Figure:
    """Return what part one size is of another; the same rows take the same bytes every time."""
    return Figure(
        name=name, value=found_bytes / other_bytes, noise=0.0, target=target_of(name, targets)
    )


def target_of(name: str, targets: Sequence[Target]) -> Target | None:
    """Return the target of the figure `name`, if it has one."""
    return next((target for target in targets if target.figure == name), None)


def shown(value: float, unit: str) -> str:
    """Return a number for people, with as many digits as mean something.

    >>> shown(0.8, ""), shown(1234.5, "tps"), shown(30, "%"), shown(5.25, "s")
    ('0.80', '1,234 tps', '30 %', '5.2 s')
    """
    digits = 2 if abs(value) < 10 and unit not in ("%", "MB") else 1 if abs(value) < 100 else 0
    if unit in ("%", "MB"):
        digits = 0
    elif unit == "s" and abs(value) >= 1:
        digits = 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}" + (f" {unit}" if unit else "")
