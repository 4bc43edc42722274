"""Acting as one user of the application: found by one role, then seen through row security.

Two login roles, because none may do both: whoever reads all users is exempt from row security, and
case_app, which is bound by it, sees nobody before it acts for somebody.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection, errors

from casedb.conninfo import Conninfo
from casedb.database import connect, describe, scalar, session_words
from casedb.errors import RefusedError, UsageError
from casedb.sqlfiles import read_sql

APPLICATION = "case_app"
"""The login role that may act for users."""


@dataclass(frozen=True)
class Actor:
    """One user of the application."""

    id: UUID
    email: str
    role: str
    """CLERK, CHAIR or CASEWORKER."""


def find_actor(reader: Connection[Any], email: str) -> Actor:
    """Return the active user with this e-mail; `reader` sees all users (case_readonly).

    Raises:
        UsageError: nobody has it, or its user is not active.
        RefusedError: `reader` may not look.
    """
    try:
        row = reader.execute(
            "SELECT id, email, role, is_active FROM public.users WHERE email = %s",
            (email.strip().lower(),),
        ).fetchone()
    except errors.InsufficientPrivilege as error:
        raise RefusedError(
            f"{reader.info.user} may not look users up",
            detail=f"{error.diag.message_primary}.",
            hint="Name a login role that reads them: `shell_user` in casedb.toml (case_readonly).",
        ) from None
    if row is None:
        raise UsageError(
            f'nobody has the e-mail "{email}"',
            hint="On a development database: clerk@, chair@ and caseworker@example.com.",
        )
    *who, is_active = row
    if not is_active:
        raise UsageError(f'the user "{email}" is not active', hint="Inactive users see nothing.")
    return Actor(*who)


def busiest_actors(reader: Connection[Any]) -> list[Actor]:
    """Return for each role the active user with the most cases: the worst case of a query."""
    return [Actor(*row) for row in reader.execute(read_sql("query-plans/busiest-users.sql"))]


@contextmanager
def acting_as(connection: Connection[Any], actor: Actor | None) -> Iterator[Connection[Any]]:
    """Act as `actor` for the length of one read-only transaction that is always rolled back.

    Without an actor, the connection's own role acts.
    """
    with connection.transaction(force_rollback=True):
        connection.execute("SET TRANSACTION READ ONLY")
        if actor:
            scalar(connection, "SELECT public.act_as(%s)", str(actor.id))
        yield connection


def session_as(application: Conninfo, actor: Actor, *, write: bool) -> Conninfo:
    """Return the words of a session that is `actor` from its first statement to its last.

    `application` is case_app's way in. Role and identity travel in the connection's options: unlike
    what act_as sets, they outlive every transaction, hence every autocommit, and RESET ALL
    brings them back.

    Raises:
        ServerUnreachableError: case_app cannot log in.
        RefusedError: a pooler swallowed the options.
    """
    with connect(application, purpose="shell") as connection, connection.transaction():
        role = scalar(connection, "SELECT public.act_as(%s)", str(actor.id))
    settings = {"role": role, "app.user_id": str(actor.id)}
    if not write:
        settings["default_transaction_read_only"] = "on"
    words = session_words(application, purpose="shell", settings=settings)
    with connect(words, purpose="shell") as connection:
        found = connection.execute("SELECT current_user, public.current_user_id()").fetchone()
    if found != (role, actor.id):
        raise RefusedError(
            f"{describe(application)} does not act as {actor.email}",
            detail="The connection's options did not arrive; poolers often drop them.",
            hint="Name the server itself with --conninfo.",
        )
    return words
