"""What a restore wants, its plan, and what it takes before it changes anything."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import Connection

from backups import beside, part, waiting
from backups.catalog import Backup, catalog, newer_damaged, read_backup
from backups.contents import full_manifest
from backups.manifest import Manifest
from backups.restore_facts import read_live, read_server
from backups.restore_plan import RestorePlan, make_plan
from backups.sealing import Keys
from backups.snapshot import prepare_session
from backups.stores.base import Store
from backups.unfinished import debris
from backups.verify import damaged, database_named, no_such_backup
from casedb.conninfo import Conninfo
from casedb.database import connect, unbound
from casedb.locks import maintenance_lock
from casedb.marks import Mark
from casedb.tools import PostgresTools


@dataclass(frozen=True)
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
    pooler: Conninfo | None = None,
) -> RestorePlan:
    """Return what restoring would do, and why it would be refused; change nothing.

    `pooler` is the console of a PgBouncer in front of the server; see swap_names.

    Raises:
        BackupDamagedError: the backup is known to be damaged.
        ConfigurationError: there is no such backup.
        UnverifiedError: it is encrypted, and there is no key that opens it.
    """
    with connect(admin, purpose="restore: plan") as connection:
        plan, _ = _plan(store, wish, admin, connection, tools, keys, scratch)
    return replace(plan, pooler=str(pooler)) if pooler and plan.replaces else plan


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
    removed = beside.drop_debris(connection, wish.database, plan.waiting)
    return connection, plan, manifest, [*unkept, *removed]


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
    server = read_server(connection, scratch, manifest)
    ours = unbound(admin, major=server.major if server.is_superuser else None)
    live = (
        read_live(connection, ours, wish.database, manifest.tables)
        if wish.database in server.databases
        else None
    )
    # Only a superuser may ask for the size of any database, and only he restores.
    left = debris(server.databases, wish.database) if server.is_superuser else []
    # A part is loaded into a new database, and so is what has no name to take.
    waits = waiting.find(connection, left, wish.label) if wish.replace and live else None
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
        damaged=newer_damaged(store, source, wish.label),
        now=datetime.now(UTC),
        part=None if wish.part is None else part.chosen(manifest, wish.part),
        waiting=waits,
        debris_bytes=beside.size_of(connection, [name for name in left if name != waits]),
    )
    return plan, manifest


def _drills(store: Store, source: str, backup: Backup) -> Sequence[Backup]:
    # Reading every manifest costs time: only where this backup's own drill does not tell.
    return [] if backup.passed_drill else [b for b in catalog(store, source) if b.passed_drill]
