"""Before a migration throws data away: a backup that was taken and verified, or somebody's word."""

from collections.abc import Sequence

import click

from backups.stores import open_store
from backups.verify import verify
from casedb.cli.output import Tell
from casedb.cli.taking import take_backup
from casedb.connections import Verb, client_tools, target_for
from casedb.conninfo import Conninfo
from casedb.database import connect, server_major
from casedb.errors import CasedbError, RefusedError
from casedb.migrations import BeforeDestructive
from casedb.migrations.losses import Loss
from casedb.settings import Settings


def tell_only(losses: Sequence[Loss]) -> None:
    """Say what is lost and go on: somebody has agreed to it."""
    _show(losses)


def backup_first(
    settings: Settings, tell: Tell, *, way_out: str, target: Conninfo | None = None
) -> BeforeDestructive:
    """Return what takes and verifies a backup before data is lost, of `target` if it is given.

    It raises RefusedError, with `way_out` as its hint, where that does not succeed.
    """

    def before(losses: Sequence[Loss]) -> None:
        _show(losses)
        try:
            label, counted = _take(settings, tell, target or target_for(settings, Verb.DUMP))
        except CasedbError as error:
            why = " ".join(filter(None, [f"{error.message}.", error.detail]))
            raise RefusedError(
                "this would throw data away, and no backup of it could be taken",
                detail=f"{'; '.join(map(str, losses))}. The backup: {why} Nothing was changed.",
                hint=way_out,
            ) from error
        click.echo(f"taken and verified first: backup {label}", err=True)
        for table in sorted({loss.table for loss in losses} & counted.keys()):
            click.echo(f"it holds {counted[table]} rows of {table}", err=True)

    return before


def _show(losses: Sequence[Loss]) -> None:
    for loss in losses:
        click.echo(f"this loses data: {loss}", err=True)


def _take(settings: Settings, tell: Tell, target: Conninfo) -> tuple[str, dict[str, int]]:
    with connect(target, purpose="dump") as connection:
        tools = client_tools(settings, server_major(connection))
    store = open_store(settings.store_url)
    manifest = take_backup(settings, target, store, tools=tools, on_progress=tell)
    verify(store, manifest.label, tools=tools, on_progress=tell)
    counted = {f"{table.schema_name}.{table.name}": table.rows for table in manifest.tables}
    return manifest.label, counted
