"""`casedb restore`: a plan, a question, a restore beside what is there, and a swap of the names."""

import textwrap
from datetime import UTC, datetime
from pathlib import Path

import click

from backups.catalog import LATEST, Backup, resolve_before, resolve_label, source_of
from backups.records import RestoreReport
from backups.restore import Wish, plan_restore
from backups.restore import restore as load
from backups.restore_plan import RestorePlan
from backups.stores import Store, open_store
from casedb.ages import format_age
from casedb.cli.options import (
    confirm_option,
    json_option,
    key_option,
    keys_of,
    pooler_of,
    pooler_option,
    require_confirmation,
    settings_options,
)
from casedb.cli.output import MAX_COLUMNS, print_json, print_table, progress, seconds, size
from casedb.connections import Verb, client_tools, target_for
from casedb.database import connect, describe
from casedb.errors import ExitCode
from casedb.marks import Mark, read_mark
from casedb.settings import Settings


def _moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f'"{value}" is no time such as "2026-11-22 02:00".') from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


@click.command()
@click.argument("label", default=LATEST)
@click.option("--before", callback=_moment, metavar="TIME", help="The newest from before, in UTC.")
@click.option("--into", "new_name", metavar="NAME", help="Into a new database of this name.")
@click.option("--plan", "plan_only", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--freeze", is_flag=True, help="Make the live database read-only from the start.")
@click.option("--create-roles", is_flag=True, help="Create missing roles from the backup.")
@click.option(
    "--mark",
    "chosen",
    type=click.Choice([m.value for m in Mark]),
    help="A new database's mark.  [default: that of the configured database on this server]",
)
@click.option(
    "--scratch",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder for the unpacked archive.  [default: the system's]",
)
@pooler_option
@key_option
@confirm_option("the database's name")
@json_option
@settings_options(store=True)
def restore(
    settings: Settings,
    label: str,
    before: datetime | None,
    new_name: str | None,
    plan_only: bool,
    freeze: bool,
    create_roles: bool,
    chosen: str | None,
    scratch: Path | None,
    pooler: str | None,
    key_file: Path | None,
    confirm: str | None,
    as_json: bool,
) -> int:
    """Restore a backup: beside what is there, then swap.

    Shows a plan and asks. The backup is loaded into a new database and compared with its manifest;
    then the names are swapped in one transaction, and the old database is kept, read-only. With
    --into nothing is swapped. LABEL is one from `casedb backups`, or "latest". Exit code 7 when it
    is refused, also with --plan.

    \b
    Example:
        casedb restore latest --plan
    """
    if before and label != LATEST:
        raise click.UsageError("--before and a LABEL exclude each other.")
    if new_name and freeze:
        raise click.UsageError("--freeze is for a live database, and --into makes a new one.")
    store = open_store(settings.store_url)
    backup = _chosen(store, settings.values.database, label, before)
    database = new_name or settings.values.database
    admin = target_for(settings, Verb.RESTORE).replace(dbname="postgres")
    with connect(admin, purpose="restore") as connection:
        tools = client_tools(settings, connection.info.server_version // 10000)
        # The target's mark, not the source's: a copy on a development server is for development.
        mark = Mark(chosen) if chosen else read_mark(connection, settings.values.database)
    wish = Wish(
        backup.label,
        database,
        replace=new_name is None,
        freeze=freeze,
        create_roles=create_roles,
        mark=mark,
    )
    keys = keys_of(settings, key_file)
    plan = plan_restore(store, wish, admin, tools=tools, keys=keys)
    if plan_only and as_json:
        print_json(plan)
    elif not as_json:
        print_plan(plan, describe(admin.replace(dbname=database)))
    if plan_only:
        return ExitCode.REFUSED if plan.refusals else ExitCode.WELL
    plan.require()
    if plan.replaces:
        question = f'Database "{database}" is live. It is replaced by {backup.label} and kept.'
        require_confirmation(question, database, confirm)
    with progress("restore") as tell:
        report = load(
            store,
            wish,
            admin,
            tools=tools,
            keys=keys,
            scratch=scratch,
            pooler=pooler_of(settings, pooler),
            on_progress=tell,
        )
    if as_json:
        print_json(report)
    else:
        _print(report, mark, settings)
    return ExitCode.WELL


def _chosen(store: Store, database: str, label: str, before: datetime | None) -> Backup:
    if before:
        return resolve_before(store, database, before)
    return resolve_label(store, source_of(store, label, database), label)


def print_plan(plan: RestorePlan, where: str) -> None:
    """Print a plan for people: what there is, what will be done, and what stands against it."""
    print_table(["", "the plan"], _rows(plan, where))
    click.echo()
    lines = [f"{number}. {step}" for number, step in enumerate(plan.steps, 1)]
    for line in [*lines, *(f"note: {note}" for note in plan.notes)]:
        click.echo(textwrap.fill(line, MAX_COLUMNS, subsequent_indent="   "))
    click.echo()
    for refusal in plan.refusals:
        click.echo(f"REFUSED: {refusal.message}\n  {refusal.detail}\n  {refusal.hint}")


def _rows(plan: RestorePlan, where: str) -> list[tuple[str, str]]:
    drilled = plan.drilled
    proof = (
        f"drilled {drilled.at:%Y-%m-%d %H:%M} UTC: {drilled.outcome}"
        if drilled
        else "never drilled"
    )
    rows = [
        ("backup", f"{plan.label} of {plan.store}"),
        (
            "taken",
            f"{plan.taken_at:%Y-%m-%d %H:%M:%S} UTC, {format_age(plan.age)} ago; "
            "what was written since is not in it",
        ),
        ("proof", proof),
        ("server", f"PostgreSQL {plan.server.version}, {where}"),
        ("live", _live(plan)),
    ]
    if plan.live:
        rows.append(("written since", _written(plan)))
    free = plan.server.free_bytes
    rows += [
        ("disk", f"needs {size(plan.need_bytes)}, {size(free) if free else 'unknown'} free"),
        ("roles", _roles(plan)),
    ]
    took = plan.estimate
    rows.append(
        (
            "takes about",
            f"{seconds(took.seconds)}, by the drill of {took.drilled_label}"
            if took
            else "unknown: nothing was drilled yet",
        )
    )
    return rows


def _live(plan: RestorePlan) -> str:
    live = plan.live
    if live is None:
        return "no: there is no database of this name yet"
    mark = live.mark.value if live.is_marked else "production (it has no mark)"
    lines = [f"yes: {size(live.size_bytes)}, marked {mark}, {live.session_count} sessions"]
    lines += [
        f"{s.sessions} of {s.role} from {s.address}, {s.program}, {s.busy} busy"
        for s in live.sessions
    ]
    return "\n".join(lines)


def _written(plan: RestorePlan) -> str:
    assert plan.live is not None
    if plan.live.written is None:
        return "could not be counted"
    lines = [
        f"{w.table}: {w.rows_in_backup} rows in the backup, {w.rows_now} now"
        for w in plan.live.written
    ]
    return "\n".join(lines) or "every table has as many rows as in the backup"


def _roles(plan: RestorePlan) -> str:
    lines = [f"missing: {', '.join(plan.missing_roles)}" if plan.missing_roles else "all there"]
    if plan.roles_to_let_in:
        lines.append(f"need LOGIN and a password afterwards: {', '.join(plan.roles_to_let_in)}")
    return "\n".join(lines)


def _print(report: RestoreReport, mark: Mark, settings: Settings) -> None:
    roots = "" if report.same_roots is None else ", the heads of the audit trail"
    click.echo(
        f'{report.label} is now database "{report.database}"'
        + ("" if report.swap else f", marked {mark.value}")
        + f"\n{report.tables} tables, {report.rows} rows, {report.catalog_rows} facts of the "
        f"catalog{roots}: as the manifest says ({seconds(report.duration_s)})"
    )
    print_table(["phase", "time"], [(p, seconds(s)) for p, s in report.phases_s.items()])
    if report.created_roles:
        click.echo(f"created without login: {', '.join(report.created_roles)}")
    if swap := report.swap:
        click.echo(
            f"unavailable for {swap.unavailable_s:.2f} s; {swap.ended_sessions} sessions ended\n"
            f'the old database is kept, read-only: "{swap.kept}"'
        )
        if swap.not_restored is None:
            click.echo("what was written since the backup could not be counted")
        else:
            click.echo("written since the backup, and in the kept database only:")
            for line in swap.not_restored or ("nothing",):
                click.echo(f"  {line}")
        click.echo("Back again: casedb undo-restore", err=True)
    else:
        click.echo(f"Look at it: casedb shell --database {report.database}", err=True)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    if settings.values.documents:
        words = f" --database {report.database}" if not report.swap else ""
        click.echo(f"Do the documents agree with it? casedb documents check{words}", err=True)
