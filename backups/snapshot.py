"""One moment of a database, for pg_dump and for the proof of what it wrote.

A session holds a transaction open whose snapshot pg_dump imports. Its table locks come before the
snapshot: a TRUNCATE or a rewriting ALTER TABLE that committed between the two would leave tables
empty for a snapshot that is older (https://www.postgresql.org/docs/current/mvcc-caveats.html).

pg_dump takes locks of its own. A session that queues for ACCESS EXCLUSIVE between ours and
pg_dump's waits for us, pg_dump waits behind it, and we wait for pg_dump: for ever, because the
server does not see the last link. So pg_dump's wait is bounded, and when it gives up, everything is
let go and begun anew (`Overtaken`). An extension's table pg_dump locks no sooner than it reads it,
and without a bound: there the watchdog gives up.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, sql

from casedb.database import scalar
from casedb.sqlfiles import read_sql

# Whoever holds the snapshot must not be ended for idling, working or waiting: pg_dump relies on it.
_UNLIMITED = ("idle_in_transaction_session_timeout", "statement_timeout", "idle_session_timeout")
# Hashing a table sends nothing before its end: the server would go on for a killed run, and hold
# the locks that keep the next run out.
_WATCHED = {"client_connection_check_interval": "1s"}
_PASSING = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    # Dropped or renamed between the list and the lock.
    psycopg.errors.UndefinedTable,
    psycopg.errors.InvalidSchemaName,
)


class Overtaken(Exception):  # noqa: N818 - a turn of events, caught by `dump`, and no error of ours.
    """Somebody queued for a table before it was locked; let him go first and begin anew."""

    def __init__(self, reason: str, blocker: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.blocker = blocker
        """Who stood in the way, for people; None if nobody was to be seen any more."""


@dataclass(frozen=True)
class Relation:
    """A table, partitioned table ("p") or materialized view ("m")."""

    oid: int
    schema_name: str
    name: str
    kind: str
    is_populated: bool
    extension: str | None = None
    """Whose configuration it is; None for all other tables."""
    condition: str = ""
    """Which of its rows that extension has pg_dump take: a WHERE clause, or nothing for all."""

    @property
    def full_name(self) -> str:
        """SCHEMA.NAME, as manifests have it."""
        return f"{self.schema_name}.{self.name}"

    @property
    def has_rows(self) -> bool:
        """Whether it has rows of its own; a partitioned table has only its partitions'."""
        return self.kind != "p"

    @property
    def is_lockable(self) -> bool:
        """Whether LOCK TABLE takes it."""
        return self.kind != "m"


@dataclass(frozen=True)
class Snapshot:
    """One moment of a database, held open by `connection`'s transaction."""

    connection: Connection[Any]
    identifier: str
    """For pg_dump --snapshot; valid as long as the transaction is open."""
    relations: tuple[Relation, ...]


def prepare_session(connection: Connection[Any], settings: Mapping[str, str]) -> None:
    """Make a session fit to hold a snapshot for hours, with `settings` besides.

    When its process is killed, the server ends it within seconds, whatever it is at.
    """
    unlimited = [*_UNLIMITED]
    if connection.info.server_version >= 170000:
        unlimited.append("transaction_timeout")
    chosen = {**dict.fromkeys(unlimited, "0"), **_WATCHED, **settings}
    for name, value in chosen.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


@contextmanager
def hold(connection: Connection[Any], *, lock_wait_s: float) -> Iterator[Snapshot]:
    """Hold a snapshot, with every table locked against rewriting, for the length of the block.

    `connection` must be in autocommit mode.

    Raises:
        Overtaken: if a table could not be locked within `lock_wait_s`, or appeared meanwhile.
    """
    scalar(connection, "SELECT set_config('lock_timeout', %s, false)", f"{lock_wait_s:g}s")
    tables = [relation for relation in read_relations(connection) if relation.is_lockable]
    try:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # LOCK takes no snapshot; the first SELECT after it does.
        if tables:
            connection.execute(_lock(tables))
        yield _take(connection)
    except _PASSING as error:
        connection.execute("ROLLBACK")
        reason = error.diag.message_primary or str(error)
        raise Overtaken(reason, find_blocker(connection)) from error
    finally:
        # After a signal the session may be of no more use; closing it rolls back as well.
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")


def read_relations(connection: Connection[Any]) -> tuple[Relation, ...]:
    """Return what a dump reads of the connected database."""
    rows = connection.execute(read_sql("catalog/backup-tables.sql")).fetchall()
    return tuple(Relation(*row) for row in rows)


def find_blocker(connection: Connection[Any]) -> str | None:
    """Return who holds or waits for a lock that keeps everybody from reading a table."""
    row = connection.execute(read_sql("catalog/backup-blocker.sql")).fetchone()
    if row is None:
        return None
    return f'"{row[0]}" as {row[2]}, server process {row[1]}, on {row[3]}'


def _take(connection: Connection[Any]) -> Snapshot:
    identifier = scalar(connection, "SELECT pg_export_snapshot()")
    relations = read_relations(connection)
    locked = {oid for (oid,) in connection.execute(read_sql("catalog/backup-locked.sql"))}
    missed = [r for r in relations if r.is_lockable and r.oid not in locked]
    if missed:
        raise Overtaken(f"{missed[0].full_name} is new")
    return Snapshot(connection, identifier, relations)


def _lock(tables: list[Relation]) -> sql.Composed:
    names = sql.SQL(", ").join(
        sql.SQL("ONLY {}").format(sql.Identifier(t.schema_name, t.name)) for t in tables
    )
    return sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names)
