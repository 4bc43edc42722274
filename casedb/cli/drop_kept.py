"""`casedb drop-kept`: remove databases that restores have kept."""

import click

from backups.kept import choose_kept
from backups.kept import drop_kept as drop
from backups.restore_facts import KeptDatabase, kept_databases, read_sessions
from backups.stores import open_store
from casedb.cli.options import (
    confirm_option,
    json_option,
    require_confirmation,
    settings_options,
)
from casedb.cli.output import print_json, print_table, size
from casedb.cli.restore_output import session_lines
from casedb.cli.signals import signals_after
from casedb.connections import Verb, target_for
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.settings import Settings


@click.command()
@click.argument("name", required=False)
@confirm_option("the kept database's name")
@json_option
@settings_options(store=True)
def drop_kept(settings: Settings, name: str | None, confirm: str | None, as_json: bool) -> None:
    """Remove a database that a restore has kept.

    Without NAME it only lists them. What is removed is gone, and with it the way back; a report of
    it is kept in the store.

    \b
    Example:
        casedb drop-kept case_management_kept_20261122T030405Z
    """
    if name is None:
        _list(*_found(settings)[1:], as_json=as_json)
        return
    with signals_after(settings, "drop-kept", (settings.store_url,)) as story:
        admin, found, database = _found(settings)
        chosen = choose_kept(found, database, name)
        require_confirmation(_question(admin, chosen, found), chosen.name, confirm)
        report = drop(
            admin,
            chosen,
            store=open_store(settings.store_url),
            on_done=lambda: story.tell(f'database "{chosen.name}" is dropped'),
        )
        story.label, story.size_bytes = report.backup, report.size_bytes
        if as_json:
            print_json(report)
        else:
            click.echo(f'dropped "{report.dropped}"')
        for note in report.notes:
            click.echo(f"note: {note}", err=True)


def _question(admin: Conninfo, chosen: KeptDatabase, found: list[KeptDatabase]) -> str:
    with connect(admin, purpose="drop kept") as connection:
        sessions = session_lines(read_sessions(connection, chosen.name))
    others = [f'"{other.name}"' for other in found if other.name != chosen.name]
    return "\n".join(
        [
            f'This removes database "{chosen.name}" ({size(chosen.size_bytes)}), which was '
            f'"{chosen.of}" until {chosen.since:%Y-%m-%d %H:%M} UTC.',
            f"`casedb undo-restore` can then swap back to {', '.join(others)} only."
            if others
            else "It is the only way back: `casedb undo-restore` has no other one to swap with.",
            *(["These sessions are on it, and are ended:"] if sessions else []),
            *(f"  {line}" for line in sessions),
        ]
    )


def _found(settings: Settings) -> tuple[Conninfo, list[KeptDatabase], str]:
    database = settings.values.database
    admin = target_for(settings, Verb.RESTORE).replace(dbname="postgres")
    with connect(admin, purpose="drop kept") as connection:
        return admin, kept_databases(connection, database), database


def _list(found: list[KeptDatabase], database: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"database": database, "kept": found})
    elif not found:
        click.echo(f'nothing is kept of database "{database}"')
    else:
        rows = [
            (k.name, f"{k.since:%Y-%m-%d %H:%M} UTC", size(k.size_bytes), k.sessions) for k in found
        ]
        print_table(["kept database", "replaced at", "size", "sessions"], rows)
