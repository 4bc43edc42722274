"""Try every cell of the access matrix on a living database, and leave nothing behind.

One transaction, always rolled back: users and cases that nobody else can see are made in it as the
role that may, and each cell is tried below a savepoint, as the role it asks for and through the
same functions as the back end. Rows of others are neither read nor locked.
"""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

from psycopg import Connection

from casedb.access import Answer, Cell, Rows, Stranger, Verb, roles_of
from casedb.access_attempt import (
    APPLICATION_ROLES,
    CHANGED_COLUMN,
    Person,
    World,
    attempt,
    undone,
)
from casedb.conninfo import Conninfo
from casedb.database import open_connection, scalar, server_errors
from casedb.errors import ConfigurationError
from casedb.sqlfiles import read_sql

# A probe must not wait for others, nor others long for it.
_SETTINGS = {
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
}
OnStep = Callable[[str], None]


def probe(
    target: Conninfo,
    cells: Iterable[Cell],
    *,
    harmless: bool = True,
    on_step: OnStep = lambda _: None,
) -> tuple[dict[Cell, Answer], tuple[Stranger, ...]]:
    """Return what comes of each cell on `target`'s database, and the rights no cell speaks of.

    `target` is a superuser: nobody else can become every role, as a login of its own would.
    With `harmless`, a TRUNCATE that would be carried out is left out of the answers: until it is
    rolled back it would keep everybody from the table.

    Raises:
        ConfigurationError: no superuser, a role is missing, or a cell that nobody can try.
        ServerUnreachableError: no server, or it refuses us.
        ToolFailedError: the rows to probe with could not be made, or a cell not be tried: the disk
            is full, say, or a lock did not come in time.
    """
    connection = open_connection(target, purpose="access", settings=_SETTINGS, autocommit=False)
    with server_errors():
        try:
            return probe_within(connection, cells, harmless=harmless, on_step=on_step)
        finally:
            # Never committed, whatever happens; the server does the same when we are killed.
            connection.close()


def probe_within(
    connection: Connection[Any],
    cells: Iterable[Cell],
    *,
    harmless: bool = True,
    on_step: OnStep = lambda _: None,
) -> tuple[dict[Cell, Answer], tuple[Stranger, ...]]:
    """Do what `probe` does inside the caller's transaction, which the caller rolls back."""
    cells = list(cells)
    # A plan kept from one role would have to be made anew for the next one.
    connection.prepare_threshold = None
    _require(connection, cells)
    found: dict[Cell, Answer] = {}
    with undone(connection):
        strangers = _strangers(connection, cells)
        world = _make_world(connection)
        for role in roles_of(cells):
            on_step(role)
            for cell in (c for c in cells if c.role == role):
                if harmless and _would_truncate(connection, cell):
                    continue
                found[cell] = attempt(connection, world, cell)
    return found, strangers


def _require(connection: Connection[Any], cells: list[Cell]) -> None:
    if not scalar(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = session_user"):
        raise ConfigurationError(
            "only a superuser can probe the access of all roles",
            detail=f'"{scalar(connection, "SELECT session_user")}" is none.',
            hint="Connect as postgres, or probe a copy of a backup: casedb access --backup latest",
        )
    there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    missing = [role for role in roles_of(cells) if role not in there]
    if missing:
        raise ConfigurationError(
            "the server lacks roles whose access is to be probed",
            detail=f"Missing: {', '.join(missing)}.",
            hint="Apply the roles first; `casedb up` does on the embedded server.",
        )
    for cell in cells:
        if (cell.role in APPLICATION_ROLES) == (cell.rows is Rows.ANY):
            raise ConfigurationError(
                f"nobody can try: {cell}",
                detail="The roles that act for a user have rows of their own, all others none.",
                hint=f"Those that act for a user are {', '.join(APPLICATION_ROLES)}.",
            )
    unknown = sorted({cell.table for cell in cells if cell.table} - CHANGED_COLUMN.keys())
    if unknown:
        raise ConfigurationError(
            f"nobody knows how to probe {', '.join(unknown)}",
            hint="A table needs an entry in casedb/access_attempt.py and an insert in sql/access/.",
        )


def _strangers(connection: Connection[Any], cells: list[Cell]) -> tuple[Stranger, ...]:
    known = {
        "tables": sorted({cell.table for cell in cells if cell.table}),
        "functions": sorted({cell.function for cell in cells if cell.function}),
        "roles": list(roles_of(cells)),
    }
    rows = connection.execute(read_sql("access/strangers.sql"), known)
    return tuple(Stranger(target, grantee) for target, grantee in rows)


def _make_world(connection: Connection[Any]) -> World:
    """Make two people of each role, and a row of each in every table, as the seeding role."""
    mine = {role: Person(role) for role in APPLICATION_ROLES}
    other = {role: Person(role) for role in APPLICATION_ROLES}
    connection.execute("SET LOCAL SESSION AUTHORIZATION case_seed")
    for people in (mine, other):
        for person in people.values():
            values = {"id": person.id, "role": APPLICATION_ROLES[person.role]}
            connection.execute(read_sql("access/insert-users.sql"), values)
            person.rows["users"] = person.id
        clerk, chair, worker = people.values()
        clerk.rows["cases"] = worker.rows["cases"] = uuid4()
        chair.rows["cases"] = uuid4()
        for creator in (clerk, chair):
            # The audit trail wants to know who acted, also where a maintaining role did.
            connection.execute("SELECT set_config('app.user_id', %s, true)", (str(creator.id),))
            case = {"id": creator.rows["cases"], "created_by": creator.id}
            connection.execute(read_sql("access/insert-cases.sql"), case)
        for mover, status, assignee in (
            (clerk, "PENDING_REVIEW", None),
            (clerk, "ASSIGNED", worker.id),
            (chair, "PENDING_REVIEW", None),
        ):
            move = {"id": mover.rows["cases"], "status": status, "assigned_to": assignee}
            connection.execute(read_sql("access/move-cases.sql"), move)
        for person in people.values():
            for table in ("case_logs", "case_documents", "case_comments"):
                person.rows[table] = uuid4()
                values = {
                    "id": person.rows[table],
                    "case_id": person.rows["cases"],
                    "user_id": person.id,
                }
                connection.execute(read_sql(f"access/insert-{table}.sql"), values)
    connection.execute("RESET SESSION AUTHORIZATION; SELECT set_config('app.user_id', '', true)")
    return World(mine, other)


def _would_truncate(connection: Connection[Any], cell: Cell) -> bool:
    query = "SELECT has_table_privilege(%s, %s, 'TRUNCATE')"
    return cell.verb is Verb.TRUNCATE and bool(
        scalar(connection, query, cell.role, f"public.{cell.table}")
    )
