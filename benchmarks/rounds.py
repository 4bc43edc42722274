"""What the numbers of several rounds come to. Pure."""

from collections.abc import Sequence
from math import comb
from statistics import median


def half_range(numbers: Sequence[float]) -> float:
    """Return half the range in which the median of `numbers` lies.

    By 95 %: how many rounds are below the true median is binomial, however they are distributed
    (the sign test's interval; W. J. Conover, Practical Nonparametric Statistics, 3.2). Of up to
    eight it is the range of all, and of fewer than six less certain.

    >>> half_range([9.0, 10.0, 12.0])
    1.5
    >>> half_range([1.0, 9.0, 10.0, 10.0, 10.0, 10.0, 10.0, 12.0, 30.0])
    1.5
    """
    ordered, left_out = sorted(numbers), _left_out(len(numbers))
    return (ordered[-1 - left_out] - ordered[left_out]) / 2


def spread(numbers: Sequence[float]) -> float:
    """Return `half_range` as a part of the median.

    >>> spread([9.0, 10.0, 12.0])
    0.15
    """
    middle = median(numbers)
    return half_range(numbers) / middle if middle else 0.0


def _left_out(count: int) -> int:
    """Return how many of the least and of the most need not be looked at."""
    found = tail = 0
    while (tail := tail + comb(count, found)) * 2 <= 0.05 * 2**count:
        found += 1
    return max(0, found - 1)


def by_round(one: Sequence[float], other: Sequence[float]) -> list[tuple[float, float]]:
    """Return the numbers of each round; of what ran several times in each, the median of these.

    >>> by_round([1.0, 2.0, 4.0, 5.0, 5.0, 7.0], [10.0, 20.0])
    [(2.0, 10.0), (5.0, 20.0)]
    """
    rounds = min(len(one), len(other))
    return list(zip(*(_in_rounds(numbers, rounds) for numbers in (one, other)), strict=True))


def _in_rounds(numbers: Sequence[float], rounds: int) -> list[float]:
    each = len(numbers) // rounds
    return [median(numbers[at : at + each]) for at in range(0, rounds * each, each)]


def percentile(numbers: Sequence[float], share: float) -> float:
    """Return the smallest number that at least `share` of them do not exceed.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5), percentile([1.0], 0.95)
    (2.0, 1.0)
    """
    ordered = sorted(numbers)
    return ordered[max(0, -(-len(ordered) * share // 1).__trunc__() - 1)]
