"""Which backups a policy keeps, and why. Pure: deciding is here, deleting is in rotate.py.

The vocabulary is restic's (https://restic.readthedocs.io/en/stable/060_forget.html): whatever any
one rule keeps is kept.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from backups.catalog import Backup, newest_drilled

# By calendar in UTC: the newest backup of each hour, day, ISO week, month or year.
_CALENDAR: dict[str, Callable[[datetime], Hashable]] = {
    "hourly": lambda at: (at.date(), at.hour),
    "daily": lambda at: at.date(),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: at.year,
}


# How long each of them is at most.
_LASTS: dict[str, timedelta] = {
    "hourly": timedelta(hours=1),
    "daily": timedelta(days=1),
    "weekly": timedelta(weeks=1),
    "monthly": timedelta(days=31),
    "yearly": timedelta(days=366),
}


_DAY = timedelta(days=1)
# And an hour, for what is taken once a week.
_WEEK = timedelta(days=7, hours=1)


@dataclass(frozen=True)
class Retention:
    """What is kept. Only good backups count; 0 turns a rule off."""

    keep_within: timedelta = timedelta(days=7)
    """All that are not older than this."""
    keep_last: int = 2
    """The newest so many, whatever their age; at least 1."""
    keep_hourly: int = 0
    """The newest of each of the last so many hours that have one; and so on."""
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0

    def __post_init__(self) -> None:
        if self.keep_last < 1:
            raise ValueError("a policy that may keep nothing is not a policy")
        if self.keep_within < timedelta(0) or min(self.calendar.values()) < 0:
            raise ValueError("neither an age nor a number of backups is negative")

    @property
    def calendar(self) -> dict[str, int]:
        """How many hours, days and so on are kept, by the rule's name."""
        return {name: getattr(self, f"keep_{name}") for name in _CALENDAR}

    @property
    def longest(self) -> timedelta:
        """How long the oldest backup is promised to stay, where there is one for each rule.

        >>> Retention(keep_daily=14, keep_monthly=12).longest.days
        372
        """
        return max(self.keep_within, *(_LASTS[n] * count for n, count in self.calendar.items()))


@dataclass(frozen=True)
class Entry:
    """What the policy says about one backup."""

    backup: Backup = field(repr=False)
    kept: bool
    reason: str


def from_the_future(backups: Sequence[Backup], *, now: datetime) -> Backup | None:
    """Return the newest backup if it was taken after `now`, so that the clock cannot be trusted."""
    ahead = [b for b in backups if b.is_from_the_future(now)]
    return max(ahead, key=lambda b: b.taken_at or now) if ahead else None


def decide(backups: Sequence[Backup], policy: Retention, *, now: datetime) -> list[Entry]:
    """Return one entry for each backup, newest first.

    The newest `keep_last` good backups stay however old they are: a server that stopped dumping a
    month ago must not lose its last good backup to the clock. The newest one that passed a drill
    stays too, because the newer ones are only hoped to restore; so does a newer one that passed
    without access, which proves the content all the same. Damaged ones count for nothing, and are
    nobody's to delete unseen.
    """
    oldest = datetime.min.replace(tzinfo=UTC)
    newest_first = sorted(backups, key=lambda b: (b.taken_at or oldest, b.label), reverse=True)
    good = [(b, b.taken_at) for b in newest_first if b.is_good and b.taken_at]
    reasons: dict[str, list[str]] = {b.label: [] for b, _ in good}
    if good:
        reasons[good[0][0].label].append("the newest")
    passed = [b for b, _ in good if b.passed_drill]
    if drilled := newest_drilled(passed):
        # What was left out of a drill has not passed: it does not take a full one's place.
        if drilled.passed_full_drill:
            reasons[drilled.label].append("the newest that passed a drill")
        if not passed[0].passed_full_drill:
            reasons[passed[0].label].append("the newest that passed a drill, without access")
    for number, (backup, at) in enumerate(good):
        if now - at <= policy.keep_within:
            reasons[backup.label].append(f"not older than {_days(policy.keep_within)}")
        if 0 < number < policy.keep_last:
            reasons[backup.label].append(f"one of the last {policy.keep_last}")
    for name, wanted in policy.calendar.items():
        for backup in _newest_of_each(good, _CALENDAR[name])[:wanted]:
            reasons[backup.label].append(name)
    entries = []
    for backup in newest_first:
        why = reasons.get(backup.label)
        if why is None:
            damaged = "damaged: it does not count, and is kept for the inquiry"
            entries.append(Entry(backup, True, damaged))
        else:
            entries.append(Entry(backup, bool(why), ", ".join(why) or "no rule keeps it"))
    return entries


def unusual(entries: Sequence[Entry], policy: Retention, *, now: datetime) -> str | None:
    """Return why deleting what has expired should be confirmed; None if it is an ordinary day.

    A clock that jumped ahead makes everything old at once, and so does a policy with a typing
    error in it. Three things are unusual: that nothing is younger than `keep_within`, that more
    than half of the good ones go, however few they are, and that several go only because nothing
    was dumped for much longer than before. Just half is ordinary: who keeps one and rotates after
    each dump lets go of one of two each time. Only who takes more between two rotations than he
    keeps is asked again and again.
    """
    good = [e for e in entries if e.backup.is_good]
    expired = [e for e in good if not e.kept]
    if not expired:
        return None
    ages = [age for e in good if (age := e.backup.age(now)) is not None]
    if policy.keep_within and min(ages) > policy.keep_within:
        return (
            f"the newest backup is {_days(min(ages))} old: nothing was dumped, or the clock jumped"
        )
    if 2 * len(expired) > len(good):
        return f"{len(expired)} of {len(good)} backups would go at once"
    silence = _silence([e.backup for e in good], now=now)
    if silence is None:
        return None
    awake = now - silence.lasted + silence.usual
    early = {
        e.backup.label for e in decide([e.backup for e in entries], policy, now=awake) if e.kept
    }
    too_early = sum(e.backup.label in early for e in expired)
    # In ordinary times one goes for each that comes.
    if too_early > silence.taken_since + 1:
        return (
            f"{too_early} of {len(good)} backups would go only because nothing was dumped for "
            f"{_days(silence.lasted)}, or the clock jumped"
        )
    return None


@dataclass(frozen=True)
class _Silence:
    """A time without a backup."""

    lasted: timedelta
    usual: timedelta
    """The longest such time in the week before it: nights and weekends are ordinary."""
    taken_since: int


def _silence(good: Sequence[Backup], *, now: datetime) -> _Silence | None:
    """Return the longest that ended in the last day, if it is long and much longer than usual."""
    moments = [now, *sorted((b.taken_at for b in good if b.taken_at), reverse=True)]
    pauses = [(newer - older, newer) for newer, older in pairwise(moments)]
    lasted, ended = max(pause for pause in pauses if now - pause[1] <= _DAY)
    began = ended - lasted
    before = [p for p, end in pauses if end <= began and end - p >= began - _WEEK]
    if not before or lasted <= max(_DAY, 1.5 * max(before)):
        return None
    return _Silence(lasted, max(before), sum(at >= ended for at in moments[1:]))


def _newest_of_each(
    good: Sequence[tuple[Backup, datetime]], period: Callable[[datetime], Hashable]
) -> list[Backup]:
    found: dict[Hashable, Backup] = {}
    for backup, at in good:
        found.setdefault(period(at.astimezone(UTC)), backup)
    return list(found.values())


def _days(age: timedelta) -> str:
    hours = age / timedelta(hours=1)
    return f"{hours / 24:.3g} days" if hours >= 48 else f"{hours:.3g} hours"
