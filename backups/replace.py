"""A restored database takes the name of a living one, which is kept, whole and read-only."""

from datetime import datetime
from typing import Any

from psycopg import Connection, sql

from backups import kept
from backups.facts import read_properties, read_settings
from backups.manifest import Manifest
from backups.properties import FROZEN, READ_ONLY, replacing_statements
from backups.records import SwapFacts
from backups.swap import Swap, SwapReport, swap_names
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import CasedbError
from casedb.marks import is_marked, read_mark


def take_name(
    connection: Connection[Any],
    admin: Conninfo,
    restored: str,
    database: str,
    manifest: Manifest,
    *,
    now: datetime,
    pooler: Conninfo | None = None,
) -> tuple[str, SwapReport]:
    """Give the database `restored` the name `database`; return the other's new name.

    What belongs to the name stays with it: owner, grants, settings, also those of roles in this
    database, connection limit, comment and mark. `connection` is to neither of them.

    Raises:
        LockedError: the sessions could not be made to go; nothing was changed.
        ToolFailedError: PostgreSQL reported an error; nothing was changed.
    """
    found = read_properties(connection, restored)
    wanted = read_properties(connection, database)
    settings = read_settings(connection, database)
    if not _was_read_only(settings):
        # Set for this restore alone, or by it: not what the name stands for.
        wanted = wanted.model_copy(
            update={"settings": tuple(s for s in wanted.settings if s.name != READ_ONLY)}
        )
    for statement in replacing_statements(found, wanted, restored):
        connection.execute(statement)
    outgoing = kept.free_name(connection, database, now)
    mark = (
        [kept.set_statement(database, "casedb.mark", read_mark(connection, database).value)]
        if is_marked(connection, database)
        else []
    )
    statements: list[sql.Composed] = [
        *kept.keeping(outgoing, of=database, at=now, settings=settings),
        *mark,
        kept.set_statement(database, kept.PREVIOUS, outgoing),
        kept.set_statement(database, kept.RESTORED, manifest.label),
        kept.set_statement(database, kept.CONTENT, kept.as_setting(manifest.tables)),
    ]
    report = swap_names(admin, Swap(database, restored, outgoing, statements), pooler=pooler)
    return outgoing, report


def count_lost(
    connection: Connection[Any], admin: Conninfo, outgoing: str, manifest: Manifest
) -> tuple[str, ...] | None:
    """Return what the kept database holds otherwise than the backup; None if it cannot be read.

    Exact, because nobody writes there any more. What it holds is remembered with it, so that a
    later swap back can tell whether it was changed.
    """
    try:
        with connect(admin.replace(dbname=outgoing), purpose="restore: count") as old:
            tables = kept.read_tables(old)
    except CasedbError:
        # It may be what was broken tonight.
        return None
    connection.execute(kept.set_statement(outgoing, kept.CONTENT, kept.as_setting(tables)))
    return tuple(kept.changes(manifest.tables, tables))


def facts_of(outgoing: str, report: SwapReport, lost: tuple[str, ...] | None) -> SwapFacts:
    """Return what a report says of the swap."""
    return SwapFacts(
        kept=outgoing,
        unavailable_s=report.unavailable_s,
        attempts=report.attempts,
        ended_sessions=report.ended_sessions,
        not_restored=lost,
    )


def _was_read_only(settings: dict[str, str]) -> bool:
    frozen = settings.get(FROZEN)
    value = frozen if frozen is not None else settings.get(READ_ONLY, "off")
    return value in ("on", "true", "1", "yes")
