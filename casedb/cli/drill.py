"""`casedb drill`: restore a backup for real, and compare."""

from pathlib import Path

import click

from backups.catalog import LATEST, resolve_label
from backups.drill import drill as restore_and_compare
from backups.stores import open_store
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, print_table, progress, seconds
from casedb.connections import client_tools
from casedb.errors import BackupDamagedError
from casedb.settings import Settings


@click.command()
@click.argument("label", default=LATEST)
@click.option(
    "--scratch",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder for the throwaway cluster.  [default: the system's for temporary files]",
)
@json_option
@settings_options(store=True)
def drill(settings: Settings, label: str, scratch: Path | None, as_json: bool) -> None:
    """Restore a backup for real, and compare everything.

    Into a throwaway cluster: every table's rows and content, and the catalog. LABEL is a label from
    `casedb backups`, or "latest". Needs no running server, and touches none. Exit code 9 when the
    restored database differs, 10 when the drill could not be done.

    \b
    Example:
        casedb drill latest --json
    """
    store = open_store(settings.store_url)
    database = settings.values.database
    backup = resolve_label(store, database, label)
    if backup.manifest is None:
        raise BackupDamagedError(
            f'backup "{backup.label}" has no readable manifest',
            detail=backup.damage,
            hint="Drill another one; `casedb backups` lists them.",
        )
    tools = client_tools(settings, backup.manifest.server_major)
    with progress("drill") as tell:
        report = restore_and_compare(
            store, backup.label, tools=tools, scratch=scratch, on_progress=tell
        )
    if as_json:
        print_json(report)
        return
    click.echo(
        f"{report.label}: restored and equal\n"
        f"{report.tables} tables, {report.rows} rows, {report.sequences} sequences, "
        f"{report.catalog_rows} facts of the catalog"
    )
    print_table(["phase", "time"], [(p, seconds(s)) for p, s in report.phases_s.items()])
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
