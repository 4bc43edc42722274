"""When the backups of a store are well, and which one thing makes them not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from casedb.health import BackupFacts, BucketFacts, Finding, Limits, assess_backups

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIMITS = Limits(timedelta(hours=26), timedelta(days=8), timedelta(days=7), timedelta(days=28))
BUCKET = BucketFacts(keeps_versions=True, forgets_after_days=30, lock_days=7)
WELL = BackupFacts(
    store="s3://bucket/here",
    count=3,
    newest_label="app-3",
    newest_at=NOW - timedelta(hours=5, minutes=30),
    newest_size_bytes=100,
    earlier_sizes_bytes=(100, 99),
    drilled_label="app-3",
    drilled_at=NOW - timedelta(days=1),
    failed_drill_label=None,
    damaged=(),
    free_bytes=10_000,
    bucket=BUCKET,
)


def not_well(facts: BackupFacts) -> list[Finding]:
    return [f for f in assess_backups(facts, LIMITS, now=NOW) if not f.well]


def test_what_is_well_is_well_and_names_its_store() -> None:
    findings = assess_backups(WELL, LIMITS, now=NOW)

    assert all(f.well and f.store == "s3://bucket/here" for f in findings)
    assert {f.check for f in findings} == {"backup", "size", "drill", "damage", "disk", "bucket"}


def test_the_hours_that_would_be_lost_are_told() -> None:
    newest = assess_backups(WELL, LIMITS, now=NOW)[0]

    assert "possible data loss: 5.5 h" in newest.state
    assert WELL.possible_loss(NOW) == timedelta(hours=5, minutes=30)


def test_a_drill_that_left_the_access_out_is_told_apart() -> None:
    def drill_of(facts: BackupFacts) -> str:
        return next(f.state for f in assess_backups(facts, LIMITS, now=NOW) if f.check == "drill")

    assert drill_of(replace(WELL, drilled_without_access=True)) == "1d old: app-3, without access"
    assert drill_of(WELL) == "1d old: app-3"


def test_without_a_backup_all_would_be_lost() -> None:
    facts = replace(WELL, newest_label=None, newest_at=None, earlier_sizes_bytes=())

    assert "possible data loss: all" in assess_backups(facts, LIMITS, now=NOW)[0].state
    assert facts.possible_loss(NOW) is None


@pytest.mark.parametrize(
    ("facts", "check", "words"),
    [
        (replace(WELL, newest_at=NOW - timedelta(hours=27)), "backup", "limit 1d 2h"),
        (replace(WELL, newest_at=None, newest_label=None), "backup", "none"),
        (replace(WELL, newest_size_bytes=69), "size", "69%"),
        (replace(WELL, failed_drill_label="app-2"), "drill", "the last one failed: app-2"),
        (replace(WELL, drilled_at=None, drilled_label=None), "drill", "none"),
        (replace(WELL, drilled_at=NOW - timedelta(days=9)), "drill", "limit 8d"),
        (replace(WELL, damaged=("app-1",)), "damage", "1 of 3"),
        (
            replace(WELL, ahead=("app-4",)),
            "clock",
            "from the future: the clock of the host that took",
        ),
        (replace(WELL, drilled_ahead=("app-2",)), "clock", "the drill of app-2"),
        (replace(WELL, free_bytes=299), "disk", "free"),
        (replace(WELL, bucket=replace(BUCKET, keeps_versions=False)), "bucket", "keeps nothing"),
        # Longer than all are kept, and not as long as the oldest is.
        (replace(WELL, bucket=replace(BUCKET, forgets_after_days=27)), "bucket", "after 27d"),
        (replace(WELL, bucket=replace(BUCKET, expires_after_days=27)), "bucket", "after 27d"),
        (replace(WELL, bucket=replace(BUCKET, lock_days=6)), "bucket", "locks backups for 6d"),
        (replace(WELL, bucket=replace(BUCKET, unknown="no")), "bucket", "could not be read"),
    ],
)
def test_one_thing_alone_makes_it_not_well(facts: BackupFacts, check: str, words: str) -> None:
    (finding,) = not_well(facts)

    assert finding.check == check
    assert words in finding.state
    assert finding.advice


@pytest.mark.parametrize(
    "facts",
    [
        replace(WELL, newest_size_bytes=70),
        replace(WELL, earlier_sizes_bytes=()),
        # One odd backup among the earlier ones does not change what is usual.
        replace(WELL, earlier_sizes_bytes=(1000, 100, 100)),
        replace(WELL, bucket=replace(BUCKET, forgets_after_days=None, lock_days=0)),
        replace(WELL, bucket=replace(BUCKET, forgets_after_days=28, expires_after_days=28)),
        replace(WELL, bucket=None, free_bytes=None),
    ],
)
def test_what_is_usual_is_no_alarm(facts: BackupFacts) -> None:
    assert not_well(facts) == []
