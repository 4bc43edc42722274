"""A rehearsal: the pending migrations applied to an empty copy of the schema, and watched.

The truth about locks is what the server holds just before the commit, not what a parser thinks. The
copy is a throwaway cluster with the live database's own schema and no row of it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import CasedbError
from casedb.migrations.backend import MigrationBackend
from casedb.migrations.files import MigrationFile
from casedb.migrations.losses import Table, compare, read_tables
from casedb.migrations.runner import session
from casedb.migrations.statements import LossKind, Outside, outside_statement
from casedb.roles import OWNER, apply_roles
from casedb.sqlfiles import read_sql
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, psql_file_argv, run

# From the weakest to the strongest:
# https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES
_MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_STOPS = {
    "ShareUpdateExclusiveLock": "other schema changes",
    "ShareLock": "writes",
    "ShareRowExclusiveLock": "writes",
    "ExclusiveLock": "writes",
    "AccessExclusiveLock": "reads and writes",
}
_SCHEMA_WAIT_MS = 2000


@dataclass(frozen=True)
class Lock:
    """A lock on something that was there before, and whom it stops while it is held."""

    relation: str
    mode: str
    """As PostgreSQL's documentation writes it: ACCESS EXCLUSIVE."""
    stops: str
    """reads and writes, writes, other schema changes, or nobody."""


@dataclass(frozen=True)
class Rehearsed:
    """What one migration did on the copy."""

    locks: tuple[Lock, ...]
    rewrites: tuple[str, ...]
    """Tables of which every row is written anew while the lock is held."""
    losses: tuple[tuple[LossKind, str, str | None], ...]
    """Table and column of what is gone afterwards."""
    failure: str | None = None
    """Why it failed, if it did; those after it were not rehearsed."""


def rehearse(
    target: Conninfo,
    pending: Sequence[MigrationFile],
    tools: PostgresTools,
    on_step: Callable[[str], None],
) -> dict[str, Rehearsed]:
    """Return what each of `pending` did on a copy of `target`'s schema, up to the first failure.

    Of the live database only the schema is read; pg_dump locks its tables as a reader does.

    Raises:
        ConfigurationError: no server programs for a throwaway cluster.
        ToolFailedError: the schema could not be read, or not be built anew.
    """
    found: dict[str, Rehearsed] = {}
    on_step("copying the schema")
    with throwaway_cluster(tools) as admin:
        copy_schema(target, admin, tools)
        migrator = admin.replace(user="case_migrator")
        with session(migrator, "migrate plan") as backend:
            for file in pending:
                on_step(f"rehearsing {file.id}")
                try:
                    found[file.id] = _watch(backend, file)
                except CasedbError as error:
                    why = " ".join(filter(None, [f"{error.message}.", error.detail]))
                    found[file.id] = Rehearsed((), (), (), why)
                    break
    return found


def copy_schema(target: Conninfo, admin: Conninfo, tools: PostgresTools) -> None:
    """Build the schema of `target` in the empty cluster of `admin`; the runner's records not."""
    with connect(target, purpose="migrate plan") as connection:
        rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'").fetchall()
    with connect(admin, purpose="migrate plan") as connection:
        connection.execute(read_sql("roles/10-roles.sql"))
        known = connection.execute("SELECT rolname FROM pg_roles").fetchall()
        for (name,) in set(rows) - set(known):
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
        connection.execute("DROP SCHEMA public")
    argv = [
        tools["pg_dump"],
        "--schema-only",
        "--no-tablespaces",
        "--no-publications",
        "--no-subscriptions",
        f"--role={OWNER}",
        # It queues behind nobody for long.
        f"--lock-wait-timeout={_SCHEMA_WAIT_MS}",
        "--exclude-table=ops._yoyo*",
        "--exclude-table=ops.yoyo_*",
        "--exclude-table=ops.casedb_*",
        "--no-password",
    ]
    text = run(argv, target=target)
    if "CREATE SCHEMA public" not in text:
        # pg_dump leaves it out where it is as initdb made it.
        text = "CREATE SCHEMA public AUTHORIZATION pg_database_owner;\n" + text
    run(psql_file_argv(tools, dbname=admin.dbname or "postgres"), target=admin, input_text=text)
    apply_roles(admin)


def _watch(backend: MigrationBackend, file: MigrationFile) -> Rehearsed:
    connection = backend.connection
    names = dict(connection.execute(read_sql("catalog/migration-lockable.sql")).fetchall())
    before = read_tables(connection)
    if not file.transactional:
        locks = tuple(_locks_outside(connection, file))
        backend.run(file, "apply", agreed=True)
        return Rehearsed(locks, (), ())
    seen: list[Rehearsed] = []

    def look(_file: MigrationFile) -> None:
        held = connection.execute(read_sql("catalog/migration-held-locks.sql")).fetchall()
        seen.append(_seen(file, names, held, before, read_tables(connection)))

    with _before_mark(backend, look):
        backend.run(file, "apply", agreed=True)
    return seen[0]


def _seen(
    file: MigrationFile,
    names: dict[int, str],
    held: Sequence[tuple[int, str]],
    before: dict[int, Table],
    after: dict[int, Table],
) -> Rehearsed:
    strongest: dict[str, str] = {}
    for oid, mode in held:
        # What the migration itself made stops nobody: nobody else knows it yet.
        if oid in names and mode in _MODES:
            known = strongest.get(names[oid], mode)
            strongest[names[oid]] = max(known, mode, key=_MODES.index)
    gone = compare(file, before, after, ())
    return Rehearsed(
        locks=tuple(_lock(name, mode) for name, mode in sorted(strongest.items())),
        rewrites=tuple(
            sorted(
                table.name
                for oid, table in before.items()
                if oid in after and after[oid].filenode != table.filenode
            )
        ),
        losses=tuple((one.kind, before[one.oid].name, one.column) for one in gone),
    )


def _locks_outside(connection: Connection[Any], file: MigrationFile) -> Iterator[Lock]:
    """Yield what the documentation says: these statements hold their locks in several pieces."""
    statement = outside_statement(file.statements[0])
    if statement is None:
        return
    table = statement.table
    if statement.kind is Outside.DROP_INDEX:
        row = connection.execute(
            "SELECT indrelid::regclass::text FROM pg_index WHERE indexrelid = to_regclass(%s)",
            (statement.index,),
        ).fetchone()
        table = row[0] if row else None
    if statement.kind is not Outside.REPEATABLE and table:
        yield _lock(table, "ShareUpdateExclusiveLock")


def _lock(relation: str, mode: str) -> Lock:
    words = "".join(f" {c}" if c.isupper() else c for c in mode.removesuffix("Lock"))
    return Lock(relation, words.strip().upper(), _STOPS.get(mode, "nobody"))


@contextmanager
def _before_mark(
    backend: MigrationBackend, look: Callable[[MigrationFile], None]
) -> Iterator[None]:
    backend.before_mark = look
    try:
        yield
    finally:
        backend.before_mark = None
