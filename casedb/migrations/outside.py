"""Migrations outside of a transaction: what a killed one left, and how the next run carries on.

CREATE INDEX CONCURRENTLY works in several transactions of its own. Killed in the middle it leaves
an index that every write maintains and no query uses; killed just after the end, a complete one
that nobody has recorded. Before such a statement runs, its text is written to
ops.casedb_unfinished, and removed together with the mark: so a retry knows which of the two it has
found, and that it was ours.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection, sql

from casedb.database import scalar
from casedb.errors import LockedError, ToolFailedError
from casedb.migrations.files import MigrationFile
from casedb.migrations.statements import Outside, OutsideStatement, outside_statement
from casedb.sqlfiles import read_sql

# What REINDEX CONCURRENTLY calls its new and its old index, with a number if the name was taken.
_REINDEX_LEFTOVER = re.compile(r".*_cc(new|old)\d*")


@dataclass(frozen=True)
class Unfinished:
    """A statement outside of a transaction that was begun and whose end nobody has recorded."""

    migration: str
    direction: str
    """apply or rollback."""
    statement: str
    started_at: datetime
    """Aware."""


@dataclass(frozen=True)
class Index:
    """One index as the catalog has it."""

    schema: str
    name: str
    usable: bool
    builder: int | None
    """The server process that is building it at this moment."""

    @property
    def identifier(self) -> sql.Identifier:
        """Its full name, quoted."""
        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class InvalidIndex:
    """An index that cannot be used and that nobody is building."""

    schema: str
    name: str
    table: str

    @property
    def is_reindex_leftover(self) -> bool:
        """Whether a REINDEX CONCURRENTLY left it beside the index it was about."""
        return _REINDEX_LEFTOVER.fullmatch(self.name) is not None

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def read_unfinished(connection: Connection[Any]) -> dict[str, Unfinished]:
    """Return the statements that were begun and never recorded, by their migration's id."""
    if not scalar(connection, "SELECT to_regclass('ops.casedb_unfinished')"):
        return {}
    rows = connection.execute(
        "SELECT migration_id, direction, statement, started_at FROM ops.casedb_unfinished"
    ).fetchall()
    return {row[0]: Unfinished(*row) for row in rows}


def read_index(connection: Connection[Any], name: str) -> Index | None:
    """Return the index called `name` (as SQL writes it, with its schema), or None."""
    row = connection.execute(read_sql("catalog/index-state.sql"), (name,)).fetchone()
    return Index(*row) if row else None


def read_invalid(connection: Connection[Any]) -> list[InvalidIndex]:
    """Return the indexes that cannot be used, without those being built at this moment."""
    rows = connection.execute(read_sql("catalog/invalid-indexes.sql")).fetchall()
    return [InvalidIndex(*row) for row in rows]


def drop(connection: Connection[Any], index: Index | InvalidIndex) -> None:
    """Drop an index without stopping anybody; also one that is only half there."""
    name = sql.Identifier(index.schema, index.name)
    connection.execute(sql.SQL("DROP INDEX CONCURRENTLY {}").format(name))


def prepare(
    connection: Connection[Any],
    file: MigrationFile,
    direction: str,
    on_step: Callable[[str], None],
) -> bool:
    """Clear up after an earlier run and note that this one begins; True if there is nothing to do.

    Outside of a transaction, with no lock timeout.

    Raises:
        LockedError: somebody else is building the very index.
    """
    text = (file.statements if direction == "apply" else file.undoing)[0]
    statement = _parsed(text)
    earlier = read_unfinished(connection).get(file.id)
    if earlier and earlier.statement != text:
        _drop_index_of_older_text(connection, earlier, statement, on_step)
    index = read_index(connection, statement.index) if statement.index else None
    _refuse_being_built(index)
    if statement.kind is Outside.REINDEX:
        _drop_leftovers(connection, on_step)
    if statement.kind is Outside.DROP_INDEX and index is None and earlier:
        on_step(f"{statement.index} was dropped by a run that ended before it recorded that")
        return earlier.statement == text
    if statement.kind is Outside.CREATE_INDEX and index:
        if index.usable and earlier:
            # Either a run of ours built it from this text, or its rollback never got that far.
            on_step(f"{index} was built by a run that ended before it recorded that")
            return True
        if index.usable:
            # Not ours: the server says whether it is in the way. Nothing is noted, or a later
            # run would take it for ours.
            return False
        on_step(f"{index} was left invalid by an earlier run: dropping and building it again")
        drop(connection, index)
    connection.execute(
        "INSERT INTO ops.casedb_unfinished (migration_id, direction, statement)"
        " VALUES (%s, %s, %s) ON CONFLICT (migration_id)"
        " DO UPDATE SET (direction, statement, started_at)"
        " = (excluded.direction, excluded.statement, now())",
        (file.id, direction, text),
    )
    return False


def require_usable(connection: Connection[Any], file: MigrationFile) -> None:
    """Refuse an index that is there and of no use: IF NOT EXISTS would take it for a built one.

    Raises:
        ToolFailedError: names it.
    """
    statement = _parsed(file.statements[0])
    if statement.kind is not Outside.CREATE_INDEX or statement.index is None:
        return
    index = read_index(connection, statement.index)
    if index is None or not index.usable:
        raise ToolFailedError(
            f"migration {file.id} left the index {statement.index} invalid",
            detail="It is kept up to date and never used.",
            hint="Apply again: it is dropped and built anew.",
        )


def forget_if_nothing_is_left(
    connection: Connection[Any], file: MigrationFile, direction: str
) -> str | None:
    """Take the note back after a failure that left nothing; else return the invalid index."""
    statement = _parsed((file.statements if direction == "apply" else file.undoing)[0])
    index = read_index(connection, statement.index) if statement.index else None
    if statement.kind is Outside.CREATE_INDEX and index is None:
        forget(connection, file.id)
    return str(index) if index and not index.usable else None


def forget(connection: Connection[Any], migration: str) -> None:
    """Remove the note that a migration is under way."""
    connection.execute("DELETE FROM ops.casedb_unfinished WHERE migration_id = %s", (migration,))


def _parsed(text: str) -> OutsideStatement:
    # A statement written down by a run of another version may be none that we know.
    return outside_statement(text) or OutsideStatement(Outside.REPEATABLE)


def _drop_index_of_older_text(
    connection: Connection[Any],
    earlier: Unfinished,
    statement: OutsideStatement,
    on_step: Callable[[str], None],
) -> None:
    """Drop what an earlier text of this file made: the file was corrected since."""
    old = _parsed(earlier.statement)
    if earlier.direction != "apply" or old.kind is not Outside.CREATE_INDEX or not old.index:
        return
    if statement.kind is not Outside.CREATE_INDEX:
        return
    index = read_index(connection, old.index)
    _refuse_being_built(index)
    if index:
        on_step(f"{index} was built from an earlier text of this file: dropping it")
        drop(connection, index)
    forget(connection, earlier.migration)


def _drop_leftovers(connection: Connection[Any], on_step: Callable[[str], None]) -> None:
    for index in read_invalid(connection):
        if index.is_reindex_leftover:
            on_step(f"dropping {index}, which an earlier REINDEX left")
            drop(connection, index)


def _refuse_being_built(index: Index | None) -> None:
    if index and index.builder:
        raise LockedError(
            f"the index {index} is being built by somebody else",
            detail=f"Server process {index.builder} is at it; pg_stat_progress_create_index tells "
            "how far.",
            hint="Wait for its end, and try again.",
        )
