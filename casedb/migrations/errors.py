"""A migration's failure in our words: file, line and column, SQLSTATE, and the way out."""

from collections.abc import Sequence

import psycopg
from psycopg import errors

from casedb.conninfo import redact
from casedb.database import from_server
from casedb.errors import CasedbError, ConfigurationError, ToolFailedError
from casedb.migrations.files import MigrationFile, place_of


def failed(
    file: MigrationFile,
    direction: str,
    statements: Sequence[str],
    error: psycopg.Error,
    *,
    invalid_index: str | None = None,
) -> CasedbError:
    """Return the error that says where `file` failed and what to do about it.

    `statements` are those that were run, the failing one last; `invalid_index` is what it left.
    """
    diag = error.diag
    if diag.sqlstate is None or diag.sqlstate.startswith("57P"):
        return from_server(error)
    path, text = (
        (file.path, file.sql) if direction == "apply" else (file.rollback_path, file.rollback or "")
    )
    position = int(diag.statement_position) if diag.statement_position else None
    place = place_of(text, list(statements), position) if statements else None
    where = f"{path.parent.name}/{path.name}"
    if place:
        line, column = place
        where += f", line {line}" + (f", column {column}" if column else "")
    what = "migration" if direction == "apply" else "the rollback of"
    rest = " ".join(filter(None, [diag.message_detail, diag.context]))
    return ToolFailedError(
        redact(f"{what} {file.id} failed: {diag.message_primary}"),
        detail=redact(f"{where}: SQLSTATE {diag.sqlstate}. {rest}".strip()),
        hint=_hint(file, error, invalid_index),
    )


def roles_missing(detail: str) -> ConfigurationError:
    """Return the error for a database without our roles, or a login that may not be the owner."""
    return ConfigurationError(
        "this database has not been prepared for migrations",
        detail=detail,
        hint="Apply sql/roles to it first, as a superuser, and log in as case_migrator.",
    )


def _hint(file: MigrationFile, error: psycopg.Error, invalid_index: str | None) -> str:
    if isinstance(error, errors.LockNotAvailable):
        return (
            "Nothing was changed. A long transaction holds what this migration needs: find it in "
            "pg_stat_activity, wait for its end, and try again."
        )
    own = f"{error.diag.message_hint} " if error.diag.message_hint else ""
    if isinstance(error, errors.InsufficientPrivilege):
        message = error.diag.message_primary or ""
        if "row-level security" in message:
            return (
                "Nothing of it was changed. Row security binds the owner too. Put "
                "`SET LOCAL ROLE case_seed;` before the change of data, which sees all rows, and "
                "`SET LOCAL ROLE case_owner;` after it."
            )
        own += "Migrations run as case_owner; `sql/roles` gives it what it needs. "
    if file.transactional:
        return f"{own}Nothing of it was changed; correct the file and try again."
    if invalid_index:
        return (
            f"{own}It left the invalid index {invalid_index}, which costs every write and serves "
            "no query. Mend what the detail names and apply again: it is dropped and built anew. "
            "`casedb migrate repair` only drops it."
        )
    return f"{own}It left nothing behind; correct the cause and try again."
