"""yoyo's PostgreSQL backend, made safe: one session, one lock, one transaction a migration.

What yoyo does on its own, and this does not:

- It locks with a row that a killed run leaves behind. Ours is a lock of the session.
- It commits a migration first and records it afterwards: killed in between, the retry fails for
  ever. Here both are one transaction.
- It works in a second connection, so a lock of the first ends while the second's statement still
  runs. Here the session that holds the lock is the one that works.
- It knows a migration by its file's name alone. Here the content's checksum is recorded too.
"""

import getpass
import logging
import random
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import Connection, errors
from psycopg.rows import TupleRow
from yoyo import internalmigrations, utils
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import default_migration_table

from casedb.conninfo import Conninfo, redact
from casedb.database import from_server, open_connection, scalar
from casedb.errors import CasedbError, ConfigurationError, ServerUnreachableError, ToolFailedError
from casedb.locks import maintenance_lock
from casedb.migration_files import MigrationFile, line_of
from casedb.roles import OWNER
from casedb.sqlfiles import read_sql

SCHEMA = "ops"
"""The schema of yoyo's tables and ours."""

LOCK_TIMEOUT_MS = 200
LOCK_ATTEMPTS = 8
_LONGEST_PAUSE_S = 3.0

# Without a handler of its own, Python prints a library's errors to stderr.
logging.getLogger("yoyo").addHandler(logging.NullHandler())
logging.getLogger("yoyo").propagate = False


class MigrationBackend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """One session as the owner, from which migrations are applied and rolled back."""

    _is_locked: bool = False
    _internal_schema_updated: bool = False

    def __init__(
        self,
        target: Conninfo,
        *,
        purpose: str,
        lock_timeout_ms: int = LOCK_TIMEOUT_MS,
        on_step: Callable[[str], None],
    ) -> None:
        self._target = target
        self._purpose = purpose
        self._lock_timeout_ms = lock_timeout_ms
        self._on_step = on_step
        self._statements: list[str] = []
        # Only the schema is of use to yoyo: `connect` does the rest, with a password or without.
        uri = DatabaseURI("postgresql+psycopg", None, None, None, None, target.dbname, {})
        super().__init__(uri, default_migration_table)

    def connect(self, dburi: Any) -> Connection[TupleRow]:
        """Return the session, as the owner of the database.

        Raises:
            ServerUnreachableError: no server, or it refuses us.
            ConfigurationError: roles or the schema ops are missing: sql/roles was not applied.
        """
        self.schema = SCHEMA
        try:
            connection = open_connection(
                self._target, purpose=self._purpose, settings=self._settings()
            )
        except ServerUnreachableError as error:
            if OWNER in (error.detail or ""):
                raise _roles_missing(error.detail or "") from error
            raise
        if not scalar(connection, "SELECT to_regnamespace(%s)", SCHEMA):
            connection.close()
            raise _roles_missing(f"There is no schema {SCHEMA}.")
        return connection

    def _settings(self) -> dict[str, str]:
        return {
            "role": OWNER,
            # A migration that waits for a lock makes everybody else wait behind it.
            "lock_timeout": f"{self._lock_timeout_ms}ms",
            # A limit meant for the application's queries must not end an index build.
            "statement_timeout": "0",
            # Row security binds the owner too: better an error than an UPDATE that finds no rows.
            "row_security": "off",
            # Frees the locks of a killed run at once, and not when its statement ends.
            "client_connection_check_interval": "500ms",
        }

    @contextmanager
    def lock(self, timeout: float = 10) -> Iterator[None]:
        """Hold the database's maintenance lock, waiting for it at most `timeout` seconds.

        Raises:
            LockedError: names who holds it.
        """
        if self._is_locked:
            yield
            return
        with maintenance_lock(self.connection, wait_s=timeout):
            self._is_locked = True
            try:
                yield
            finally:
                self._is_locked = False

    def execute(self, sql: str, params: Mapping[str, Any] | None = None) -> Any:
        """Execute one of yoyo's own statements and return the cursor."""
        cursor = self.connection.cursor()
        if params:
            sql, positional = utils.change_param_style(self.driver.paramstyle, sql, params)
            return cursor.execute(sql, positional)
        return cursor.execute(sql)

    def cursor(self) -> "_StepCursor":
        """Return what a migration's statements are executed with."""
        return _StepCursor(self.connection.cursor(), self._statements)

    def ensure_internal_schema_updated(self) -> None:
        """Create what is missing of yoyo's tables and ours. The caller holds the lock."""
        if self._internal_schema_updated:
            return
        with self.transaction():
            if internalmigrations.needs_upgrading(self):
                internalmigrations.upgrade(self)
            if not scalar(self.connection, "SELECT to_regclass('ops.casedb_migration')"):
                self.execute(read_sql("catalog/migration-tables.sql"))
        self._internal_schema_updated = True

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        """Return one entry of yoyo's log; unlike yoyo's own, without asking the DNS."""
        try:
            user = getpass.getuser()
        except (OSError, KeyError):
            # A container may run under a number that has no name.
            user = "unknown"
        return {
            "id": str(uuid.uuid1()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": user,
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }

    def run(self, file: MigrationFile, direction: str) -> None:
        """Apply or roll back (`direction` is "apply" or "rollback") one migration and record it.

        A transactional one that cannot get its locks gives way and tries again a few times.

        Raises:
            ToolFailedError: names file, line and SQLSTATE; nothing was changed (unless the file is
                not transactional, which the hint then says).
        """
        self.ensure_internal_schema_updated()
        try:
            if file.transactional:
                self._run_patiently(file, direction)
            else:
                self._run_outside(file, direction)
            self._forget_settings()
        except psycopg.Error as error:
            raise self._failed(file, direction, error) from error

    def record_checksum(self, file: MigrationFile) -> None:
        """Remember what the file looks like that was applied."""
        self.connection.execute(
            "INSERT INTO ops.casedb_migration (migration_id, checksum) VALUES (%s, %s)",
            (file.id, file.checksum),
        )

    def _run_patiently(self, file: MigrationFile, direction: str) -> None:
        for attempt in range(1, LOCK_ATTEMPTS + 1):
            try:
                return self._run_in_transaction(file, direction)
            except errors.LockNotAvailable:
                if attempt == LOCK_ATTEMPTS:
                    raise
                self._on_step(
                    f"{file.id} waits for a lock (attempt {attempt + 1} of {LOCK_ATTEMPTS})"
                )
                # Not in step with whoever else retries.
                pause = min(0.1 * 2**attempt, _LONGEST_PAUSE_S)
                time.sleep(pause * random.uniform(0.5, 1))

    def _run_in_transaction(self, file: MigrationFile, direction: str) -> None:
        with self.transaction():
            self._run_steps(file, direction, "SET LOCAL")
            self._record(file, direction)

    def _run_outside(self, file: MigrationFile, direction: str) -> None:
        # CREATE INDEX CONCURRENTLY waits for other transactions and stops nobody meanwhile;
        # giving up half-way would leave an invalid index.
        self.execute("SET lock_timeout = 0")
        self._run_steps(file, direction, "SET")
        if direction == "apply":
            self._refuse_invalid_indexes(file)
        with self.transaction():
            self._record(file, direction)

    def _run_steps(self, file: MigrationFile, direction: str, set_: str) -> None:
        # With no search_path, a name without its schema is an error and not a table in ops.
        self.execute(f"{set_} search_path = ''")
        self._statements.clear()
        file.script.process_steps(self, direction)
        self.execute(f"{set_} search_path = {SCHEMA}")

    def _record(self, file: MigrationFile, direction: str) -> None:
        self.log_migration(file.script, direction)
        if direction == "apply":
            self.mark_one(file.script, log=False)
            self.record_checksum(file)
        else:
            self.unmark_one(file.script, log=False)
            self.connection.execute(
                "DELETE FROM ops.casedb_migration WHERE migration_id = %s", (file.id,)
            )

    def _forget_settings(self) -> None:
        """Undo what a migration SET for the session, as the next one has not asked for it."""
        self.execute("RESET ALL")
        self.execute("RESET ROLE")
        self.init_connection(self.connection)

    def _refuse_invalid_indexes(self, file: MigrationFile) -> None:
        rows = self.connection.execute(read_sql("catalog/invalid-indexes.sql")).fetchall()
        for qualified, name in rows:
            if re.search(rf"\b{re.escape(name)}\b", file.sql):
                raise ToolFailedError(
                    f"migration {file.id} left the index {qualified} invalid",
                    detail="It is kept up to date and never used; a run before this one was "
                    "probably killed.",
                    hint=f"DROP INDEX CONCURRENTLY {qualified}; then apply again.",
                )

    def _failed(self, file: MigrationFile, direction: str, error: psycopg.Error) -> CasedbError:
        diag = error.diag
        if diag.sqlstate is None or diag.sqlstate.startswith("57P"):
            return from_server(error)
        path, text = (
            (file.path, file.sql)
            if direction == "apply"
            else (file.rollback_path, file.rollback or "")
        )
        position = int(diag.statement_position) if diag.statement_position else None
        line = line_of(text, self._statements, position) if self._statements else None
        where = f"{path.parent.name}/{path.name}" + (f", line {line}" if line else "")
        what = "migration" if direction == "apply" else "the rollback of"
        rest = " ".join(filter(None, [diag.message_detail, diag.context]))
        return ToolFailedError(
            redact(f"{what} {file.id} failed: {diag.message_primary}"),
            detail=redact(f"{where}: SQLSTATE {diag.sqlstate}. {rest}".strip()),
            hint=_hint(file, error),
        )


class _StepCursor:
    """Executes a migration's statements and remembers them, for the line of an error."""

    # yoyo prints the rows of a statement that has a description.
    description = None

    def __init__(self, cursor: psycopg.Cursor[TupleRow], statements: list[str]) -> None:
        self._cursor = cursor
        self._statements = statements

    def execute(self, statement: str) -> None:
        self._statements.append(statement)
        self._cursor.execute(statement)

    def close(self) -> None:
        self._cursor.close()


def _hint(file: MigrationFile, error: psycopg.Error) -> str:
    if isinstance(error, errors.LockNotAvailable):
        return (
            "Nothing was changed. A long transaction holds what this migration needs: find it in "
            "pg_stat_activity, wait for its end, and try again."
        )
    own = f"{error.diag.message_hint} " if error.diag.message_hint else ""
    if file.transactional:
        return f"{own}Nothing of it was changed; correct the file and try again."
    return (
        f"{own}It ran outside of a transaction: look for an invalid index in \\d, drop it with "
        "DROP INDEX CONCURRENTLY, and try again."
    )


def _roles_missing(detail: str) -> ConfigurationError:
    return ConfigurationError(
        "this database has not been prepared for migrations",
        detail=detail,
        hint="Apply sql/roles to it first, as a superuser, and log in as case_migrator.",
    )
