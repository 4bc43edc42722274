"""`casedb drill`: restore a backup for real, and compare."""

from contextlib import nullcontext
from pathlib import Path

import click

from backups.catalog import LATEST, newer_damaged, newest_without_drill, resolve_label
from backups.drill import drill as restore_and_compare
from backups.records import UNRECORDED
from backups.reports import DrillReport
from backups.restore_words import damage_notes
from backups.sealing import Keys
from backups.stores import Store, open_store
from casedb.cli.options import another_store, json_option, key_option, keys_of, settings_options
from casedb.cli.output import print_error, print_json, print_table, progress, seconds
from casedb.cli.signals import Story, signals_after
from casedb.connections import client_tools
from casedb.errors import BackupDamagedError, CasedbError, ExitCode
from casedb.settings import Settings


@click.command()
@click.argument("label", default=LATEST)
@click.option(
    "--scratch",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder for the throwaway cluster.  [default: the system's for temporary files; of an "
    "encrypted backup memory, if it fits]",
)
@click.option("--all-stores", is_flag=True, help="Drill it in each configured store.")
@click.option("--newest-undrilled", is_flag=True, help="The newest that has not passed a drill.")
@click.option(
    "--without-access",
    is_flag=True,
    help="Leave the access matrix out: another application's database, an older migration.",
)
@click.option(
    "--container",
    is_flag=True,
    help="The cluster runs in a container (Docker); here are only PostgreSQL's client programs.",
)
@key_option
@json_option
@settings_options(store=True)
def drill(
    settings: Settings,
    label: str,
    scratch: Path | None,
    all_stores: bool,
    newest_undrilled: bool,
    without_access: bool,
    container: bool,
    key_file: Path | None,
    as_json: bool,
) -> int:
    """Restore a backup for real, and compare everything.

    Into a throwaway cluster: every table's rows and content, the catalog, the audit trail; then
    each role logs in and tries what it may do. LABEL is a label from `casedb backups`, or "latest".
    Needs no running server, and touches none. Exit code 9 when the restored database differs, 10
    when the drill could not be done.

    \b
    Example:
        casedb drill latest --json
    """
    if newest_undrilled and label != LATEST:
        raise click.UsageError("--newest-undrilled and a LABEL exclude each other.")
    keys: Keys | None = None
    urls = settings.store_urls if all_stores else settings.store_urls[:1]
    reports, worst = [], ExitCode.WELL
    for url in urls:
        try:
            with signals_after(settings, "drill", (url,)) as story:
                # Once for all stores: it may come out of a pipe.
                keys = keys or keys_of(settings, key_file)
                with nullcontext() if all_stores else another_store(settings):
                    report = _drill(
                        settings,
                        story,
                        open_store(url),
                        label,
                        scratch,
                        keys,
                        newest_undrilled=newest_undrilled,
                        with_access=not without_access,
                        in_container=container,
                    )
        except CasedbError as error:
            # With one store it is the answer; of several, each is told of.
            if len(urls) == 1:
                raise
            print_error(error)
            worst = max(worst, error.exit_code)
            continue
        if report is None:
            click.echo(f"{url}: every good backup has passed a drill", err=True)
            continue
        reports.append({"store": url, "report": report})
        if any(note.startswith(UNRECORDED) for note in report.notes):
            click.echo(
                f"WARNING: {report.label} passed, and nobody else will know: nothing was written "
                f"to {url}. To `casedb status`, `rotate` and --newest-undrilled it is not drilled.",
                err=True,
            )
        if not as_json:
            _print(report)
    if as_json:
        print_json({"drills": reports} if all_stores else reports[0]["report"] if reports else {})
    return worst


def _drill(
    settings: Settings,
    story: Story,
    store: Store,
    label: str,
    scratch: Path | None,
    keys: Keys | None,
    *,
    newest_undrilled: bool,
    with_access: bool,
    in_container: bool,
) -> DrillReport | None:
    database = settings.values.database
    if newest_undrilled:
        found = newest_without_drill(store, database, with_access=with_access)
        if found is None:
            return None
        backup = found
    else:
        backup = resolve_label(store, database, label)
        if label == LATEST:
            for note in damage_notes(newer_damaged(store, database, backup.label)):
                click.echo(note, err=True)
    story.label, story.size_bytes = backup.label, backup.size_bytes
    if backup.manifest is None:
        raise BackupDamagedError(
            f'backup "{backup.label}" has no readable manifest',
            detail=backup.damage,
            hint="Drill another one; `casedb backups` lists them.",
        )
    major = backup.manifest.server_major
    tools = client_tools(settings, major)
    image = settings.values.drill_image.replace("{major}", str(major)) if in_container else None
    with progress("drill") as tell:
        return restore_and_compare(
            store,
            backup.label,
            tools=tools,
            scratch=scratch,
            keys=keys,
            with_access=with_access,
            image=image,
            on_progress=tell,
        )


def _print(report: DrillReport) -> None:
    click.echo(
        f"{report.label}: restored and equal\n"
        f"{report.tables} tables, {report.rows} rows, {report.sequences} sequences, "
        f"{report.catalog_rows} facts of the catalog"
    )
    print_table(["phase", "time"], [(p, seconds(s)) for p, s in report.phases_s.items()])
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
