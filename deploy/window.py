"""When a server may be restarted. Pure."""

import re
from datetime import datetime

_WINDOW = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


def may_restart(when: str, *, now: datetime) -> bool:
    """Whether `now` (in UTC) lies in `when`: "always", "never" or "22:00-04:00" in UTC.

    Raises:
        ValueError: `when` is none of these.

    >>> may_restart("22:00-04:00", now=datetime(2024, 6, 30, 3, 59))
    True
    """
    if when in ("always", "never"):
        return when == "always"
    found = _WINDOW.fullmatch(when)
    if not found:
        raise ValueError(f'restart is "always", "never" or like "22:00-04:00", not "{when}"')
    from_hour, from_minute, to_hour, to_minute = map(int, found.groups())
    begins, ends = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    minute = now.hour * 60 + now.minute
    if begins <= ends:
        return begins <= minute < ends
    # Over midnight.
    return minute >= begins or minute < ends
