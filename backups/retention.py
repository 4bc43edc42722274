"""Which backups a policy keeps, and why. Pure: deciding is here, deleting is in rotate.py."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backups.catalog import Backup

# Two machines' clocks may differ by this much; more is a clock that jumped.
CLOCK_TOLERANCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Retention:
    """How long backups are kept, and how many stay whatever their age."""

    keep_for: timedelta = timedelta(days=7)
    keep_at_least: int = 2

    def __post_init__(self) -> None:
        if self.keep_at_least < 1:
            raise ValueError("a policy that may keep nothing is not a policy")
        if self.keep_for < timedelta(0):
            raise ValueError("an age is not negative")


@dataclass(frozen=True)
class Entry:
    """What the policy says about one backup."""

    backup: Backup = field(repr=False)
    kept: bool
    reason: str


def from_the_future(backups: Sequence[Backup], *, now: datetime) -> Backup | None:
    """Return the newest backup if it was taken after `now`, so that the clock cannot be trusted."""
    ahead = [b for b in backups if b.taken_at and b.taken_at > now + CLOCK_TOLERANCE]
    return max(ahead, key=lambda b: b.taken_at or now) if ahead else None


def decide(backups: Sequence[Backup], policy: Retention, *, now: datetime) -> list[Entry]:
    """Return one entry for each backup, newest first.

    The newest `keep_at_least` good backups stay however old they are: a server that stopped
    dumping a month ago must not lose its last good backup to the clock. The newest one that
    passed a drill stays too, because the newer ones are only hoped to restore. Damaged ones
    count for nothing, and are nobody's to delete unseen.
    """
    oldest = datetime.min.replace(tzinfo=now.tzinfo)
    newest_first = sorted(backups, key=lambda b: (b.taken_at or oldest, b.label), reverse=True)
    good = [b.label for b in newest_first if b.is_good]
    floor = set(good[: policy.keep_at_least])
    drilled = next((b.label for b in newest_first if b.passed_drill), None)
    entries = []
    for backup in newest_first:
        kept, reason = True, ""
        age = backup.age(now)
        if not backup.is_good or age is None:
            reason = "damaged: it does not count, and is kept for the inquiry"
        elif backup.label == good[0]:
            reason = "the newest"
        elif backup.label == drilled:
            reason = "the newest that passed a drill"
        elif age <= policy.keep_for:
            reason = f"younger than {_days(policy.keep_for)}"
        elif backup.label in floor:
            reason = f"one of the newest {policy.keep_at_least}"
        else:
            kept, reason = False, f"older than {_days(policy.keep_for)}"
        entries.append(Entry(backup, kept, reason))
    return entries


def _days(age: timedelta) -> str:
    hours = age / timedelta(hours=1)
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
