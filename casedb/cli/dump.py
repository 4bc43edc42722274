"""`casedb dump`: one backup, with its proof."""

from collections.abc import Iterable

import click

from backups.client_holes import warnings_of
from backups.manifest import Manifest
from backups.stores import open_store
from backups.stores.several import SeveralStores
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, progress, seconds, size
from casedb.cli.signals import signals_after
from casedb.cli.taking import form_of, take_backup
from casedb.connections import Verb, client_tools, target_for
from casedb.database import connect, server_major
from casedb.errors import ToolFailedError
from casedb.settings import Settings


@click.command()
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="AGE1...",
    help="Encrypt to this public key; may be given several times.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 16),
    metavar="N",
    help="So many sessions read a large table at once.  [default: 1]",
)
@click.option(
    "--copy-format",
    type=click.Choice(["auto", "text"]),
    help="How rows are written: large tables in binary where that is as small, or all as text, "
    "which pg_restore can print as SQL.  [default: auto]",
)
@click.option(
    "--compress",
    "level",
    type=click.IntRange(1, 19),
    metavar="LEVEL",
    help="zstd's level: 9 takes twice as long for 8 % less.  [default: the best for its work]",
)
@json_option
@settings_options(store=True)
def dump(
    settings: Settings,
    recipients: tuple[str, ...],
    jobs: int | None,
    copy_format: str | None,
    level: int | None,
    as_json: bool,
) -> None:
    """Take one backup, with the proof of what must come back.

    Rows and content of every table are recorded in the very snapshot that is dumped. The backup
    appears in a store when it is complete, or not at all. Of several stores each gets all of it; a
    store that fails does not keep it from the others, and the exit code tells.

    \b
    Example:
        casedb dump --store /var/backups/casedb
    """
    with signals_after(settings, "dump", settings.store_urls) as story:
        opened = [open_store(url) for url in settings.store_urls]
        stores = SeveralStores(opened)
        target = target_for(settings, Verb.DUMP)
        with connect(target, purpose="dump") as connection:
            tools = client_tools(settings, server_major(connection))
        # Before hours of work, and whatever comes of them; the manifest keeps it as well.
        known = warnings_of(tools.version)
        _warn(known)
        with progress("dump") as tell:
            manifest = take_backup(
                settings,
                target,
                stores,
                tools=tools,
                form=form_of(settings, jobs=jobs, copy_format=copy_format, level=level),
                recipients=recipients,
                on_progress=tell,
            )
        _warn(warning for warning in manifest.warnings if warning not in known)
        story.label, story.size_bytes = manifest.label, manifest.size_bytes
        if not stores.failures:
            story.done.append(f'backup "{manifest.label}" is complete')
        if as_json:
            print_json(manifest)
        else:
            took = seconds(manifest.ended_at - manifest.started_at)
            click.echo(
                f"{manifest.label}: {len(manifest.tables)} tables, {manifest.rows} rows, "
                f"{size(manifest.size_bytes)}, {took}, {_for_whom(manifest)}"
            )
        _require_everywhere(manifest.label, stores)
    if not as_json:
        click.echo("Prove it: casedb drill latest", err=True)


def _for_whom(manifest: Manifest) -> str:
    count = len(manifest.recipients)
    return f"encrypted for {count} recipient{'s' * (count > 1)}" if count else "not encrypted"


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def _require_everywhere(label: str, stores: SeveralStores) -> None:
    if stores.failures:
        raise ToolFailedError(
            f'backup "{label}" is complete, but not in every store',
            detail="\n".join(
                f"{url}: {error.message}: {error.detail or ''}"
                for url, error in stores.failures.items()
            ),
            hint="Mend the store; the next dump writes to it again.",
        )
