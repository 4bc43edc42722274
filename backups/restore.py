"""Bring a backup back as a new database of a living server, complete and compared, or not at all.

Nothing that is there is touched. The backup is loaded under a temporary name and compared with its
manifest; only then does the database get the name that was asked for.
"""

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, sql

from backups import fingerprint
from backups import restore_checks as checks
from backups.catalog import read_manifest
from backups.compare import Comparison, compare
from backups.contents import full_manifest
from backups.drill import different
from backups.load import analyze, create_database, load_archive
from backups.manifest import Manifest, RoleFacts
from backups.progress import OnProgress, Watch, unseen
from backups.properties import property_statements
from backups.sealing import Keys
from backups.stores.base import Store
from backups.verify import check_bytes, damaged, database_named, no_such_backup, read_catalog
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import CasedbError
from casedb.marks import Mark, set_mark
from casedb.tools import PostgresTools


@dataclass(frozen=True)
class RestoreReport:
    """What a restore brought back, and how long that took."""

    label: str
    database: str
    tables: int
    rows: int
    duration_s: float
    phases_s: Mapping[str, float]
    """Seconds by phase: verify, restore, analyze, compare."""
    created_roles: tuple[str, ...]
    """They cannot log in before somebody lets them."""
    notes: tuple[str, ...]


def restore(
    store: Store,
    label: str,
    admin: Conninfo,
    database: str,
    *,
    tools: PostgresTools,
    mark: Mark | None = None,
    create_roles: bool = False,
    keys: Keys | None = None,
    on_progress: OnProgress = unseen,
) -> RestoreReport:
    """Restore the backup `label` into the new database `database` of `admin`'s server.

    `admin` is a superuser, connected to another database, such as postgres. `mark` is what the new
    database is for; the source's mark never comes along. With `create_roles`, roles that the
    server lacks are made, without the right to log in.

    Raises:
        RefusedError: the database exists, roles or extensions are missing, the server is older than
            the backup, or `admin` is no superuser; nothing was changed.
        BackupDamagedError: the backup's bytes are not those of its manifest; nothing was changed.
        DifferenceError: what was restored is not what was dumped; it was dropped again.
        ConfigurationError: there is no such backup, or the programs do not fit the server.
        ToolFailedError: pg_restore or the server failed; what was made was dropped again.
    """
    source = database_named(label)
    began = time.monotonic()
    watch = Watch(on_progress)
    with store.lease(source, label), connect(admin, purpose="restore") as connection:
        if not store.files(source, label):
            raise no_such_backup(store, label)
        manifest = full_manifest(store, read_manifest(store, source, label), keys)
        checks.require_fit(connection, manifest, tools)
        checks.require_new(connection, database)
        missing = checks.missing_roles(connection, manifest)
        if missing and not create_roles:
            raise checks.roles_missing(missing)
        checks.require_extensions(connection, manifest)
        with watch.phase("verify", "checking the bytes"):
            if problems := check_bytes(store, manifest, tools, on_progress, keys):
                raise damaged(store, source, label, problems)
        catalog = read_catalog(store, manifest, keys)
        checks.require_first_superuser(connection, manifest, catalog)
        notes = checks.left_by_killed_runs(connection, database)
        created = _create_roles(connection, manifest, missing)
        with _temporary_database(connection, manifest, database) as temporary:
            found = _fill(
                store, manifest, catalog, admin, connection, temporary, tools, keys, watch
            )
            if mark is not None:
                set_mark(connection, temporary, mark)
            _rename(connection, temporary, database)
    return RestoreReport(
        label=label,
        database=database,
        tables=found.tables,
        rows=found.rows,
        duration_s=round(time.monotonic() - began, 3),
        phases_s=watch.seconds,
        created_roles=tuple(created),
        notes=(*notes, *found.notes),
    )


def _fill(
    store: Store,
    manifest: Manifest,
    catalog: Sequence[fingerprint.Fact],
    admin: Conninfo,
    connection: Connection[Any],
    temporary: str,
    tools: PostgresTools,
    keys: Keys | None,
    watch: Watch,
) -> Comparison:
    target = admin.replace(dbname=temporary)
    with watch.phase("restore", "restoring"):
        load_archive(store, manifest, target, tools, keys=keys)
        for statement in property_statements(manifest.properties, temporary):
            connection.execute(statement)
    with watch.phase("analyze", "gathering statistics"):
        analyze(target)
    with (
        watch.phase("compare", "comparing with the manifest"),
        connect(target, purpose="restore") as restored,
    ):
        found = compare(
            restored, manifest, catalog, with_roles=False, on_progress=watch.on_progress
        )
    if found.differences:
        raise different(
            f'backup "{manifest.label}" did not restore to what was dumped', found.differences
        )
    return found


@contextmanager
def _temporary_database(
    connection: Connection[Any], manifest: Manifest, database: str
) -> Iterator[str]:
    """Make an empty database with a name of its own; drop it if the block fails."""
    suffix = f"{checks.SUFFIX}{secrets.token_hex(3)}"
    head = database.encode()[: checks.NAME_MAX_BYTES - len(suffix)].decode(errors="ignore")
    temporary = head + suffix
    try:
        create_database(connection, manifest.properties, temporary)
        yield temporary
    except BaseException as error:
        _drop(connection, temporary, error)
        raise


def _drop(connection: Connection[Any], temporary: str, error: BaseException) -> None:
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(temporary))
    try:
        connection.execute(statement)
    except psycopg.Error:
        if isinstance(error, CasedbError):
            error.hint = (
                f"{error.hint or ''} An unfinished database could not be dropped; do so with: "
                f"{statement.as_string()}"
            ).strip()


def _rename(connection: Connection[Any], temporary: str, database: str) -> None:
    try:
        connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                sql.Identifier(temporary), sql.Identifier(database)
            )
        )
    except psycopg.errors.DuplicateDatabase:
        raise checks.already_exists(database) from None


def _create_roles(
    connection: Connection[Any], manifest: Manifest, missing: Sequence[str]
) -> list[str]:
    wanted = [role for role in manifest.roles if role.name in missing]
    if not wanted:
        return []
    there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    there |= set(missing)
    # All or none: a second attempt must not find half of them.
    with connection.transaction():
        for role in wanted:
            connection.execute(_create_role(role))
        for role in wanted:
            for group in role.member_of:
                if group in there:
                    connection.execute(
                        sql.SQL("GRANT {} TO {}").format(
                            sql.Identifier(group), sql.Identifier(role.name)
                        )
                    )
    return [role.name for role in wanted]


def _create_role(role: RoleFacts) -> sql.Composed:
    # Never a login and never a superuser: a restore must not open a door.
    attributes = [
        "NOLOGIN NOSUPERUSER",
        "INHERIT" if role.inherits else "NOINHERIT",
        "CREATEROLE" if role.create_role else "",
        "CREATEDB" if role.create_db else "",
        "BYPASSRLS" if role.bypass_rls else "",
        "REPLICATION" if role.replication else "",
    ]
    words = sql.SQL(" ").join(sql.SQL(a) for a in attributes if a)
    return sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role.name), words)
