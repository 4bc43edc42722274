"""`casedb dump`: one backup, with its proof."""

import click

from backups.dump import dump as take_backup
from backups.stores import open_store
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, progress, seconds, size
from casedb.connections import Verb, client_tools, target_for
from casedb.database import connect
from casedb.settings import Settings


@click.command()
@json_option
@settings_options(store=True)
def dump(settings: Settings, as_json: bool) -> None:
    """Take one backup, with the proof of what must come back.

    Rows and content of every table are recorded in the very snapshot that is dumped. The backup
    appears in the store when it is complete and on the disk, or not at all.

    \b
    Example:
        casedb dump --store /var/backups/casedb
    """
    target = target_for(settings, Verb.DUMP)
    with connect(target, purpose="dump") as connection:
        tools = client_tools(settings, connection.info.server_version // 10000)
    with progress("dump") as tell:
        manifest = take_backup(
            target, open_store(settings.store_url), tools=tools, on_progress=tell
        )
    if as_json:
        print_json(manifest)
        return
    took = seconds(manifest.ended_at - manifest.started_at)
    click.echo(
        f"{manifest.label}: {len(manifest.tables)} tables, {manifest.rows} rows, "
        f"{size(manifest.size_bytes)}, {took}"
    )
    click.echo("Prove it: casedb drill latest", err=True)
