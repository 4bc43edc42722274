"""`casedb verify`: are a backup's bytes what its manifest says?"""

import click

from backups.catalog import LATEST, resolve_label
from backups.stores import open_store
from backups.verify import verify as check_bytes
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, progress, seconds, size
from casedb.settings import Settings


@click.command()
@click.argument("label", default=LATEST)
@json_option
@settings_options(store=True)
def verify(settings: Settings, label: str, as_json: bool) -> None:
    """Check every byte of a backup against its manifest.

    Needs no server. LABEL is a label from `casedb backups`, or "latest" (also when that one is
    known to be damaged). Exit code 6 when the backup is damaged.

    \b
    Example:
        casedb verify latest
    """
    store = open_store(settings.store_url)
    backup = resolve_label(store, settings.values.database, label, good_only=False)
    with progress("verify") as tell:
        report = check_bytes(store, backup.label, on_progress=tell)
    if as_json:
        print_json(report)
        return
    click.echo(
        f"{report.label}: {report.files} files, {size(report.size_bytes)}, as the manifest says "
        f"({seconds(report.duration_s)})"
    )
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
