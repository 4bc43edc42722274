"""A database's mark: development, staging or production. It says what may be done to it.

The mark is a setting of the database (`casedb.mark` in pg_db_role_setting). It is read from the
catalog and not from the session, where anybody could SET it. pg_dump leaves database settings
out, so a restored database never carries its source's mark; the restore gives it the target's.
A database without a mark counts as production.
"""

from enum import StrEnum
from typing import Any

from psycopg import Connection, sql

from casedb.database import scalar
from casedb.errors import RefusedError
from casedb.sqlfiles import read_sql


class Mark(StrEnum):
    """What a database is for."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


def read_mark(connection: Connection[Any], database: str | None = None) -> Mark:
    """Return the mark of `database` (default: the connected one); production if it has none."""
    found = scalar(connection, read_sql("catalog/read-mark.sql"), database)
    return Mark(found) if found in set(Mark) else Mark.PRODUCTION


def is_marked(connection: Connection[Any], database: str | None = None) -> bool:
    """Whether the database carries a mark at all."""
    return scalar(connection, read_sql("catalog/read-mark.sql"), database) in set(Mark)


def set_mark(connection: Connection[Any], database: str, mark: Mark) -> None:
    """Mark `database`; needs its owner or a superuser."""
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET casedb.mark = {}").format(
            sql.Identifier(database), sql.Literal(mark.value)
        )
    )


def require_development(connection: Connection[Any], action: str) -> None:
    """Refuse `action` on anything but a development database.

    Raises:
        RefusedError: naming the mark found.
    """
    mark = read_mark(connection)
    if mark is not Mark.DEVELOPMENT:
        name = scalar(connection, "SELECT current_database()")
        raise RefusedError(
            f'{action} is refused: database "{name}" is not marked development',
            detail=f"Its mark is {mark.value}."
            + ("" if is_marked(connection) else " (It has none, which counts as production.)"),
            hint="If it really is one: `casedb mark development`.",
        )
