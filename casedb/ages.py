"""Lengths of time as people write them: 90s, 45m, 36h, 14d, 8w."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from casedb.errors import ConfigurationError

Seconds = Annotated[float, Field(gt=-1e9, lt=1e9, allow_inf_nan=False)]
"""How long something took, as a file tells; always so few that they can be added up and shown."""
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_age(text: str) -> timedelta:
    """Return the length of time that `text` says.

    Raises:
        ConfigurationError: if it is not a whole number and one of s, m, h, d, w.

    >>> parse_age("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    found = re.fullmatch(r"\s*(\d+)\s*([smhdw])\s*", text)
    if not found:
        raise ConfigurationError(
            f'"{text}" is not a length of time',
            hint="Write a number and its unit: 90s, 45m, 36h, 14d or 8w.",
        )
    return timedelta(**{_UNITS[found.group(2)]: int(found.group(1))})


def format_age(age: timedelta) -> str:
    """Return `age` in its largest two units, for people.

    >>> format_age(timedelta(hours=26, minutes=4))
    '1d 2h'
    >>> format_age(timedelta(seconds=8))
    '8s'
    """
    left = max(0, int(age.total_seconds()))
    parts: list[str] = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, left = divmod(left, seconds)
        if amount or (unit == "s" and not parts):
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])
