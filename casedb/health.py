"""Is everything well, and what to do if not. Pure: the facts come in, findings go out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median

from casedb.ages import format_age

# The next backup may grow, and the one being written lies beside the old ones.
_FREE_TIMES_NEWEST = 3
# Case data grow; a backup of less than this part of what is usual has probably lost something.
_SHRUNK = 0.7
_USUAL_OF = 5


@dataclass(frozen=True)
class ServerFacts:
    """What the server told."""

    version: str
    mark: str
    marked: bool
    head: str | None
    pending: tuple[str, ...]
    problems: tuple[str, ...]
    thaw_command: str | None = None
    """What ends that a restore with --freeze made it read-only; None if it is not so."""


@dataclass(frozen=True)
class BucketFacts:
    """How a bucket keeps what somebody deletes."""

    keeps_versions: bool
    forgets_after_days: int | None
    """When a deleted version goes for good; None: never."""
    lock_days: int
    """How long nobody can delete a backup; 0: no lock."""
    expires_after_days: int | None = None
    """When the bucket deletes what nobody has deleted; None: never."""
    unknown: str | None = None
    """Why nobody could tell; the rest then means nothing."""


@dataclass(frozen=True)
class BackupFacts:
    """What one store holds of the database; times are aware, and none is from the future."""

    store: str
    count: int
    newest_label: str | None
    newest_at: datetime | None
    newest_size_bytes: int
    earlier_sizes_bytes: tuple[int, ...]
    """Of the good backups before it, newest first."""
    drilled_label: str | None
    drilled_at: datetime | None
    failed_drill_label: str | None
    """If the last drill of all did not pass: of which backup it was."""
    damaged: tuple[str, ...]
    free_bytes: int | None
    drilled_without_access: bool = False
    """If that drill left the access matrix out, because none that passed has tried it."""
    ahead: tuple[str, ...] = ()
    """Backups that were taken later than it is now; nothing else here goes by them."""
    drilled_ahead: tuple[str, ...] = ()
    """Those that were drilled later than it is now."""
    bucket: BucketFacts | None = None
    """None if the store is no bucket."""

    def possible_loss(self, now: datetime) -> timedelta | None:
        """Return how much would be lost if the server were gone now; None: all there is."""
        return max(now - self.newest_at, timedelta(0)) if self.newest_at else None


@dataclass(frozen=True)
class Limits:
    """Beyond which age something is not well any more."""

    backup_max_age: timedelta
    drill_max_age: timedelta
    keep_within: timedelta
    """How long every backup is promised to be there."""
    keep_longest: timedelta
    """How long the oldest is."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    well: bool
    state: str
    advice: str | None = None
    """What to do; None when it is well."""
    store: str | None = None
    """Which store it is about; None if it is about none."""
    known: bool = True
    """Whether it could be looked at from here; what could not is not well."""


def assess_server(facts: ServerFacts) -> list[Finding]:
    """Return what is to be said of the server and its database."""
    findings = [Finding("server", True, f"PostgreSQL {facts.version}")]
    if facts.problems:
        findings.append(
            Finding("migrations", False, facts.problems[0], "see `casedb migrate status`")
        )
    elif facts.pending:
        state = f"{len(facts.pending)} pending, first {facts.pending[0]}"
        findings.append(Finding("migrations", False, state, "casedb migrate apply"))
    else:
        findings.append(Finding("migrations", True, f"at head {facts.head}"))
    if facts.marked:
        findings.append(Finding("mark", True, facts.mark))
    else:
        findings.append(
            Finding("mark", False, "none; counts as production", "casedb mark production")
        )
    if facts.thaw_command:
        state = "read-only since a restore with --freeze, which runs or was killed"
        advice = f"if none runs, restore again; or, in psql: {facts.thaw_command}"
        findings.append(Finding("freeze", False, state, advice))
    return findings


def assess_backups(facts: BackupFacts, limits: Limits, *, now: datetime) -> list[Finding]:
    """Return what is to be said of the backups of one store at `now`."""
    findings = [_newest(facts, limits, now), _size(facts), _drill(facts, limits, now)]
    findings += _clocks(facts)
    if facts.damaged:
        state = f"{len(facts.damaged)} of {facts.count} damaged"
        inquiry = f"casedb backups; when it was looked into, casedb expire {facts.damaged[0]}"
        findings.append(Finding("damage", False, state, inquiry))
    else:
        findings.append(Finding("damage", True, f"none known in {facts.count}"))
    if facts.free_bytes is not None:
        gib = facts.free_bytes / 2**30
        enough = facts.free_bytes >= _FREE_TIMES_NEWEST * facts.newest_size_bytes
        advice = None if enough else "casedb rotate --apply, or a larger disk"
        findings.append(Finding("disk", enough, f"{gib:.1f} GiB free for backups", advice))
    if facts.bucket:
        findings.append(_bucket(facts.bucket, limits))
    return [replace(finding, store=facts.store) for finding in findings]


def _newest(facts: BackupFacts, limits: Limits, now: datetime) -> Finding:
    found = _age("backup", facts.newest_label, facts.newest_at, limits.backup_max_age, now, "dump")
    loss = facts.possible_loss(now)
    lost = "all" if loss is None else f"{loss.total_seconds() / 3600:.1f} h"
    return replace(found, state=f"{found.state}; possible data loss: {lost}")


def _clocks(facts: BackupFacts) -> list[Finding]:
    """Return what is to be said of clocks; nothing where they agree.

    Until nothing is from the future any more: rotate deletes nothing meanwhile.
    """
    ahead = [*facts.ahead, *(f"the drill of {label}" for label in facts.drilled_ahead)]
    if not ahead:
        return []
    others = f" and {len(ahead) - 1} more" if len(ahead) > 1 else ""
    state = (
        f"from the future: the clock of the host that took it was ahead, or this one is behind: "
        f"{ahead[0]}{others}"
    )
    advice = (
        f"set the clock right; then casedb dump, casedb drill, and casedb expire {facts.ahead[0]}"
        if facts.ahead
        else f"set the clock right; then casedb drill {facts.drilled_ahead[0]}"
    )
    return [Finding("clock", False, state, advice)]


def _size(facts: BackupFacts) -> Finding:
    usual = _usual(facts.earlier_sizes_bytes)
    if facts.newest_label is None or not usual:
        return Finding("size", True, "nothing to compare with")
    share = facts.newest_size_bytes / usual
    state = f"the newest has {share:.0%} of what is usual"
    if share < _SHRUNK:
        advice = "compare the rows: casedb backups; then casedb drill latest"
        return Finding("size", False, state, advice)
    return Finding("size", True, state)


def _usual(sizes: Sequence[int]) -> float:
    return median(sizes[:_USUAL_OF]) if sizes else 0.0


def _drill(facts: BackupFacts, limits: Limits, now: datetime) -> Finding:
    if facts.failed_drill_label:
        return Finding(
            "drill",
            False,
            f"the last one failed: {facts.failed_drill_label}",
            "casedb dump, then casedb drill latest",
        )
    at, limit = facts.drilled_at, limits.drill_max_age
    found = _age("drill", facts.drilled_label, at, limit, now, "drill latest")
    left_out = ", without access" if facts.drilled_without_access else ""
    return replace(found, state=f"{found.state}{left_out}")


def _bucket(bucket: BucketFacts, limits: Limits) -> Finding:
    longest = format_age(limits.keep_longest)
    if bucket.unknown:
        return Finding(
            "bucket",
            False,
            f"what it keeps could not be read: {bucket.unknown}",
            "allow s3:GetBucketVersioning and s3:GetLifecycleConfiguration, or ask another host",
            known=False,
        )
    if not bucket.keeps_versions:
        return Finding(
            "bucket", False, "it keeps nothing that somebody deletes", "turn its versioning on"
        )
    days, expires = bucket.forgets_after_days, bucket.expires_after_days
    if expires is not None and timedelta(days=expires) < limits.keep_longest:
        state = f"it deletes backups after {expires}d, they are kept for up to {longest}"
        return Finding("bucket", False, state, "take Expiration out of its lifecycle")
    if days is not None and timedelta(days=days) < limits.keep_longest:
        state = f"it forgets what was deleted after {days}d, backups are kept for up to {longest}"
        return Finding("bucket", False, state, "lengthen NoncurrentDays of its lifecycle")
    if bucket.lock_days > 0 and timedelta(days=bucket.lock_days) < limits.keep_within:
        promised = format_age(limits.keep_within)
        state = f"it locks backups for {bucket.lock_days}d, they are kept for {promised}"
        return Finding("bucket", False, state, "raise lock_days in the store's address")
    kept = "for ever" if days is None else f"for {days}d"
    locked = f", locked for {bucket.lock_days}d" if bucket.lock_days else ""
    return Finding("bucket", True, f"keeps what is deleted {kept}{locked}")


def _age(
    check: str,
    label: str | None,
    at: datetime | None,
    limit: timedelta,
    now: datetime,
    command: str,
) -> Finding:
    if at is None:
        return Finding(check, False, "none", f"casedb {command}")
    age = now - at
    state = f"{format_age(age)} old: {label}"
    if age > limit:
        return Finding(check, False, f"{state} (limit {format_age(limit)})", f"casedb {command}")
    return Finding(check, True, state)
