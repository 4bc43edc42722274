"""What was written by a clock that was ahead. Pure."""

from datetime import datetime, timedelta

# Two machines' clocks may differ by this much; more is a clock that is wrong.
_TOLERANCE = timedelta(minutes=10)


def is_from_the_future(at: datetime | None, *, now: datetime) -> bool:
    """Whether `at` is later than `now`, so that one of two clocks was or is wrong."""
    return at is not None and at > now + _TOLERANCE
