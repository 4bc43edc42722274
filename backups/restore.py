"""Bring a backup back into a living server, complete and compared, or not at all.

It is loaded beside what is there, under a name that nobody uses, and compared with its manifest.
Only then does it get its name: a new one, or that of a living database, which is kept.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql

from backups import beside, fill, kept, part, replace
from backups.catalog import Backup, catalog, read_backup
from backups.contents import full_manifest
from backups.downloads import resumed
from backups.interrupts import Held, held, not_cleaned_up
from backups.labels import report_label
from backups.manifest import Manifest
from backups.pooler import require_console
from backups.progress import OnProgress, Watch, unseen
from backups.properties import property_statements, thaw_command
from backups.records import RestoreReport, standing, write_record
from backups.restore_facts import read_live, read_server
from backups.restore_plan import RestorePlan, debris, make_plan
from backups.restore_refusals import already_exists
from backups.sealing import Keys
from backups.snapshot import prepare_session
from backups.stores.base import Store
from backups.verify import damaged, database_named, no_such_backup
from backups.version import tool_version
from casedb.conninfo import Conninfo
from casedb.database import connect, describe
from casedb.errors import CasedbError
from casedb.locks import maintenance_lock
from casedb.marks import Mark, set_mark
from casedb.tools import PostgresTools


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is to be restored, and how."""

    label: str
    database: str
    """The name that the restored database is to have."""
    replace: bool = False
    """Whether it may take the name of a living database, which is then kept under another one."""
    freeze: bool = False
    """Whether that one is read-only from the start."""
    again: bool = False
    """Whether it may also take that of one that was restored from this very backup."""
    create_roles: bool = False
    """Whether roles that the server lacks are made, without the right to log in."""
    mark: Mark | None = None
    """What a new database is for; the source's mark never comes along, a replaced one's stays."""
    part: tuple[str, ...] | None = None
    """The only tables wanted, none for the schema alone (see restore_part); None is everything."""


def plan_restore(
    store: Store,
    wish: Wish,
    admin: Conninfo,
    *,
    tools: PostgresTools,
    keys: Keys | None = None,
    scratch: Path | None = None,
) -> RestorePlan:
    """Return what restoring would do, and why it would be refused; change nothing.

    Raises:
        BackupDamagedError: the backup is known to be damaged.
        ConfigurationError: there is no such backup.
        UnverifiedError: it is encrypted, and there is no key that opens it.
    """
    with connect(admin, purpose="restore: plan") as connection:
        return _plan(store, wish, admin, connection, tools, keys, scratch)[0]


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
        DifferenceError: what was restored is not what was dumped; it was dropped again.
        ConfigurationError: there is no such backup, or the programs do not fit the server.
        LockedError: another restore runs on this server, or the names could not be swapped.
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
        archive, catalog_facts = fill.checked(
            stack, store, manifest, tools, keys, scratch, watch, plan.spare_bytes
        )
        beside.require_first_superuser(connection, manifest, catalog_facts)
        created = stack.enter_context(
            beside.missing_roles(connection, manifest, plan.missing_roles)
        )
        temporary = stack.enter_context(beside.temporary_database(admin, manifest, wish.database))
        target = admin.replace(dbname=temporary)
        with watch.phase("restore", "restoring"):
            fill.load(store, manifest, archive, connection, target, tools, keys, scratch, watch)
            for statement in property_statements(manifest.properties, temporary):
                connection.execute(statement)
        found, roots = fill.compared(store, manifest, catalog_facts, target, keys, watch)
        signals = stack.enter_context(held())
        swap = None
        if plan.replaces:
            swap, more = replace.take_name(
                connection,
                admin,
                temporary,
                wish.database,
                manifest,
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
            tool_version=tool_version(),
            server_version=tools.version,
            notes=(*notes, *found.notes),
        )
        reports.append(report)
        if record:
            reports.append(write_record(store, source, report, manifest.recipients))
    return reports[-1]


def prepare(
    stack: ExitStack,
    store: Store,
    wish: Wish,
    admin: Conninfo,
    tools: PostgresTools,
    keys: Keys | None,
    scratch: Path | None,
) -> tuple[Connection[Any], RestorePlan, Manifest, list[str]]:
    """Take what a restore has to hold to its end, and remove what a killed one left.

    Returns the connection, the plan with nothing against it, the manifest in clear, and notes.
    """
    unkept = stack.enter_context(store.lease(database_named(wish.label), wish.label))
    connection = stack.enter_context(connect(admin, purpose="restore"))
    prepare_session(connection, {})
    stack.enter_context(maintenance_lock(connection))
    plan, manifest = _plan(store, wish, admin, connection, tools, keys, scratch)
    plan.require()
    return connection, plan, manifest, [*unkept, *beside.drop_debris(connection, wish.database)]


def _plan(
    store: Store,
    wish: Wish,
    admin: Conninfo,
    connection: Connection[Any],
    tools: PostgresTools,
    keys: Keys | None,
    scratch: Path | None,
) -> tuple[RestorePlan, Manifest]:
    source = database_named(wish.label)
    if not store.files(source, wish.label):
        raise no_such_backup(store, wish.label)
    backup = read_backup(store, source, wish.label)
    if backup.manifest is None or backup.damage:
        raise damaged(store, source, wish.label, [backup.damage or "It has no manifest."])
    manifest = full_manifest(store, backup.manifest, keys)
    server = read_server(connection, scratch)
    live = (
        read_live(connection, admin, wish.database, manifest.tables)
        if wish.database in server.databases
        else None
    )
    # Only a superuser may ask for the size of any database, and only he restores.
    left = debris(server.databases, wish.database) if server.is_superuser else []
    plan = make_plan(
        backup,
        manifest,
        server,
        live,
        store=store.url,
        database=wish.database,
        replace=wish.replace,
        freeze=wish.freeze,
        again=wish.again,
        create_roles=wish.create_roles,
        tools_major=tools.major,
        tools_version=tools.version,
        drills=_drills(store, source, backup),
        now=datetime.now(UTC),
        part=None if wish.part is None else part.chosen(manifest, wish.part),
        debris_bytes=beside.size_of(connection, left),
    )
    return plan, manifest


def _drills(store: Store, source: str, backup: Backup) -> Sequence[Backup]:
    # Reading every manifest costs time: only where this backup's own drill does not tell.
    return [] if backup.passed_drill else [b for b in catalog(store, source) if b.passed_drill]


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
