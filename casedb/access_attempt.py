"""One attempt at one cell of the access matrix, and what its outcome means."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import Connection, errors, sql

from casedb.access import Answer, Cell, Outcome, Rows, Verb
from casedb.conninfo import redact
from casedb.sqlfiles import read_sql

APPLICATION_ROLES = {
    "case_clerk": "CLERK",
    "case_chair": "CHAIR",
    "case_caseworker": "CASEWORKER",
}
"""The database roles that act for a user, and what such a user's role is called."""

# What an UPDATE of a whole table changes: a column that somebody who may write may change.
CHANGED_COLUMN = {
    "users": "first_name",
    "cases": "description",
    "case_logs": "action",
    "case_documents": "filename",
    "case_comments": "body",
}
_HASH = "$2b$10$" + "." * 53
# Classes of errors that are a rule of the data: broken constraints, and what triggers raise.
_RULE_CLASSES = ("23", "P0")
# No answer to who may do what: no room or memory, an ended session or statement, a lock that did
# not come, another transaction in the way, a file of the server's.
_NO_ANSWER = ("53", "57", "55P03", "40", "58")


@dataclass(frozen=True)
class Person:
    """A user made for the probe, and the rows that are his."""

    role: str
    id: UUID = field(default_factory=uuid4)
    rows: dict[str, UUID] = field(default_factory=dict)
    """By table."""


@dataclass(frozen=True)
class World:
    """Two people of each role: the one who acts, and the other."""

    mine: dict[str, Person]
    other: dict[str, Person]

    def person(self, cell: Cell) -> Person:
        """Return whose rows a cell is about."""
        role = cell.role if cell.role in APPLICATION_ROLES else "case_clerk"
        return (self.other if cell.rows is Rows.OTHER else self.mine)[role]


def attempt(connection: Connection[Any], world: World, cell: Cell) -> Answer:
    """Return what comes of a cell; whatever it does is undone.

    Raises:
        psycopg.Error: it could not be tried, as the connection is gone or the disk full.
    """
    with undone(connection):
        try:
            # In one message: most of the time goes into the way to the server and back.
            connection.execute(sql.SQL("; ").join(_before(world, cell)))
            touched = _try(connection, world, cell)
        except psycopg.Error as error:
            return refusal(error)
    return Answer(Outcome.YES if touched else Outcome.HIDDEN)


def _before(world: World, cell: Cell) -> Iterator[sql.Composed]:
    """Yield the statements that make the session the one that a cell is about."""
    if cell.verb in (Verb.UPDATE, Verb.DELETE):
        # A cursor opened with all rights, so that the statement under test needs none to find its
        # row: otherwise the policy for SELECT would hide what the one for UPDATE lets through. The
        # row itself is still under row security.
        yield sql.SQL(
            "DECLARE access_probe CURSOR FOR SELECT FROM {} WHERE id = {}; MOVE access_probe"
        ).format(
            sql.Identifier("public", cell.table),
            sql.Literal(world.person(cell).rows[cell.table]),
        )
    # SESSION AUTHORIZATION and not ROLE: what a superuser may become says nothing about case_app.
    acts = cell.role in APPLICATION_ROLES
    yield sql.SQL("SET LOCAL SESSION AUTHORIZATION {}").format(
        sql.Identifier("case_app" if acts else cell.role)
    )
    if cell.rows is Rows.ANY:
        # Whoever maintains names somebody responsible, for the audit trail.
        chair = world.mine["case_chair"].id
        yield sql.SQL("SELECT set_config('app.user_id', {}, true)").format(sql.Literal(str(chair)))
    elif cell.rows is Rows.UNSET:
        yield sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(cell.role))
    else:
        user = world.mine[cell.role].id
        yield sql.SQL("SELECT public.act_as({})").format(sql.Literal(str(user)))


def _try(connection: Connection[Any], world: World, cell: Cell) -> int:
    """Carry out what a cell asks for; return how many rows were read or written."""
    if cell.function:
        person = world.person(cell)
        values = {
            "user_id": person.id,
            "case_id": person.rows["cases"],
            "comment_id": person.rows["case_comments"],
        }
        return connection.execute(read_sql(f"access/call-{cell.function}.sql"), values).rowcount
    table = sql.Identifier("public", cell.table)
    match cell.verb:
        case Verb.SELECT:
            query = sql.SQL("SELECT {} FROM {} WHERE id = %s").format(
                sql.Identifier(cell.column or "id"), table
            )
            row = world.person(cell).rows[cell.table]
            return connection.execute(query, (row,)).rowcount
        case Verb.INSERT:
            statement = read_sql(f"access/insert-{cell.table}.sql")
            return connection.execute(statement, _new_row(world, cell)).rowcount
        case Verb.UPDATE:
            changes = [
                sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(value))
                for column, value in _changes(world, cell).items()
            ]
            change = sql.SQL("UPDATE {} SET {} WHERE CURRENT OF access_probe").format(
                table, sql.SQL(", ").join(changes)
            )
            return connection.execute(change).rowcount
        case Verb.DELETE:
            return connection.execute(
                sql.SQL("DELETE FROM {} WHERE CURRENT OF access_probe").format(table)
            ).rowcount
        case Verb.TRUNCATE:
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(table))
            return 1


def _new_row(world: World, cell: Cell) -> dict[str, object]:
    """Return the values of the new row that an INSERT is tried with."""
    role = cell.role if cell.role in APPLICATION_ROLES else "case_clerk"
    me, other = world.mine[role], world.other[role]
    if cell.table == "users":
        return {"id": uuid4(), "role": APPLICATION_ROLES[role]}
    if cell.table == "cases":
        creator = other if cell.rows is Rows.OTHER else me
        return {"id": uuid4(), "created_by": creator.id}
    # `other` is a row in one's own name on somebody else's case, `forged` the other way round.
    return {
        "id": uuid4(),
        "case_id": world.person(cell).rows["cases"],
        "user_id": (other if cell.rows is Rows.FORGED else me).id,
    }


def _changes(world: World, cell: Cell) -> dict[str, object]:
    """Return what an UPDATE sets, by column."""
    column = cell.column or CHANGED_COLUMN[cell.table]
    worker, chair = world.other["case_caseworker"], world.mine["case_chair"]
    if column == "assigned_to":
        # As it is done: assigning is a step of the workflow.
        return {"assigned_to": worker.id, "status": "ASSIGNED"}
    known: dict[str, object] = {
        "created_by": chair.id,
        "role": "CHAIR",
        "is_active": False,
        "password": _HASH,
        "action": "access_probed_again",
        # A comment is not rewritten, but it can be erased.
        "body": None,
    }
    return {column: known.get(column, "Access probe")}


def refusal(error: psycopg.Error) -> Answer:
    """Return what an error means, by its code and source: its words may be translated.

    Raises:
        psycopg.Error: `error` itself, if it is of the server and not of the right that was tried.
    """
    state, source = error.diag.sqlstate, error.diag.source_function or ""
    if state is None or state.startswith(_NO_ANSWER):
        raise error
    if source.startswith("exec_stmt_raise") or state.startswith(_RULE_CLASSES):
        outcome = Outcome.RULE
    elif isinstance(error, errors.InsufficientPrivilege):
        # See ExecWithCheckOptions() in execMain.c; a missing right is reported elsewhere.
        outcome = Outcome.POLICY if source == "ExecWithCheckOptions" else Outcome.DENIED
    else:
        outcome = Outcome.ERROR
    return Answer(outcome, state, redact(error.diag.message_primary or ""))


@contextmanager
def undone(connection: Connection[Any]) -> Iterator[None]:
    """Undo whatever the block does, also to role and identity, and whether or not it fails."""
    connection.execute("SAVEPOINT access_probe")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK TO SAVEPOINT access_probe; RELEASE SAVEPOINT access_probe")
