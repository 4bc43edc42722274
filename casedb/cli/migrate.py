"""`casedb migrate`: the schema's versions."""

from collections.abc import Callable
from pathlib import Path

import click

from casedb import migrations
from casedb.cli.migrate_guard import backup_first, tell_only
from casedb.cli.migrate_output import plan_lines
from casedb.cli.options import (
    confirm_option,
    json_option,
    require_confirmation,
    settings_options,
)
from casedb.cli.output import print_json, print_table, progress
from casedb.connections import Verb, client_tools, embedded_tools, target_for
from casedb.errors import ExitCode, RefusedError
from casedb.migrations.check import check as check_migrations
from casedb.migrations.new import new as write_new
from casedb.migrations.plan import plan as make_plan
from casedb.migrations.repair import repair as repair_indexes
from casedb.settings import Settings
from casedb.sqlfiles import folder

_source = click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="The folder of migrations.  [default: this project's own]",
)
_wait = click.option(
    "--wait", "wait_s", default=0.0, metavar="SECONDS", help="Wait for another run to end."
)


@click.group()
def migrate() -> None:
    """Plan, apply, roll back and list migrations."""


@migrate.command()
@_source
@json_option
@settings_options()
def plan(settings: Settings, source: Path | None, as_json: bool) -> int:
    """Show what is pending and what each of it will lock, rewrite and lose; changes nothing.

    The pending migrations are rehearsed on an empty copy of the live schema, in a throwaway
    server, and their locks are read there before the commit. Sizes are those of the live tables.
    Exit code 9 when `apply` would refuse or fail.

    \b
    Example:
        casedb migrate plan
    """
    with progress("plan") as on_step:
        found = make_plan(
            target_for(settings, Verb.MIGRATE),
            source=source or folder("migrations"),
            tools=lambda major: client_tools(settings, major),
            on_step=on_step,
        )
    if as_json:
        print_json(found)
    else:
        for line in plan_lines(found):
            click.echo(line)
    fails = found.problems or any(migration.failure for migration in found.pending)
    return ExitCode.DIFFERENT if fails else ExitCode.WELL


@migrate.command()
@_wait
@confirm_option("the database's name: lose data without a backup")
@_source
@json_option
@settings_options(store=True)
def apply(
    settings: Settings,
    source: Path | None,
    wait_s: float,
    confirm: str | None,
    as_json: bool,
) -> None:
    """Apply the pending migrations, each in a transaction with its own mark.

    Never asks. What throws data away (drops a table or column, changes a type, truncates,
    deletes) waits for a backup that is taken and verified first; where that fails it is refused
    (exit code 7), unless --confirm says that it may be lost.

    \b
    Example:
        casedb migrate apply --wait 60
    """
    database = settings.values.database
    if confirm is not None and confirm != database:
        raise RefusedError(
            "not confirmed, nothing was done",
            detail=f'"{confirm}" was given where "{database}" was asked for.',
            hint=f"Give --confirm {database}, or nothing.",
        )
    with progress("migrate") as tell:
        guard = backup_first(
            settings,
            tell,
            way_out=f"Mend what kept the backup, or give --confirm {database} to lose it.",
        )
        applied = migrations.apply(
            target_for(settings, Verb.MIGRATE),
            source=source or folder("migrations"),
            on_step=_telling(tell),
            wait_s=wait_s,
            before_destructive=tell_only if confirm else guard,
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
@_wait
@confirm_option("the database's name")
@click.option("--no-backup", is_flag=True, help="Lose data without a backup.")
@_source
@json_option
@settings_options(store=True)
def rollback(
    settings: Settings,
    source: Path | None,
    count: int,
    wait_s: float,
    confirm: str | None,
    no_backup: bool,
    as_json: bool,
) -> None:
    """Roll the newest migrations back. Asks; and where data is lost, takes a backup first.

    Refused (exit code 7) when one of them has no rollback file, or when data would be lost and no
    backup can be taken.

    \b
    Example:
        casedb migrate rollback --count 1 --confirm case_management
    """
    target = target_for(settings, Verb.MIGRATE)
    chosen = source or folder("migrations")
    found = migrations.status(target, source=chosen)
    names = [entry.id for entry in found.applied][-count:][::-1]
    if names:
        require_confirmation(
            f"This rolls back {', '.join(names)}.", settings.values.database, confirm
        )
    with progress("migrate") as tell:
        guard = backup_first(
            settings, tell, way_out="Mend what kept the backup, or give --no-backup to lose it."
        )
        undone = migrations.rollback(
            target,
            source=chosen,
            count=count,
            on_step=_telling(tell),
            wait_s=wait_s,
            before_destructive=tell_only if no_backup else guard,
        )
    if as_json:
        print_json({"rolled_back": undone})
        return
    for name in undone:
        click.echo(f"rolled back {name}")
    if not undone:
        click.echo("nothing to roll back: no migration is applied")


@migrate.command()
@_source
@json_option
@settings_options()
def status(settings: Settings, source: Path | None, as_json: bool) -> int:
    """List what is applied, when and by whom, and what is pending.

    Exit code 9 when something is pending or unfinished, or an applied file is not what it was.

    \b
    Example:
        casedb migrate status --json
    """
    found = migrations.status(
        target_for(settings, Verb.STATUS), source=source or folder("migrations")
    )
    if as_json:
        print_json(found)
    else:
        rows = [
            (e.id, f"{e.applied_at:%Y-%m-%d %H:%M:%S} UTC", e.by, str(e.checksum))
            for e in found.applied
        ]
        rows += [(name, "pending", "", "") for name in found.pending]
        print_table(["migration", "applied", "by", "file"], rows)
        for name in found.unfinished:
            click.echo(f"unfinished: {name}; the next run carries on with it", err=True)
        for problem in found.problems:
            click.echo(f"problem: {problem}", err=True)
    different = found.pending or found.problems or found.unfinished
    return ExitCode.DIFFERENT if different else ExitCode.WELL


@migrate.command()
@click.argument("name")
@_source
@json_option
def new(name: str, source: Path | None, as_json: bool) -> None:
    """Write the next migration, called NAME (verb-object), and its rollback.

    \b
    Example:
        casedb migrate new add-deadline
    """
    path, rollback_path = write_new(name, source=source or folder("migrations"))
    if as_json:
        print_json({"migration": path, "rollback": rollback_path})
        return
    click.echo(path)
    click.echo(rollback_path)


@migrate.command()
@_source
@click.option(
    "--contract",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="What the back end asked of the previous head: a folder, instead of git.",
)
@json_option
@settings_options()
def check(settings: Settings, source: Path | None, contract: Path | None, as_json: bool) -> int:
    """For CI: every migration up, down and up again in a throwaway server; lint; the contract.

    Compares the schema after every step, wants exactly one head, runs squawk and the catalog
    checks, and tries the named queries and the Prisma schema of the previous head on the new one.
    Touches no server that is there. Exit code 9 when there is a finding.

    \b
    Example:
        casedb migrate check
    """
    with progress("check") as on_step:
        report = check_migrations(
            source=source or folder("migrations"),
            tools=embedded_tools(settings),
            on_step=on_step,
            recorded=contract,
        )
    if as_json:
        print_json(report)
    else:
        for finding in report.findings:
            click.echo(f"{finding.check}: {finding.where}: {finding.message}")
        for note in report.notes:
            click.echo(f"not checked: {note}")
        found = f"{len(report.findings)} findings" if report.findings else "nothing found"
        kept = f", contract of {report.contract} kept" if report.contract else ""
        click.echo(f"{found} in {report.migrations} migrations{'' if report.findings else kept}")
    return ExitCode.DIFFERENT if report.findings else ExitCode.WELL


@migrate.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
@_wait
@_source
@json_option
@settings_options()
def repair(
    settings: Settings, source: Path | None, wait_s: float, dry_run: bool, as_json: bool
) -> None:
    """Drop or rebuild the indexes that a killed CREATE INDEX CONCURRENTLY has left invalid.

    Loses nothing: no query uses such an index. One that a pending migration makes is dropped, and
    built by the next `apply`; every other one is rebuilt.

    \b
    Example:
        casedb migrate repair --dry-run
    """
    with progress("repair") as on_step:
        done = repair_indexes(
            target_for(settings, Verb.MIGRATE),
            source=source or folder("migrations"),
            dry_run=dry_run,
            on_step=_telling(on_step),
            wait_s=wait_s,
        )
    if as_json:
        print_json({"dry_run": dry_run, "repairs": done})
        return
    for one in done:
        verb = f"would {one.action}" if dry_run else f"{one.action}:"
        click.echo(f"{verb} {one.index} on {one.table}. {one.why}")
    if not done:
        click.echo("nothing to repair: every index is valid")


def _telling(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Return `tell`, saying what matters also where no progress is shown."""

    def on_step(step: str) -> None:
        tell(step)
        if not step.startswith(("applying", "applied", "rolling back", "rolled back")):
            click.echo(step, err=True)

    return on_step
