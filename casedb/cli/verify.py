"""`casedb verify`: are a backup's bytes what its manifest says?"""

from pathlib import Path

import click

from backups.catalog import LATEST, resolve_label
from backups.chain import check_chain, read_head
from backups.sealing import Keys
from backups.stores import Store, open_store
from backups.verify import verify as check_bytes
from casedb.cli.options import another_store, json_option, key_option, keys_of, settings_options
from casedb.cli.output import print_json, print_table, progress, seconds, size
from casedb.cli.signals import signals_after
from casedb.connections import named_tools
from casedb.errors import BackupDamagedError
from casedb.settings import Settings


@click.command()
@click.argument("label", default=LATEST)
@click.option("--chain", is_flag=True, help="Check instead that no backup was changed or removed.")
@key_option
@json_option
@settings_options(store=True)
def verify(
    settings: Settings, label: str, chain: bool, key_file: Path | None, as_json: bool
) -> None:
    """Check every byte of a backup against its manifest.

    Needs no server, and no key: with one, an encrypted archive is opened as well. LABEL is a label
    from `casedb backups`, or "latest" (also when that one is known to be damaged). With --chain,
    all of them, by what each says of the one before it; with a key, also by who wrote that one was
    deleted on purpose. Exit code 6 when a backup is damaged.

    \b
    Example:
        casedb verify latest
    """
    with signals_after(settings, "verify", (settings.store_url,)) as story:
        store = open_store(settings.store_url)
        keys = keys_of(settings, key_file)
        if chain:
            _verify_chain(settings, store, keys, as_json)
            return
        with another_store(settings):
            backup = resolve_label(store, settings.values.database, label, good_only=False)
        story.label, story.size_bytes = backup.label, backup.size_bytes
        made_by = backup.manifest
        tools = named_tools(settings, made_by.server_major) if made_by else None
        with progress("verify") as tell:
            report = check_bytes(store, backup.label, tools=tools, keys=keys, on_progress=tell)
    if as_json:
        print_json(report)
        return
    click.echo(
        f"{report.label}: {report.files} files, {size(report.size_bytes)}, as the manifest says "
        f"({seconds(report.duration_s)})"
    )
    for note in report.notes:
        click.echo(f"note: {note}", err=True)


def _verify_chain(settings: Settings, store: Store, keys: Keys | None, as_json: bool) -> None:
    database = settings.values.database
    head = read_head(settings.chain_dir, database, store.labels(database))
    entries = check_chain(store, database, head, keys=keys)
    faults = [entry for entry in entries if entry.is_fault]
    if as_json:
        print_json({"chain": entries, "whole": not faults})
    else:
        print_table(["backup", "state"], [(e.label, e.state.value) for e in entries])
    if faults:
        raise BackupDamagedError(
            f"{len(faults)} backups of the chain were altered, or are gone and not by casedb",
            detail="\n".join(f"{entry.label} is {entry.state.value}" for entry in faults),
            hint="Find out who can write to the store. Doubtful is what has a tombstone, "
            "but not one made with this key: did `casedb rotate` lack it?",
        )
