"""What of extensions pg_dump leaves out, to be told to whoever dumps."""

from typing import Any

import psycopg
from psycopg import Connection, sql

from casedb.errors import first_few
from casedb.sqlfiles import read_sql

_SHOWN = 5


def left_out(connection: Connection[Any]) -> tuple[str, ...]:
    """Return a warning, if extensions have tables with rows that are no configuration of theirs.

    They may be what CREATE EXTENSION makes itself, or rows of a user's, who lost them: nobody can
    tell. Where the role may not look, that a table takes room counts. What pg_dump does not read
    must not end a dump, so a table that is locked or broken is a warning as well.
    """
    try:
        with connection.transaction():
            found = _filled(connection)
    except psycopg.Error as error:
        reason = error.diag.message_primary or str(error)
        return (f"whether pg_dump leaves out rows of an extension could not be seen: {reason}",)
    if not found:
        return ()
    return (
        "pg_dump leaves out the rows of tables that belong to an extension and are not marked as "
        f"its configuration: {', '.join(first_few(found, _SHOWN))}",
    )


def _filled(connection: Connection[Any]) -> list[str]:
    candidates = connection.execute(read_sql("catalog/backup-left-out.sql")).fetchall()
    looks = [
        sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM ONLY {})").format(
            name, sql.Identifier(schema, table)
        )
        for name, schema, table, _, is_open in candidates
        if is_open
    ]
    filled = (
        {name for (name,) in connection.execute(sql.SQL(" UNION ALL ").join(looks))}
        if looks
        else set()
    )
    return [
        f"{name} ({extension})"
        for name, _, _, extension, is_open in candidates
        if name in filled or not is_open
    ]
