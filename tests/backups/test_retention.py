"""What a policy keeps, and why."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backups.catalog import Backup
from backups.manifest import DatabaseProperties, LargeObjects, Manifest
from backups.records import DrillReport
from backups.retention import Entry, Retention, decide, from_the_future

NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)
A_WEEK = Retention(keep_for=timedelta(days=7), keep_at_least=2)


def taken(
    days_ago: float, *, label: str | None = None, damage: str | None = None, drilled: bool = False
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
    report = DrillReport(
        label=label,
        outcome="passed",
        at=at,
        duration_s=1,
        phases_s={},
        tables=0,
        rows=0,
        sequences=0,
        catalog_rows=0,
        large_objects=0,
        tool_version="0",
        server_version="16.1",
    )
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
        "the newest",
        "younger than 7 days",
        "the newest that passed a drill",
        "older than 7 days",
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
        Retention(keep_at_least=count)


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.booleans(), st.booleans()), max_size=8),
    st.integers(1, 4),
    st.floats(0, 100),
)
def test_whatever_the_policy_the_last_good_backups_stay(
    ages: list[tuple[float, bool, bool]], at_least: int, days: float
) -> None:
    backups = [
        taken(age, label=f"b{i}", damage="x" if broken else None, drilled=drilled)
        for i, (age, broken, drilled) in enumerate(ages)
    ]

    entries = decide(backups, Retention(timedelta(days=days), at_least), now=NOON)

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
