"""A restored database takes the name of a living one, which is kept, whole and read-only."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import Connection, sql

from backups import kept, waiting
from backups.facts import read_properties, read_settings
from backups.interrupts import Held
from backups.manifest import Manifest
from backups.progress import Watch
from backups.properties import FROZEN, PREVIOUS, READ_ONLY, RESTORED, replacing_statements
from backups.remembered import Shape, State, as_setting, changes
from backups.reports import SwapFacts
from backups.swap import TOO_LATE, Swap, swap_names
from casedb.conninfo import Conninfo
from casedb.database import connect, server_major, unbound
from casedb.errors import CasedbError
from casedb.marks import is_marked, read_mark


def take_name(
    connection: Connection[Any],
    admin: Conninfo,
    restored: str,
    database: str,
    manifest: Manifest,
    shape: Shape,
    signals: Held,
    watch: Watch,
    *,
    pooler: Conninfo | None = None,
    on_done: Callable[[Sequence[str]], None],
) -> tuple[SwapFacts, list[str]]:
    """Give the database `restored` the name `database`; return what was done, and notes.

    `connection` is to neither of them; `shape` is the restored one's, for a later look. `on_done`
    is called when the names have changed, with what is left to do by hand. Of `signals`, which the
    caller holds back, one that comes before stops it, and one that comes later ends the counting of
    what was lost.

    Raises:
        LockedError: the sessions could not be made to go; nothing was changed.
        ToolFailedError: PostgreSQL reported an error; nothing was changed.
        KeyboardInterrupt: one of `signals` came in time; nothing was changed.
    """
    with watch.phase("swap", "swapping the names"):
        swap = _swap(connection, admin, restored, database, manifest, shape, datetime.now(UTC))
        report = swap_names(admin, swap, signals, pooler=pooler)
    on_done(report.left)
    with watch.phase("count", "counting what was written since the backup"):
        lost = _count_lost(admin, swap.outgoing, manifest, signals, server_major(connection))
    facts = SwapFacts(
        kept=swap.outgoing,
        unavailable_s=report.unavailable_s,
        attempts=report.attempts,
        ended_sessions=report.ended_sessions,
        not_restored=lost,
    )
    return facts, [*report.left, *([TOO_LATE] if signals.came else [])]


def _swap(
    connection: Connection[Any],
    admin: Conninfo,
    restored: str,
    database: str,
    manifest: Manifest,
    shape: Shape,
    now: datetime,
) -> Swap:
    """Return the swap by which what belongs to the name stays with it.

    Owner, grants, settings, also those of roles in this database, connection limit, comment, mark.
    """
    found = read_properties(connection, restored)
    wanted = read_properties(connection, database)
    settings = read_settings(connection, database)
    if not _was_read_only(settings):
        # Set for this restore alone, or by it: not what the name stands for.
        wanted = wanted.model_copy(
            update={"settings": tuple(s for s in wanted.settings if s.name != READ_ONLY)}
        )
    # All or nothing, and on the disk: whatever stops the swap finds a database that is marked. From
    # inside of it: a comment is kept in the encoding of the database that it is written from.
    inside = unbound(admin.replace(dbname=restored), major=server_major(connection))
    with connect(inside, purpose="restore: swap") as restoring, restoring.transaction():
        restoring.execute("SET LOCAL synchronous_commit = on")
        for statement in replacing_statements(found, wanted, restored):
            restoring.execute(statement)
        for statement in waiting.marking(restored, manifest.label):
            restoring.execute(statement)
    outgoing = kept.free_name(connection, database, now)
    state = State(manifest.tables, manifest.large_objects, shape)
    mark = (
        [kept.set_statement(database, "casedb.mark", read_mark(connection, database).value)]
        if is_marked(connection, database)
        else []
    )
    statements: list[sql.Composed] = [
        *kept.keeping(outgoing, of=database, at=now, settings=settings),
        *mark,
        *waiting.unmarking(database, wanted),
        kept.set_statement(database, PREVIOUS, outgoing),
        kept.set_statement(database, RESTORED, manifest.label),
        kept.set_statement(database, kept.CONTENT, as_setting(state)),
    ]
    return Swap(database, restored, outgoing, statements)


def _count_lost(
    admin: Conninfo, outgoing: str, manifest: Manifest, signals: Held, major: int
) -> tuple[str, ...] | None:
    """Return what the kept database holds otherwise than the backup; None if it cannot be read.

    Exact, because nobody writes there any more. What it holds is remembered with it, so that a
    later swap back can tell whether it was changed. One of `signals` ends the counting.
    """
    try:
        state = kept.read_kept(admin, outgoing, signals, major=major, purpose="restore: count")
    except CasedbError:
        # It may be what was broken tonight.
        return None
    return tuple(changes(manifest.tables, manifest.large_objects, state))


def _was_read_only(settings: dict[str, str]) -> bool:
    frozen = settings.get(FROZEN)
    value = frozen if frozen is not None else settings.get(READ_ONLY, "off")
    return value in ("on", "true", "1", "yes")
