"""What a policy keeps, and why."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.catalog import Backup, newest_drilled
from backups.manifest import DatabaseProperties, LargeObjects, Manifest
from backups.retention import Entry, Retention, decide, from_the_future, unusual
from tests.backups.conftest import passed_drill

NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)
A_WEEK = Retention(keep_within=timedelta(days=7), keep_last=2)


def taken(
    days_ago: float,
    *,
    label: str | None = None,
    damage: str | None = None,
    drilled: bool = False,
    with_access: bool = True,
) -> Backup:
    at = NOON - timedelta(days=days_ago)
    label = label or f"app-{at:%Y%m%dT%H%M%SZ}"
    manifest = Manifest(
        tool_version="0",
        server_version="16.1",
        server_major=16,
        client_version="16.1",
        bootstrap_superuser="postgres",
        database="app",
        label=label,
        started_at=at,
        ended_at=at,
        snapshot="x",
        properties=DatabaseProperties(
            owner="o",
            encoding="UTF8",
            locale_provider="libc",
            collate="C",
            ctype="C",
            locale=None,
            icu_rules=None,
            collation_version=None,
            connection_limit=-1,
            comment=None,
            grants=(),
            settings=(),
        ),
        roles=(),
        extensions=(),
        collations=(),
        migration_head=None,
        database_size_bytes=0,
        files={},
        tables=(),
        sequences=(),
        large_objects=LargeObjects(count=0, hash_sum="0", hash_xor="0"),
        catalog_sha256="",
    )
    report = passed_drill(label, at, with_access=with_access)
    return Backup("app", label, 0, manifest, damage, None, report if drilled else None)


def expired(entries: list[Entry]) -> list[str]:
    return [entry.backup.label for entry in entries if not entry.kept]


def labels(*days_ago: float) -> list[str]:
    return [taken(days).label for days in days_ago]


def test_what_is_older_than_a_week_expires() -> None:
    backups = [taken(days) for days in (0, 6.9, 7, 7.1, 30)]

    assert expired(decide(backups, A_WEEK, now=NOON)) == labels(7.1, 30)


def test_the_newest_two_survive_a_month_of_silence() -> None:
    backups = [taken(days) for days in (30, 31, 32)]

    assert expired(decide(backups, A_WEEK, now=NOON)) == labels(32)


def test_the_newest_that_passed_a_drill_survives_any_age() -> None:
    backups = [taken(1), taken(2), taken(400, drilled=True), taken(500, drilled=True)]

    assert expired(decide(backups, A_WEEK, now=NOON)) == labels(500)


def test_a_drill_without_access_does_not_take_a_full_ones_place() -> None:
    backups = [
        taken(1),
        taken(2),
        taken(300, drilled=True, with_access=False),
        taken(350, drilled=True, with_access=False),
        taken(400, drilled=True),
        taken(450, drilled=True, with_access=False),
        taken(500, drilled=True),
    ]

    entries = decide(backups, A_WEEK, now=NOON)

    assert expired(entries) == labels(350, 450, 500)
    assert entries[2].reason == "the newest that passed a drill, without access"
    assert entries[4].reason == "the newest that passed a drill"
    found = newest_drilled(backups)
    assert found
    assert found.label == taken(400).label
    assert newest_drilled(backups[:4]) == backups[2]
    assert newest_drilled(backups[:2]) is None


def test_damaged_ones_count_for_nothing_and_are_kept_for_the_inquiry() -> None:
    backups = [taken(30, damage="x"), taken(31, damage="x", drilled=True), taken(32), taken(33)]
    backups.append(taken(34))

    entries = decide(backups, A_WEEK, now=NOON)

    assert expired(entries) == labels(34)
    assert [e.reason for e in entries[:2]] == [
        "damaged: it does not count, and is kept for the inquiry"
    ] * 2


def test_each_backup_is_told_why_it_stays_or_goes() -> None:
    backups = [taken(1), taken(2), taken(9, drilled=True), taken(10)]

    assert [entry.reason for entry in decide(backups, A_WEEK, now=NOON)] == [
        "the newest, not older than 7 days",
        "not older than 7 days, one of the last 2",
        "the newest that passed a drill",
        "no rule keeps it",
    ]


def test_age_is_what_was_recorded_and_not_what_the_label_says() -> None:
    backups = [taken(1), taken(2), taken(8, label="app-29990101T000000Z")]

    assert expired(decide(backups, A_WEEK, now=NOON)) == ["app-29990101T000000Z"]


def test_the_order_of_the_list_does_not_matter() -> None:
    backups = [taken(1), taken(8), taken(9), taken(30, drilled=True)]

    found = {tuple(expired(decide(p, A_WEEK, now=NOON))) for p in permutations(backups)}

    assert found == {tuple(labels(9))}


def test_a_clock_that_jumped_back_shows_in_the_newest_backup() -> None:
    backups = [taken(3), taken(-1)]

    ahead = from_the_future(backups, now=NOON)

    assert ahead
    assert ahead.label == backups[1].label
    # Two machines' clocks are never quite the same.
    assert from_the_future([taken(-0.001)], now=NOON) is None


@pytest.mark.parametrize("count", [0, -1])
def test_a_policy_that_keeps_nothing_cannot_be_made(count: int) -> None:
    with pytest.raises(ValueError, match="keep nothing"):
        Retention(keep_last=count)


def only(**rules: int) -> Retention:
    return Retention(keep_within=timedelta(0), keep_last=1, **rules)


@pytest.mark.parametrize(
    ("rules", "stay"),
    [
        # 30 June 2026, noon, is a Tuesday.
        ({"keep_hourly": 3}, (0, 0.1, 0.2)),
        ({"keep_daily": 3}, (0, 1, 2)),
        ({"keep_weekly": 3}, (0, 2, 9)),
        ({"keep_monthly": 3}, (0, 30, 61)),
        ({"keep_yearly": 2}, (0, 181)),
        ({"keep_daily": 2, "keep_monthly": 2}, (0, 1, 30)),
        ({"keep_daily": 0}, (0,)),
    ],
)
def test_each_tier_keeps_the_newest_of_each_period(
    rules: dict[str, int], stay: tuple[float, ...]
) -> None:
    backups = [taken(days) for days in (0, 0.1, 0.2, 1, 2, 3, 9, 30, 40, 61, 181, 400)]

    entries = decide(backups, only(**rules), now=NOON)

    assert [e.backup.label for e in entries if e.kept] == labels(*stay)


def test_a_period_without_a_backup_does_not_count() -> None:
    """Three monthly ones are kept even if somebody forgot May."""
    backups = [taken(days) for days in (0, 100, 200, 300)]

    assert expired(decide(backups, only(keep_monthly=3), now=NOON)) == labels(300)


def test_periods_are_utc_whatever_the_zone_of_the_record() -> None:
    east = timezone(timedelta(hours=14))
    late, early = taken(0.49), taken(0.51)
    moved = [
        Backup(
            b.database,
            b.label,
            0,
            b.manifest.model_copy(update={"started_at": b.manifest.started_at.astimezone(east)}),
            None,
            None,
            None,
        )
        for b in (late, early)
        if b.manifest
    ]

    # One on either side of midnight in UTC, both on one day on Kiritimati.
    assert expired(decide(moved, only(keep_daily=2), now=NOON)) == []


def test_a_damaged_one_takes_no_periods_place() -> None:
    backups = [taken(0), taken(1, damage="x"), taken(1.1)]

    assert expired(decide(backups, only(keep_daily=2), now=NOON)) == []


def test_the_plans_seven_days_are_kept_by_default() -> None:
    backups = [taken(days / 4) for days in range(40)]

    kept = [e for e in decide(backups, Retention(), now=NOON) if e.kept]

    assert len(kept) == 29
    assert max(e.backup.age(NOON) or timedelta(0) for e in kept) == timedelta(days=7)


def test_an_ordinary_rotation_is_not_unusual() -> None:
    for ages in ([0, 1, 2, 3, 4, 5, 6, 7, 8], [*range(14)], [0, 8], [0]):
        entries = decide([taken(age) for age in ages], A_WEEK, now=NOON)
        assert unusual(entries, A_WEEK, now=NOON) is None


@pytest.mark.parametrize(
    ("ages", "go"),
    [
        ((0, 1, 8, 9, 10, 11), 4),
        ((0, 1, 8, 9, 10), 3),
        # One a week, until the clock jumped by 60 days and one more was taken.
        ((0, 60, 67, 74, 81), 3),
    ],
)
def test_more_than_half_at_once_is_unusual_however_few(ages: tuple[int, ...], go: int) -> None:
    entries = decide([taken(age) for age in ages], A_WEEK, now=NOON)

    assert unusual(entries, A_WEEK, now=NOON) == f"{go} of {len(ages)} backups would go at once"


def test_a_policy_that_loses_all_but_one_of_three_is_unusual() -> None:
    entries = decide([taken(age) for age in (0, 1, 2)], only(), now=NOON)

    assert unusual(entries, only(), now=NOON) == "2 of 3 backups would go at once"


@pytest.mark.parametrize("every", [0.25, 1, 7, 31])
@pytest.mark.parametrize("keep_last", [1, 2, 3])
@pytest.mark.parametrize("keep_within", [0, 1, 7, 28])
@pytest.mark.parametrize("keep_daily", [0, 7])
def test_rotating_after_each_dump_is_never_unusual(
    every: float, keep_last: int, keep_within: int, keep_daily: int
) -> None:
    policy = Retention(timedelta(days=keep_within), keep_last, keep_daily=keep_daily)
    life = [NOON - timedelta(days=every * back) for back in range(40, -1, -1)]
    stay: list[Backup] = []
    for now in life:
        stay.append(taken((NOON - now) / timedelta(days=1)))
        entries = decide(stay, policy, now=now)
        assert unusual(entries, policy, now=now) is None
        stay = [e.backup for e in entries if e.kept]


def hourly(until: datetime, hours: range = range(24), *, days: range = range(7)) -> list[Backup]:
    """Return what was taken every hour of eight days, in those hours of those days of the week."""
    times = (until - timedelta(hours=back) for back in range(8 * 24))
    return [
        taken((NOON - at) / timedelta(days=1), label=f"{at:%d%H}")
        for at in times
        if at.hour in hours and at.weekday() in days
    ]


@pytest.mark.parametrize(
    ("ages", "go", "of"),
    [
        # Every hour, and every day, until the clock jumped.
        ([3.4 + back / 24 for back in range(169)], 81, 169),
        ([1.5 + back / 24 for back in range(169)], 35, 169),
        ([3.4 + back for back in range(8)], 3, 8),
        # And one more was taken.
        ([0, *(3.4 + back / 24 for back in range(169))], 81, 170),
        ([0.1, *(3.4 + back / 4 for back in range(29))], 12, 30),
    ],
)
def test_what_goes_only_because_the_clock_jumped_is_unusual(
    ages: list[float], go: int, of: int
) -> None:
    backups = [taken(age, label=f"b{i}") for i, age in enumerate(ages)]

    entries = decide(backups, Retention(), now=NOON)

    warning = unusual(entries, Retention(), now=NOON) or ""
    assert warning.startswith(f"{go} of {of} backups would go only because nothing was dumped for ")
    assert warning.endswith(", or the clock jumped")


@pytest.mark.parametrize("hours", [range(24), range(8, 18)])
@pytest.mark.parametrize("days", [range(7), range(5)])
@pytest.mark.parametrize("rotated_at", [2, 7, 12, 22])
def test_nights_and_weekends_are_no_jump_of_the_clock(
    hours: range, days: range, rotated_at: int
) -> None:
    begins = NOON - timedelta(days=40)
    stay = hourly(begins, hours, days=days)
    for past in range(1, 40 * 24):
        now = begins + timedelta(hours=past)
        if now.hour in hours and now.weekday() in days:
            stay.append(taken((NOON - now) / timedelta(days=1), label=f"{now:%d%H}-{past}"))
        if now.hour == rotated_at:
            entries = decide(stay, Retention(), now=now)
            assert unusual(entries, Retention(), now=now) is None
            stay = [e.backup for e in entries if e.kept]


def test_after_a_silence_it_is_asked_once() -> None:
    """A server that was away for three days: what was confirmed does not come back."""
    ages = [0, *(3 + back / 24 for back in range(169))]
    backups = [taken(age, label=f"b{i}") for i, age in enumerate(ages)]
    entries = decide(backups, Retention(), now=NOON)
    assert unusual(entries, Retention(), now=NOON)
    stay = [e.backup for e in entries if e.kept]

    for hour in range(1, 30):
        now = NOON + timedelta(hours=hour)
        stay.append(taken(-hour / 24, label=f"n{hour}"))
        entries = decide(stay, Retention(), now=now)
        assert unusual(entries, Retention(), now=now) is None
        stay = [e.backup for e in entries if e.kept]


def test_a_newest_backup_beyond_the_policy_is_unusual() -> None:
    entries = decide([taken(age) for age in (10, 11, 12)], A_WEEK, now=NOON)

    assert "10 days old" in (unusual(entries, A_WEEK, now=NOON) or "")


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.booleans(), st.booleans()), max_size=8),
    st.integers(1, 4),
    st.floats(0, 100),
    st.fixed_dictionaries(
        {}, optional={name: st.integers(0, 3) for name in ("keep_daily", "keep_monthly")}
    ),
)
def test_whatever_the_policy_the_last_good_backups_stay(
    ages: list[tuple[float, bool, bool]], at_least: int, days: float, tiers: dict[str, int]
) -> None:
    backups = [
        taken(age, label=f"b{i}", damage="x" if broken else None, drilled=drilled)
        for i, (age, broken, drilled) in enumerate(ages)
    ]

    policy = Retention(timedelta(days=days), at_least, **tiers)
    entries = decide(backups, policy, now=NOON)

    good = [b for b in backups if b.is_good]
    kept_good = [e.backup for e in entries if e.kept and e.backup.is_good]
    assert len(entries) == len(backups)
    assert len(kept_good) >= min(at_least, len(good))
    if good:
        assert max(good, key=lambda b: b.taken_at or NOON).taken_at in {
            b.taken_at for b in kept_good
        }
    if any(b.passed_drill for b in backups):
        assert any(b.passed_drill for b in kept_good)
