"""Which lines of a host's log tell of a run. Pure, and sent to hosts: Python's library alone."""

from datetime import datetime, timedelta


def ended_at(line: object) -> datetime | None:
    """Return when the run ended that `line` tells of; None if it tells of none.

    Anybody may write into a log, and the host's casedb may be another version than ours.
    """
    match line:
        case {
            "command": str(),
            "database": str(),
            "exit_code": int(code),
            "message": str() | None,
            "started_at": str(started),
            "seconds": int() | float() as seconds,
        } if bool not in (type(code), type(seconds)):
            try:
                ended = datetime.fromisoformat(started) + timedelta(seconds=seconds)
            except (ValueError, OverflowError):
                return None
            # Without its zone nobody knows when that was.
            return ended if ended.tzinfo else None
    return None
