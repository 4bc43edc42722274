"""`casedb backups`: what there is."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from backups.catalog import Backup, catalog
from backups.clocks import is_from_the_future
from backups.manifest import Manifest
from backups.reports import DrillReport
from backups.stores import open_store
from casedb.ages import format_age
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import each_store, print_json, print_table, seconds, size
from casedb.settings import Settings


@click.command()
@json_option
@settings_options(store=True)
def backups(settings: Settings, as_json: bool) -> None:
    """List the backups: age, size, when proven, restores in.

    Newest first. Needs no server. Damaged backups are listed, not hidden. A store that cannot be
    read does not hide the others, and the exit code tells.

    \b
    Example:
        casedb backups
    """
    database = settings.values.database
    found: dict[str, Sequence[Backup]] = {}

    def look_into(url: str) -> None:
        found[url] = catalog(open_store(url), database)

    failure = each_store(settings.store_urls, look_into)
    several = len(settings.store_urls) > 1
    now = datetime.now(UTC)
    if as_json and found:
        shown = [
            {"store": url, "database": database, "backups": [_shown(b, now) for b in backups]}
            for url, backups in found.items()
        ]
        print_json({"stores": shown} if several else shown[0])
    elif not as_json:
        for url, backups in found.items():
            if several:
                click.echo(url)
            _print(backups, url, database, now)
    if failure:
        raise failure


def _print(found: Sequence[Backup], url: str, database: str, now: datetime) -> None:
    if not found:
        click.echo(f'no backups of database "{database}" in {url}')
        click.echo("Take one: casedb dump", err=True)
        return
    headings = ["backup", "age", "size", "rows", "verified", "drilled", "restores in"]
    print_table(headings, [_row(backup, now) for backup in found])
    for backup in found:
        if backup.damage:
            click.echo(f"{backup.label} is damaged: {backup.damage}", err=True)


def _row(backup: Backup, now: datetime) -> tuple[str, ...]:
    drilled = backup.drilled
    return (
        backup.label,
        _age(backup.taken_at, now) if backup.taken_at else "unknown",
        size(backup.size_bytes),
        _rows(backup.manifest),
        "DAMAGED" if backup.damage else _proof(backup.verified, now),
        f"{_proof(drilled, now)}{_left_out(drilled)}",
        seconds(drilled.recovery_s) if drilled and drilled.outcome == "passed" else "",
    )


def _rows(manifest: Manifest | None) -> str:
    if manifest is None:
        return ""
    # How many there are is part of what is encrypted.
    return "encrypted" if manifest.recipients else str(manifest.rows)


def _proof(report: object, now: datetime) -> str:
    outcome, at = getattr(report, "outcome", None), getattr(report, "at", None)
    if outcome is None or not isinstance(at, datetime):
        return "never"
    return _age(at, now, " ago") if outcome == "passed" else "FAILED"


def _age(at: datetime, now: datetime, ago: str = "") -> str:
    if is_from_the_future(at, now=now):
        return "from the future"
    return f"{format_age(now - at)}{ago}"


def _left_out(drilled: DrillReport | None) -> str:
    if drilled is None or drilled.outcome != "passed" or drilled.access_probed:
        return ""
    return ", without access"


def _shown(backup: Backup, now: datetime) -> dict[str, object]:
    sealed = bool(backup.manifest and backup.manifest.recipients)
    return {
        "label": backup.label,
        "taken_at": backup.taken_at,
        "age_s": backup.age(now),
        "size_bytes": backup.size_bytes,
        "rows": None if sealed else backup.manifest.rows if backup.manifest else None,
        "recipients": backup.manifest.recipients if backup.manifest else (),
        "damage": backup.damage,
        "verified": backup.verified,
        "drilled": backup.drilled,
    }
