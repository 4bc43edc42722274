"""`casedb restore`: a backup into a new database."""

from pathlib import Path

import click

from backups.catalog import LATEST, resolve_label
from backups.restore import restore as load
from backups.stores import open_store
from casedb.cli.options import json_option, key_option, keys_of, settings_options
from casedb.cli.output import print_json, progress, seconds
from casedb.connections import Verb, client_tools, target_for
from casedb.database import connect
from casedb.marks import Mark, read_mark
from casedb.settings import Settings


@click.command()
@click.argument("label", default=LATEST)
@click.option("--into", "new_name", required=True, metavar="NAME", help="The new database's name.")
@click.option(
    "--mark",
    "chosen",
    type=click.Choice([m.value for m in Mark]),
    help="The new database's mark.  [default: that of the configured database on this server]",
)
@click.option("--create-roles", is_flag=True, help="Create missing roles from the backup.")
@key_option
@json_option
@settings_options(store=True)
def restore(
    settings: Settings,
    label: str,
    new_name: str,
    chosen: str | None,
    create_roles: bool,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Load a backup into a NEW database, beside what is there.

    Nothing existing is touched. LABEL is a label from `casedb backups`, or "latest". The database
    gets its name when all that the manifest promises is in it. Exit code 7 when there is a database
    of that name.

    \b
    Example:
        casedb restore latest --into case_management_copy
    """
    store = open_store(settings.store_url)
    backup = resolve_label(store, settings.values.database, label)
    admin = target_for(settings, Verb.RESTORE).replace(dbname="postgres")
    with connect(admin, purpose="restore") as connection:
        tools = client_tools(settings, connection.info.server_version // 10000)
        # The target's mark, not the source's: a copy on a development server is for development.
        mark = Mark(chosen) if chosen else read_mark(connection, settings.values.database)
    with progress("restore") as tell:
        report = load(
            store,
            backup.label,
            admin,
            new_name,
            tools=tools,
            mark=mark,
            create_roles=create_roles,
            keys=keys_of(settings, key_file),
            on_progress=tell,
        )
    if as_json:
        print_json(report)
        return
    click.echo(
        f'{report.label} is now database "{new_name}", marked {mark.value}\n'
        f"{report.tables} tables, {report.rows} rows, as the manifest says "
        f"({seconds(report.duration_s)})"
    )
    click.echo(f"Look at it: casedb shell --database {new_name}", err=True)
