"""`casedb rotate`: retention."""

from datetime import UTC, datetime, timedelta

import click

from backups.retention import Retention
from backups.rotate import rotate as expire
from backups.stores import open_store
from casedb.ages import format_age, parse_age
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, print_table
from casedb.settings import Settings


def _age(_ctx: click.Context, _param: click.Parameter, value: str | None) -> timedelta | None:
    return parse_age(value) if value is not None else None


@click.command()
@click.option("--keep-for", callback=_age, help="Expire backups older than this (36h, 14d, 8w).")
@click.option("--keep-at-least", type=click.IntRange(min=1), help="Never fewer, whatever the age.")
@click.option("--apply", "apply_it", is_flag=True, help="Delete; without it nothing is deleted.")
@json_option
@settings_options(store=True)
def rotate(
    settings: Settings,
    keep_for: timedelta | None,
    keep_at_least: int | None,
    apply_it: bool,
    as_json: bool,
) -> None:
    """Delete expired backups; only says which without --apply.

    The newest backup, the newest that passed a drill, and the newest --keep-at-least good ones stay
    whatever their age; a damaged one counts for nothing and stays too.

    \b
    Example:
        casedb rotate --keep-for 8w
    """
    policy = Retention(
        settings.values.keep_for if keep_for is None else keep_for,
        settings.values.keep_at_least if keep_at_least is None else keep_at_least,
    )
    now = datetime.now(UTC)
    store = open_store(settings.store_url)
    plan = expire(store, settings.values.database, policy, now=now, apply=apply_it)
    if as_json:
        entries = [
            {"label": e.backup.label, "kept": e.kept, "reason": e.reason} for e in plan.entries
        ]
        print_json(
            {
                "applied": apply_it,
                "entries": entries,
                "deleted": plan.deleted,
                "in_use": plan.in_use,
            }
        )
        return
    rows = []
    for entry in plan.entries:
        age = entry.backup.age(now)
        fate = "keep" if entry.kept else "would delete"
        if entry.backup.label in plan.deleted:
            fate = "deleted"
        elif entry.backup.label in plan.in_use:
            fate = "in use, kept"
        rows.append((entry.backup.label, format_age(age) if age else "unknown", fate, entry.reason))
    print_table(["backup", "age", "fate", "because"], rows)
    if plan.expired and not apply_it:
        click.echo("Nothing was deleted. To delete: casedb rotate --apply", err=True)
