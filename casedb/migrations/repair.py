"""Repair: what runs outside of transactions have left, cleared up without applying anything new."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from casedb.conninfo import Conninfo
from casedb.migrations import outside
from casedb.migrations.files import MigrationFile, read_folder
from casedb.migrations.outside import InvalidIndex
from casedb.migrations.records import read_records
from casedb.migrations.runner import session
from casedb.migrations.statements import Outside, outside_statement


@dataclass(frozen=True)
class Repair:
    """One thing that was found, and what was done about it (or would be)."""

    index: str
    table: str
    action: str
    """drop (a migration that is still pending makes it, or a REINDEX left it), or rebuild."""
    why: str


def repair(
    target: Conninfo,
    *,
    source: Path,
    dry_run: bool = False,
    on_step: Callable[[str], None],
    wait_s: float = 0.0,
) -> list[Repair]:
    """Drop or rebuild the indexes that cannot be used, and return what was done, by name.

    An index of a migration that is still pending is dropped: `apply` builds it. What REINDEX
    CONCURRENTLY left beside an index is dropped. Every other one is rebuilt, concurrently. None is
    touched while somebody builds it. No data is ever lost: nothing reads such an index.

    Raises:
        ConfigurationError, LockedError, ServerUnreachableError, ToolFailedError: as `apply`; one
            that cannot be rebuilt (duplicates under a unique index) is named.
    """
    files = read_folder(source)
    done = []
    with session(target, "migrate repair", on_step=on_step, wait_s=wait_s) as backend:
        connection = backend.connection
        applied = read_records(connection).ids
        # Waits for others, stops nobody: giving up half-way would leave a further invalid index.
        connection.execute("SET lock_timeout = 0")
        for index in outside.read_invalid(connection):
            found = _decide(index, [file for file in files if file.id not in applied])
            done.append(found)
            if dry_run:
                continue
            on_step(f"{found.action} {found.index}")
            if found.action == "drop":
                outside.drop(connection, index)
            else:
                connection.execute(
                    sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(
                        sql.Identifier(index.schema, index.name)
                    )
                )
    return done


def _decide(index: InvalidIndex, pending: list[MigrationFile]) -> Repair:
    if index.is_reindex_leftover:
        return Repair(str(index), index.table, "drop", "An interrupted REINDEX left it.")
    for file in pending:
        parsed = None if file.transactional else outside_statement(file.statements[0])
        if parsed and parsed.kind is Outside.CREATE_INDEX and _names(parsed.index, index):
            return Repair(
                str(index),
                index.table,
                "drop",
                f"{file.id} was interrupted, and builds it again when it is applied.",
            )
    return Repair(str(index), index.table, "rebuild", "It is written to and never read.")


def _names(written: str | None, index: InvalidIndex) -> bool:
    """Whether `written`, as SQL writes it, means `index`; unquoted, it was in lower case."""
    if written is None:
        return False
    parts = [
        part[1:-1].replace('""', '"') if part.startswith('"') else part.lower()
        for part in written.rsplit(".", 1)
    ]
    return parts[-1] == index.name and (len(parts) == 1 or parts[0] == index.schema)
