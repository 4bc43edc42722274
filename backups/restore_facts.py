"""What a server tells before a restore: read only, in one look, nothing decided."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.rows import class_row, dict_row

from backups import collations, content
from backups.collations import Collations
from backups.facts import read_settings
from backups.manifest import Manifest, TableFacts
from backups.properties import FROZEN, PREVIOUS, RESTORED, thaw_command
from backups.snapshot import read_relations
from casedb.conninfo import Conninfo
from casedb.database import connect, is_pooled, scalar, server_major
from casedb.errors import CasedbError
from casedb.marks import Mark, is_marked, read_mark
from casedb.sqlfiles import read_sql

_COUNTING_MS = 5000


@dataclass(frozen=True)
class Sessions:
    """Sessions of one kind on one database."""

    role: str
    program: str
    address: str
    sessions: int
    busy: int
    """How many of them are not idle."""


@dataclass(frozen=True)
class Obstacle:
    """A prepared transaction, replication slot or subscription of a database."""

    kind: str
    name: str


@dataclass(frozen=True)
class Written:
    """How a table of the living database differs from the same table in the backup."""

    table: str
    rows_now: int
    rows_in_backup: int


@dataclass(frozen=True)
class ServerState:
    """The server a backup is to be restored into."""

    role: str
    is_superuser: bool
    is_pooled: bool
    """Whether something stands between: the process we were promised is not the one answering."""
    version: str
    major: int
    is_standby: bool
    is_read_only: bool
    bootstrap_superuser: str
    max_wal_size_bytes: int
    roles: frozenset[str]
    roles_without_login: frozenset[str]
    extensions: Mapping[str, str]
    """Those that can be created, and the version that would be."""
    databases: frozenset[str]
    free_bytes: int | None
    """On the disk of the data directory; None if the server does not tell."""
    wal_on_same_disk: bool
    roles_without_password: frozenset[str] = frozenset()
    """Empty as well if only a superuser could tell."""
    collations: Collations = field(default_factory=Collations)
    """Of those that the backup relies on; empty as well if only a superuser could tell."""
    scratch_on_same_disk: bool = False
    """Whether the folder for the unpacked archive may lie on the disk of the data directory."""


@dataclass(frozen=True)
class KeptDatabase:
    """A database that had another's name once."""

    name: str
    of: str
    """The name it had."""
    since: datetime
    size_bytes: int
    sessions: int


@dataclass(frozen=True)
class LiveState:
    """The database whose name the restored one is to get."""

    name: str
    size_bytes: int
    mark: Mark
    is_marked: bool
    sessions: tuple[Sessions, ...]
    obstacles: tuple[Obstacle, ...]
    written: tuple[Written, ...] | None
    """Tables with another number of rows than in the backup; None if that could not be counted."""
    is_frozen: bool = False
    """Whether a restore made it read-only and was killed, or is still running."""
    thaw_command: str | None = None
    """What ends that, for psql; None if it is not so."""
    restored: str | None = None
    """The backup that a restore swapped in under this name; None if it came from none."""
    previous: str | None = None
    """What the database is called that had the name before, if a restore or its undo swapped."""
    kept: tuple[KeptDatabase, ...] = ()
    """Everything that was kept of this name, newest first."""

    @property
    def swapped_at(self) -> datetime | None:
        """Since when it has the name; None if nothing was swapped, or the other one is gone."""
        return next((k.since for k in self.kept if k.name == self.previous), None)

    @property
    def session_count(self) -> int:
        """All sessions on it."""
        return sum(found.sessions for found in self.sessions)


def read_server(
    connection: Connection[Any], scratch: Path | None = None, manifest: Manifest | None = None
) -> ServerState:
    """Return what the server says of itself; `connection` is to another database than the target.

    `scratch` is this machine's folder for the unpacked archive (default: the system's). Without
    the `manifest` of what is to be restored, collations are not asked for.

    Raises:
        ToolFailedError: PostgreSQL reported an error.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(read_sql("catalog/restore-server.sql")).fetchone()
    assert row is not None
    free, same_disk = None, True
    sorting = Collations()
    if row["is_superuser"] and not row["is_standby"] and not row["is_read_only"]:
        free, same_disk = _disk(connection)
        sorting = collations.read_server(connection, manifest) if manifest else sorting
    sets = ("roles", "roles_without_login", "databases")
    without: frozenset[str] = frozenset()
    if row["is_superuser"]:
        query = read_sql("catalog/roles-without-password.sql")
        without = frozenset(name for (name,) in connection.execute(query, (row["roles"],)))
    return ServerState(
        **{**row, **{name: frozenset(row[name]) for name in sets}},
        major=server_major(connection),
        is_pooled=is_pooled(connection),
        free_bytes=free,
        wal_on_same_disk=same_disk,
        roles_without_password=without,
        collations=sorting,
        scratch_on_same_disk=free is not None and _lies_beside(connection, scratch),
    )


def read_live(
    connection: Connection[Any], admin: Conninfo, name: str, tables: tuple[TableFacts, ...]
) -> LiveState:
    """Return the state of the database `name`, which exists; `tables` are those of the backup."""
    settings = read_settings(connection, name)
    frozen = settings.get(FROZEN)
    return LiveState(
        name=name,
        obstacles=read_obstacles(connection, name),
        size_bytes=scalar(connection, "SELECT pg_database_size(%s)", name),
        mark=read_mark(connection, name),
        is_marked=is_marked(connection, name),
        sessions=read_sessions(connection, name),
        written=written_since(admin.replace(dbname=name), tables),
        is_frozen=frozen is not None,
        thaw_command=thaw_command(name, frozen) if frozen is not None else None,
        restored=settings.get(RESTORED),
        previous=settings.get(PREVIOUS),
        kept=tuple(kept_databases(connection, name)),
    )


def read_sessions(connection: Connection[Any], name: str) -> tuple[Sessions, ...]:
    """Return who is connected to the database `name`."""
    with connection.cursor(row_factory=class_row(Sessions)) as cursor:
        return tuple(cursor.execute(read_sql("catalog/restore-sessions.sql"), (name,)))


def read_obstacles(connection: Connection[Any], name: str) -> tuple[Obstacle, ...]:
    """Return what would hold the name of the database `name`, or follow it under another one."""
    rows = connection.execute(read_sql("catalog/restore-obstacles.sql"), {"name": name})
    return tuple(Obstacle(*row) for row in rows)


def kept_databases(connection: Connection[Any], database: str) -> list[KeptDatabase]:
    """Return what was kept of `database`, newest first."""
    rows = connection.execute(read_sql("catalog/kept-databases.sql"), (database,))
    return [KeptDatabase(*row) for row in rows]


def written_since(live: Conninfo, tables: tuple[TableFacts, ...]) -> tuple[Written, ...] | None:
    """Return the tables with another number of rows than the backup's; None if it takes too long.

    An estimate for a plan: a row that was only changed does not show, except in a log.
    """
    found = []
    try:
        with connect(
            live, purpose="restore", settings={"statement_timeout": str(_COUNTING_MS)}
        ) as connection:
            # Which rows of an extension's table a backup has, that extension says.
            conditions = {r.full_name: r.condition for r in read_relations(connection)}
            for table in tables:
                if table.kind != "table":
                    continue
                condition = conditions.get(table.full_name, "")
                counted = content.rows_of(table.schema_name, table.name, condition)
                row = connection.execute(
                    sql.SQL("SELECT count(*) FROM {}").format(counted)
                ).fetchone()
                rows = row[0] if row else 0
                if rows != table.rows:
                    found.append(Written(table.full_name, rows, table.rows))
    except CasedbError:
        # It may be what is broken tonight: a table that is gone, a page that cannot be read.
        return None
    return tuple(found)


def _lies_beside(connection: Connection[Any], scratch: Path | None) -> bool:
    """Whether `scratch` may lie on the disk of the data directory; only a superuser may ask."""
    # Through a socket both are unknown; otherwise a machine speaks to itself by one address.
    query = "SELECT inet_server_addr() IS NOT DISTINCT FROM inet_client_addr()"
    if not scalar(connection, query):
        return False
    folder = scratch or Path(tempfile.gettempdir())
    try:
        return Path(scalar(connection, "SHOW data_directory")).stat().st_dev == folder.stat().st_dev
    except OSError:
        return True  # Here, but not for us to look at.


def _disk(connection: Connection[Any]) -> tuple[int | None, bool]:
    """Return the free bytes where the data directory lies, and whether its WAL lies there too.

    Asked of the server, whose disk it is: it need not be this machine's.
    """
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("CREATE TEMPORARY TABLE casedb_disk (line text)")
            connection.execute("COPY casedb_disk FROM PROGRAM 'df -P -k . pg_wal/'")
            lines = [line for (line,) in connection.execute("SELECT line FROM casedb_disk")]
        data, wal = (line.rsplit(maxsplit=5) for line in lines[1:3])
        return int(data[3]) * 1024, data[5] == wal[5]
    except (psycopg.Error, ValueError, IndexError):
        return None, True
