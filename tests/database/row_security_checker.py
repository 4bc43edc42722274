"""Run steps on a real server and on the model, and complain where they do not agree."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection, sql

from casedb.access import Outcome
from casedb.access_attempt import refusal
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.roles import apply_roles
from tests.database.row_security_model import Model
from tests.database.row_security_sql import insert_entry, run
from tests.database.row_security_statements import (
    CHAIR,
    CLERK,
    ENTRIES,
    STATUSES,
    WORKER,
    Actor,
    Comment,
    Form,
    Prediction,
    Select,
    Step,
    Way,
)
from tests.database.row_security_world import Case, Entry

ROLES = {CLERK: "case_clerk", CHAIR: "case_chair", WORKER: "case_caseworker"}
_HASH = "$2b$10$" + "a" * 53


class ViolationError(AssertionError):
    """The database did what the model forbids, or did not do what the model says."""


@contextmanager
def checking(cluster: Conninfo, template: str, name: str) -> Iterator["Checker"]:
    """Yield a checker on a database of its own called `name`; nothing of it is committed."""
    with connect(cluster, purpose="test") as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    target = cluster.replace(dbname=name)
    apply_roles(target)
    with connect(target, purpose="test", autocommit=False) as connection:
        yield Checker(connection)
        connection.rollback()


class Checker:
    """The model's rows on a real server, inside one transaction that the caller rolls back.

    `connection` is a superuser's, not in autocommit mode.
    """

    def __init__(self, connection: Connection[Any], model: Model | None = None) -> None:
        """Load the rows; with a `model`, the server has its rows already."""
        self.connection = connection
        self.model = model or Model()
        self.steps = 0
        self._ids = count(1)
        connection.prepare_threshold = None
        if model is None:
            self._load()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo what the block does, on the server and in the model."""
        with self.connection.transaction(force_rollback=True):
            kept, self.model = self.model, self.model.copy()
            try:
                yield
            finally:
                self.model = kept

    def check(self, step: Step) -> None:
        """Do one step on both.

        Raises:
            ViolationError: they do not agree.
        """
        self.steps += 1
        predicted = self.model.predict(step)
        new_id = UUID(int=0xF000 + next(self._ids))
        try:
            self.connection.execute("SAVEPOINT step")
            found, new_id = perform(self.connection, self.model, step, new_id)
            # As if the transaction ended, which role and identity do not outlive.
            self.connection.execute(
                "RESET SESSION AUTHORIZATION; SELECT set_config('app.user_id', '', true);"
                "RELEASE SAVEPOINT step"
            )
        except psycopg.Error as error:
            self.connection.execute("ROLLBACK TO SAVEPOINT step; RELEASE SAVEPOINT step")
            answer = refusal(error)
            if answer.outcome is Outcome.ERROR or not predicted.refused:
                wrong = f"{step}: {answer.outcome}, but ought to be {predicted}: {error}"
                raise ViolationError(wrong) from error
            return
        if found != predicted:
            raise ViolationError(f"{step}: {found}, but ought to be {predicted}")
        if not isinstance(step.statement, Select):
            touched = self.model.touched(step, new_id)
            self.model.apply(step, new_id)
            self.compare([step], touched)

    def _load(self) -> None:
        execute = self.connection.execute
        execute("SET LOCAL SESSION AUTHORIZATION case_seed")
        for user in self.model.users.values():
            execute(
                "INSERT INTO public.users (id, email, password, role, first_name, last_name)"
                " VALUES (%s, %s, %s, %s, 'a', 'b')",
                (user.id, f"{user.id.hex}@example.com", _HASH, user.role),
            )
        for case in self.model.cases.values():
            execute("SELECT set_config('app.user_id', %s, true)", (str(case.created_by),))
            execute(
                "INSERT INTO public.cases (id, title, description, created_by)"
                " VALUES (%s, %s, %s, %s)",
                (case.id, case.title, case.description, case.created_by),
            )
            # The way that every case goes: none is born in the middle.
            for status in STATUSES[1 : STATUSES.index(case.status) + 1]:
                assignee = None if status == "PENDING_REVIEW" else case.assigned_to
                execute(
                    "UPDATE public.cases SET status = %s, assigned_to = %s WHERE id = %s",
                    (status, assignee, case.id),
                )
            for table in ENTRIES:
                insert_entry(
                    self.connection, table, UUID(int=next(self._ids)), case.id, case.created_by
                )
        for user in self.model.users.values():
            execute("UPDATE public.users SET is_active = %s WHERE id = %s", (user.active, user.id))
        execute("RESET SESSION AUTHORIZATION; SELECT set_config('app.user_id', '', true)")
        for table, by in ENTRIES.items():
            self.model.entries[table].update(self._entries(table, by))
        self.compare([], set())

    def _entries(self, table: str, by: str) -> dict[UUID, Entry]:
        gone = sql.SQL("body IS NULL" if table == "case_comments" else "false")
        query = sql.SQL("SELECT id, case_id, {}, {} FROM {}").format(
            sql.Identifier(by), gone, sql.Identifier("public", table)
        )
        return {row[0]: Entry(*row) for row in self.connection.execute(query)}

    def compare(self, steps: Sequence[Step], touched: set[UUID]) -> None:
        """See that the server holds exactly the model's rows, after `steps`.

        Entries of the log that triggers wrote are taken over, if they are about the cases that the
        steps touched, and in the name of those who acted.

        Raises:
            ViolationError: it does not.
        """
        cases = self.connection.execute(
            "SELECT id, created_by, assigned_to, status, title, description, priority"
            " FROM public.cases"
        ).fetchall()
        _same(steps, "cases", {Case(*row).id: Case(*row) for row in cases}, self.model.cases)
        users = self.connection.execute(
            "SELECT id, role, is_active, first_name FROM public.users"
        ).fetchall()
        wanted = {u.id: (u.id, u.role, u.active, u.first_name) for u in self.model.users.values()}
        _same(steps, "users", {row[0]: row for row in users}, wanted)
        actors = {step.actor.user for step in steps}
        for table, by in ENTRIES.items():
            known = self.model.entries[table]
            found = self._entries(table, by)
            if table == "case_logs":
                for new in found.keys() - known.keys():
                    if found[new].case in touched and found[new].by in actors:
                        known[new] = found[new]
            _same(steps, table, found, known)


def perform(
    connection: Connection[Any], model: Model, step: Step, new_id: UUID
) -> tuple[Prediction, UUID]:
    """Become the actor, do the statement; return what came of it, and the id of what it inserted.

    `connection` is a superuser's, in a transaction, whose end is the end of role and identity too.

    Raises:
        psycopg.Error: it was refused.
    """
    connection.execute(become(step.actor))
    cursor = run(connection, model, step.statement, new_id)
    if isinstance(step.statement, Comment):
        new_id = _first(cursor)
    return _read(cursor, step), new_id


def become(actor: Actor) -> sql.Composed:
    """Return the words that make the session the actor's: all in one message to the server."""
    login = "case_seed" if actor.way is Way.MAINTENANCE else "case_app"
    words = [sql.SQL("SET LOCAL SESSION AUTHORIZATION {}").format(sql.Identifier(login))]
    if actor.way is Way.ACT_AS:
        words.append(sql.SQL("SELECT public.act_as({})").format(sql.Literal(str(actor.user))))
    elif actor.way is Way.ROLE_ONLY:
        assert actor.role
        words.append(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(ROLES[actor.role])))
    return sql.SQL("; ").join(words)


def _first(cursor: "psycopg.Cursor[Any]") -> Any:
    """Return the first column of the first row."""
    row = cursor.fetchone()
    assert row is not None
    return row[0]


def _read(cursor: "psycopg.Cursor[Any]", step: Step) -> Prediction:
    if not isinstance(step.statement, Select):
        return Prediction(count=cursor.rowcount)
    rows = [row[0] for row in cursor.fetchall()]
    if step.statement.form is Form.COUNT:
        return Prediction(count=rows[0])
    if len(set(rows)) != len(rows):
        raise ViolationError(f"{step}: a row came twice")
    return Prediction(seen=frozenset(rows))


def _same(
    steps: Sequence[Step], what: str, found: dict[UUID, Any], wanted: dict[UUID, Any]
) -> None:
    if found == wanted:
        return
    wrong = [
        f"{row}: {found.get(row)}, but ought to be {wanted.get(row)}"
        for row in sorted(found.keys() | wanted.keys())
        if found.get(row) != wanted.get(row)
    ]
    after = " and ".join(map(str, steps))
    raise ViolationError(f"after {after}, {what} differ: {'; '.join(wrong[:3])}")
