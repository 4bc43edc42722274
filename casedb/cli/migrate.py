"""`casedb migrate`: the schema's versions."""

import click

from casedb import migrations
from casedb.cli.options import (
    confirm_option,
    json_option,
    require_confirmation,
    settings_options,
)
from casedb.cli.output import print_json, print_table, progress
from casedb.connections import Verb, target_for
from casedb.errors import ExitCode
from casedb.settings import Settings
from casedb.sqlfiles import folder


@click.group()
def migrate() -> None:
    """Apply, roll back and list migrations."""


@migrate.command()
@click.option("--wait", "wait_s", default=0.0, metavar="SECONDS", help="Wait for a busy lock.")
@json_option
@settings_options()
def apply(settings: Settings, wait_s: float, as_json: bool) -> None:
    """Apply the pending migrations, each in a transaction with its own mark.

    \b
    Example:
        casedb migrate apply
    """
    with progress("migrate") as on_step:
        applied = migrations.apply(
            target_for(settings, Verb.MIGRATE),
            source=folder("migrations"),
            on_step=on_step,
            wait_s=wait_s,
        )
    if as_json:
        print_json({"applied": applied})
        return
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("nothing to apply: the database is at the head")


@migrate.command()
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many, newest first.",
)
@confirm_option("the database's name")
@json_option
@settings_options()
def rollback(settings: Settings, count: int, confirm: str | None, as_json: bool) -> None:
    """Roll the newest migrations back. Asks: most rollbacks lose data.

    \b
    Example:
        casedb migrate rollback --count 1 --confirm case_management
    """
    target = target_for(settings, Verb.MIGRATE)
    found = migrations.status(target, source=folder("migrations"))
    names = [entry.id for entry in found.applied][-count:][::-1]
    if names:
        require_confirmation(
            f"This rolls back {', '.join(names)}.", settings.values.database, confirm
        )
    with progress("migrate") as on_step:
        undone = migrations.rollback(
            target, source=folder("migrations"), count=count, on_step=on_step
        )
    if as_json:
        print_json({"rolled_back": undone})
        return
    for name in undone:
        click.echo(f"rolled back {name}")
    if not undone:
        click.echo("nothing to roll back: no migration is applied")


@migrate.command()
@json_option
@settings_options()
def status(settings: Settings, as_json: bool) -> int:
    """List what is applied, when and by whom, and what is pending.

    Exit code 9 when something is pending or an applied file is not what it was.

    \b
    Example:
        casedb migrate status --json
    """
    found = migrations.status(target_for(settings, Verb.STATUS), source=folder("migrations"))
    if as_json:
        print_json(found)
    else:
        rows = [(e.id, f"{e.applied_at:%Y-%m-%d %H:%M:%S} UTC", e.by) for e in found.applied]
        rows += [(name, "pending", "") for name in found.pending]
        print_table(["migration", "applied", "by"], rows)
        for problem in found.problems:
            click.echo(f"problem: {problem}", err=True)
    return ExitCode.DIFFERENT if found.pending or found.problems else ExitCode.WELL
