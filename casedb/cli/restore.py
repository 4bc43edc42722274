"""`casedb restore`: a plan, a question, a restore beside what is there, and a swap of the names."""

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import click

from backups.attempt import Wish, plan_restore
from backups.catalog import LATEST, Backup, resolve_before, resolve_label, source_of
from backups.partial import restore_part
from backups.pooler import require_console
from backups.restore import restore as load
from backups.stores import Store, open_store
from casedb.cli.options import (
    another_store,
    confirm_option,
    json_option,
    key_option,
    keys_of,
    pooler_of,
    pooler_option,
    require_confirmation,
    settings_options,
)
from casedb.cli.output import print_json, progress
from casedb.cli.restore_output import print_part, print_plan, print_report
from casedb.cli.signals import Story, signals_after
from casedb.connections import Verb, client_tools, target_for
from casedb.database import connect, describe, server_major
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
@click.option("--table", "tables", multiple=True, help="Only this table, into a new database.")
@click.option("--schema-only", is_flag=True, help="Only the schema, into a new database.")
@click.option("--plan", "plan_only", is_flag=True, help="Say what would be done; change nothing.")
@click.option("--freeze", is_flag=True, help="Make the live database read-only from the start.")
@click.option("--again", is_flag=True, help="Also if the live database is this backup already.")
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
    tables: tuple[str, ...],
    schema_only: bool,
    plan_only: bool,
    freeze: bool,
    again: bool,
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
    --into nothing is swapped; --table and --schema-only then bring back a part, and show how the
    live database differs. LABEL is one from `casedb backups`, or "latest". Exit code 7 when it is
    refused, also with --plan.

    \b
    Example:
        casedb restore latest --plan
    """
    if before and label != LATEST:
        raise click.UsageError("--before and a LABEL exclude each other.")
    if new_name and freeze:
        raise click.UsageError("--freeze is for a live database, and --into makes a new one.")
    if (tables or schema_only) and (not new_name or (tables and schema_only)):
        raise click.UsageError("--table or --schema-only go with --into NAME.")
    # A plan is a look and no run.
    run = signals_after(settings, "restore", (settings.store_url,))
    with nullcontext(Story()) if plan_only else run as story:
        store = open_store(settings.store_url)
        with another_store(settings):
            backup = _chosen(store, settings.values.database, label, before)
        story.label, story.size_bytes = backup.label, backup.size_bytes
        database = new_name or settings.values.database
        admin = target_for(settings, Verb.RESTORE).replace(dbname="postgres")
        with connect(admin, purpose="restore") as connection:
            tools = client_tools(settings, server_major(connection))
            # The target's mark, not the source's: a copy on a development server is one itself.
            mark = Mark(chosen) if chosen else read_mark(connection, settings.values.database)
        wish = Wish(
            backup.label,
            database,
            replace=new_name is None,
            freeze=freeze,
            again=again,
            create_roles=create_roles,
            mark=mark,
            part=tables if tables or schema_only else None,
        )
        keys = keys_of(settings, key_file)
        console = pooler_of(settings, pooler) if wish.replace else None
        plan = plan_restore(
            store, wish, admin, tools=tools, keys=keys, scratch=scratch, pooler=console
        )
        console = console if plan.replaces else None
        if not plan.refusals:
            require_console(console)
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
        if wish.part is not None:
            with progress("restore") as tell:
                part = restore_part(
                    store,
                    wish,
                    admin,
                    tools=tools,
                    live=settings.values.database,
                    keys=keys,
                    scratch=scratch,
                    on_progress=tell,
                )
            story.tell(f'a part of it is in database "{part.database}"')
            print_json(part) if as_json else print_part(part, let_in=plan.roles_to_let_in)
            return ExitCode.WELL
        with progress("restore") as tell:
            report = load(
                store,
                wish,
                admin,
                tools=tools,
                keys=keys,
                scratch=scratch,
                pooler=console,
                on_progress=tell,
                on_done=lambda left: story.tell(
                    f'{backup.label} is now database "{database}"', left
                ),
            )
        if as_json:
            print_json(report)
        else:
            print_report(
                report,
                mark,
                let_in=plan.roles_to_let_in,
                documents=bool(settings.values.documents),
            )
        story.require_nothing_left()
    return ExitCode.WELL


def _chosen(store: Store, database: str, label: str, before: datetime | None) -> Backup:
    if before:
        return resolve_before(store, database, before)
    return resolve_label(store, source_of(store, label, database), label, certain=True)
