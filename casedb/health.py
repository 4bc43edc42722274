"""Is everything well, and what to do if not. Pure: the facts come in, findings go out."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from casedb.ages import format_age

# The next backup may grow, and the one being written lies beside the old ones.
_FREE_TIMES_NEWEST = 3


@dataclass(frozen=True)
class ServerFacts:
    """What the server told."""

    version: str
    mark: str
    marked: bool
    head: str | None
    pending: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class BackupFacts:
    """What the store holds of the database; times are aware."""

    count: int
    newest_label: str | None
    newest_at: datetime | None
    newest_size_bytes: int
    drilled_label: str | None
    drilled_at: datetime | None
    damaged: tuple[str, ...]
    free_bytes: int | None


@dataclass(frozen=True)
class Limits:
    """Beyond which age something is not well any more."""

    backup_max_age: timedelta
    drill_max_age: timedelta


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    well: bool
    state: str
    advice: str | None = None
    """What to do; None when it is well."""


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
    return findings


def assess_backups(facts: BackupFacts, limits: Limits, *, now: datetime) -> list[Finding]:
    """Return what is to be said of the backups at `now`."""
    findings = [
        _age("backup", facts.newest_label, facts.newest_at, limits.backup_max_age, now, "dump"),
        _age(
            "drill",
            facts.drilled_label,
            facts.drilled_at,
            limits.drill_max_age,
            now,
            "drill latest",
        ),
    ]
    if facts.damaged:
        findings.append(
            Finding(
                "damage",
                False,
                f"{len(facts.damaged)} of {facts.count} damaged",
                "casedb backups",
            )
        )
    else:
        findings.append(Finding("damage", True, f"none known in {facts.count}"))
    if facts.free_bytes is not None:
        gib = facts.free_bytes / 2**30
        enough = facts.free_bytes >= _FREE_TIMES_NEWEST * facts.newest_size_bytes
        advice = None if enough else "casedb rotate --apply, or a larger disk"
        findings.append(Finding("disk", enough, f"{gib:.1f} GiB free for backups", advice))
    return findings


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
