"""Bring a backup back into a living server, complete and compared, or not at all.

It is loaded beside what is there, under a name that nobody uses, and compared with its manifest.
Only then does it get its name: a new one, or that of a living database, which is kept.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql

from backups import beside, fill, kept, remembered, replace, waiting
from backups.attempt import Wish, prepare
from backups.downloads import resumed
from backups.interrupts import Held, held, not_cleaned_up
from backups.labels import report_label
from backups.load import give_properties
from backups.pooler import require_console
from backups.progress import OnProgress, Watch, unseen
from backups.properties import thaw_command
from backups.records import standing, write_record
from backups.reports import RestoreReport
from backups.restore_refusals import already_exists
from backups.sealing import Keys
from backups.stores.base import Store
from backups.verify import database_named
from backups.version import tool_version
from casedb.conninfo import Conninfo
from casedb.database import connect, describe, server_major, unbound
from casedb.errors import CasedbError
from casedb.marks import set_mark
from casedb.tools import PostgresTools


def restore(
    store: Store,
    wish: Wish,
    admin: Conninfo,
    *,
    tools: PostgresTools,
    keys: Keys | None = None,
    scratch: Path | None = None,
    pooler: Conninfo | None = None,
    record: bool = True,
    on_progress: OnProgress = unseen,
    on_done: Callable[[Sequence[str]], None] = lambda _left: None,
) -> RestoreReport:
    """Do what `plan_restore` says and, with `record`, leave a report of it beside the backup.

    `admin` is a superuser, connected directly to another database, such as postgres. `scratch` is
    the folder for the unpacked archive. `pooler` is the console of a PgBouncer; see swap_names.
    `on_done` is called once the restored database has its name, with what is left to do by hand:
    from then on neither a signal nor an error makes it a failure.

    Raises:
        RefusedError: the plan has refusals; nothing was changed.
        BackupDamagedError: the backup's bytes are not those of its manifest; nothing was changed.
        DifferenceError: what was restored is not what was dumped, or what waited for its name not
            what was verified any more; it was dropped.
        ConfigurationError: there is no such backup, or the programs do not fit the server.
        LockedError: another restore runs on this server, or the names could not be swapped; then
            what was restored waits for the next run.
        ServerUnreachableError: `pooler` or the server cannot be reached.
        ToolFailedError: pg_restore or the server failed; what was made was dropped again.
    """
    source = database_named(wish.label)
    began = time.monotonic()
    watch = Watch(on_progress)
    reports: list[RestoreReport] = []
    with standing(reports), ExitStack() as stack:
        connection, plan, manifest, notes = prepare(stack, store, wish, admin, tools, keys, scratch)
        if plan.replaces:
            require_console(pooler)
            notes += _thaw(connection, wish)
        stack.enter_context(
            _frozen(connection, admin, wish.database)
            if plan.replaces and wish.freeze
            else nullcontext()
        )
        store, more = stack.enter_context(resumed(store, manifest, scratch, plan.spare_bytes))
        notes += more
        archive = None
        if plan.waiting:
            catalog_facts = waiting.small_files(store, manifest, tools, keys, watch)
        else:
            archive, catalog_facts = fill.checked(
                stack, store, manifest, tools, keys, scratch, watch, plan.spare_bytes
            )
        beside.require_first_superuser(connection, manifest, catalog_facts)
        created = stack.enter_context(
            beside.missing_roles(connection, manifest, plan.missing_roles)
        )
        temporary = stack.enter_context(
            beside.temporary_database(admin, manifest, catalog_facts, wish.database, plan.waiting)
        )
        target = unbound(admin.replace(dbname=temporary), major=server_major(connection))
        if plan.waiting:
            found, roots = waiting.compared_again(
                store, manifest, catalog_facts, connection, target, keys, watch
            )
            notes.append(f'"{temporary}" had been restored before, and was still what was verified')
        else:
            with watch.phase("restore", "restoring"):
                fill.load(store, manifest, archive, connection, target, tools, keys, watch)
                give_properties(target, manifest)
            found, roots = fill.compared(store, manifest, catalog_facts, target, keys, watch)
        shape = remembered.read_shape(target) if plan.replaces else None
        signals = stack.enter_context(held())
        swap = None
        if shape:
            swap, more = replace.take_name(
                connection,
                admin,
                temporary,
                wish.database,
                manifest,
                shape,
                signals,
                watch,
                pooler=pooler,
                on_done=on_done,
            )
            notes += more
        else:
            named(connection, temporary, wish, signals)
            on_done(())
        now = datetime.now(UTC)
        report = RestoreReport(
            label=wish.label,
            at=now,
            record=report_label(wish.database, wish.label, now)[1],
            database=wish.database,
            server=describe(admin.replace(dbname=wish.database)),
            tables=found.tables,
            rows=found.rows,
            catalog_rows=found.catalog_rows,
            same_roots=roots,
            duration_s=round(time.monotonic() - began, 3),
            phases_s=watch.seconds,
            created_roles=created,
            swap=swap,
            catalog=shape and shape.catalog,
            sequence_values=shape and shape.sequences,
            tool_version=tool_version(),
            server_version=tools.version,
            notes=(*notes, *found.notes),
        )
        reports.append(report)
        if record:
            reports.append(write_record(store, source, report, manifest.recipients))
    return reports[-1]


def _thaw(connection: Connection[Any], wish: Wish) -> list[str]:
    """Undo what a killed run with --freeze left, unless this one freezes too."""
    if wish.freeze or not kept.unfreeze(connection, wish.database):
        return []
    return [f'"{wish.database}" was read-only since a restore that was killed, and is not any more']


@contextmanager
def _frozen(connection: Connection[Any], admin: Conninfo, database: str) -> Iterator[None]:
    """Keep `database` read-only; if the block fails, it is as before."""
    was = kept.before_freezing(connection, database)
    try:
        kept.freeze(connection, database)
        yield
    except BaseException as error:
        with held():
            _unfreeze(admin, database, was, error)
        raise


def _unfreeze(admin: Conninfo, database: str, was: str, error: BaseException) -> None:
    try:
        # A session of its own: the other one may be lost.
        with connect(admin, purpose="restore: clean up") as connection:
            kept.unfreeze(connection, database)
    except CasedbError as failure:
        way_out = (
            f'"{database}" is still read-only; the next restore ends that, and so does: '
            f"{thaw_command(database, was)}"
        )
        raise not_cleaned_up(error, failure, way_out) from failure


def named(connection: Connection[Any], temporary: str, wish: Wish, signals: Held) -> None:
    """Give the new database its mark and its name; `signals` are held back by the caller.

    Raises:
        RefusedError: there is a database of that name by now.
        KeyboardInterrupt: one of `signals` came before.
    """
    signals.let_through()
    if wish.mark is not None:
        set_mark(connection, temporary, wish.mark)
    try:
        connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                sql.Identifier(temporary), sql.Identifier(wish.database)
            )
        )
    except psycopg.errors.DuplicateDatabase:
        raise already_exists(wish.database).as_error() from None
