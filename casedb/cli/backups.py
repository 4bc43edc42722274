"""`casedb backups`: what there is."""

from datetime import UTC, datetime

import click

from backups.catalog import Backup, catalog
from backups.stores import open_store
from casedb.ages import format_age
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, print_table, seconds, size
from casedb.settings import Settings


@click.command()
@json_option
@settings_options(store=True)
def backups(settings: Settings, as_json: bool) -> None:
    """List the backups: age, size, when proven, restores in.

    Newest first. Needs no server. Damaged backups are listed, not hidden.

    \b
    Example:
        casedb backups
    """
    store = open_store(settings.store_url)
    found = catalog(store, settings.values.database)
    now = datetime.now(UTC)
    if as_json:
        shown = [_shown(backup, now) for backup in found]
        print_json({"store": store.url, "database": settings.values.database, "backups": shown})
        return
    if not found:
        click.echo(f'no backups of database "{settings.values.database}" in {store.url}')
        click.echo("Take one: casedb dump", err=True)
        return
    headings = ["backup", "age", "size", "rows", "verified", "drilled", "restores in"]
    print_table(headings, [_row(backup, now) for backup in found])
    for backup in found:
        if backup.damage:
            click.echo(f"{backup.label} is damaged: {backup.damage}", err=True)


def _row(backup: Backup, now: datetime) -> tuple[str, ...]:
    age = backup.age(now)
    drilled = backup.drilled
    return (
        backup.label,
        format_age(age) if age is not None else "unknown",
        size(backup.size_bytes),
        str(backup.manifest.rows) if backup.manifest else "",
        "DAMAGED" if backup.damage else _proof(backup.verified, now),
        _proof(drilled, now),
        seconds(drilled.recovery_s) if drilled and drilled.outcome == "passed" else "",
    )


def _proof(report: object, now: datetime) -> str:
    outcome, at = getattr(report, "outcome", None), getattr(report, "at", None)
    if outcome is None or not isinstance(at, datetime):
        return "never"
    return f"{format_age(now - at)} ago" if outcome == "passed" else "FAILED"


def _shown(backup: Backup, now: datetime) -> dict[str, object]:
    return {
        "label": backup.label,
        "taken_at": backup.taken_at,
        "age_s": backup.age(now),
        "size_bytes": backup.size_bytes,
        "rows": backup.manifest.rows if backup.manifest else None,
        "damage": backup.damage,
        "verified": backup.verified,
        "drilled": backup.drilled,
    }
