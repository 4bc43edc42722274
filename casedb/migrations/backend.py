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
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from psycopg import Connection, errors
from psycopg.rows import TupleRow
from yoyo import internalmigrations, utils
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import default_migration_table

from casedb.conninfo import Conninfo
from casedb.database import open_connection, require_direct, scalar
from casedb.errors import CasedbError, LockedError, ServerUnreachableError
from casedb.locks import maintenance_lock
from casedb.migrations import outside
from casedb.migrations.errors import failed, roles_missing
from casedb.migrations.files import MigrationFile
from casedb.migrations.losses import Gone, LossAheadError, gone_since, read_tables, weigh
from casedb.roles import OWNER
from casedb.sqlfiles import read_sql

T = TypeVar("T")

SCHEMA = "ops"
"""The schema of yoyo's tables and ours."""

LOCK_TIMEOUT_MS = 200
LOCK_ATTEMPTS = 8
_LONGEST_PAUSE_S = 3.0
LOCK_GRACE_S = 2.0
"""How long everybody waits for the lock: the server needs up to 0.5 s to miss a killed run."""

# Without a handler of its own, Python prints a library's errors to stderr.
logging.getLogger("yoyo").addHandler(logging.NullHandler())
logging.getLogger("yoyo").propagate = False


class MigrationBackend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """One session as the owner, from which migrations are applied and rolled back."""

    _is_locked: bool = False
    _internal_schema_updated: bool = False
    before_mark: Callable[[MigrationFile], None] | None = None
    """Called in a migration's own transaction when its statements are through."""

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
            RefusedError: a pooler stands between.
        """
        self.schema = SCHEMA
        try:
            connection = open_connection(
                self._target, purpose=self._purpose, settings=self._settings()
            )
        except ServerUnreachableError as error:
            if OWNER in (error.detail or ""):
                raise roles_missing(error.detail or "") from error
            raise
        try:
            require_direct(connection)
            if not scalar(connection, "SELECT to_regnamespace(%s)", SCHEMA):
                raise roles_missing(f"There is no schema {SCHEMA}.")
        except BaseException:
            connection.close()
            raise
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
        with self._maintenance_lock(timeout):
            self._is_locked = True
            try:
                yield
            finally:
                self._is_locked = False

    @contextmanager
    def _maintenance_lock(self, wait_s: float) -> Iterator[None]:
        """Take the lock, say whom it waits for, and outlast the session of a killed run."""
        with ExitStack() as stack:
            try:
                stack.enter_context(maintenance_lock(self.connection, wait_s=LOCK_GRACE_S))
            except LockedError as error:
                if wait_s <= LOCK_GRACE_S:
                    raise
                self._on_step(f"waiting for another run. {error.detail}")
                rest_s = wait_s - LOCK_GRACE_S
                stack.enter_context(maintenance_lock(self.connection, wait_s=rest_s))
            yield

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
            if not scalar(self.connection, "SELECT to_regclass('ops.casedb_unfinished')"):
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

    def run(self, file: MigrationFile, direction: str, *, agreed: bool = False) -> None:
        """Apply or roll back (`direction` is "apply" or "rollback") one migration and record it.

        A transactional one that cannot get its locks gives way and tries again a few times. One
        outside of a transaction first clears up what a killed run of it left.

        Raises:
            LossAheadError: it throws data away, and nobody has `agreed`; nothing was changed.
            LockedError: somebody else is building the index it is about.
            ToolFailedError: names file, line and SQLSTATE; nothing was changed (unless the file is
                not transactional, which the hint then says).
        """
        self.ensure_internal_schema_updated()
        try:
            if file.transactional:
                self.patiently(file.id, lambda: self._run_inside(file, direction, agreed=agreed))
            else:
                self._run_outside(file, direction)
            self._forget_settings()
        except psycopg.Error as error:
            raise self._failed(file, direction, error) from error

    def redo(self, file: MigrationFile) -> None:
        """Apply once more a migration whose rollback was begun and never recorded.

        Raises:
            ToolFailedError: as `run`.
        """
        try:
            self._run_outside(file, "apply", record=False)
            self._forget_settings()
        except psycopg.Error as error:
            raise self._failed(file, "apply", error) from error

    def record_checksum(self, file: MigrationFile) -> None:
        """Remember what the file looks like that was applied."""
        self.connection.execute(
            "INSERT INTO ops.casedb_migration (migration_id, checksum) VALUES (%s, %s)",
            (file.id, file.checksum),
        )

    def patiently(self, what: str, action: Callable[[], T]) -> T:
        """Return what `action` does, giving way and trying again while others hold its locks.

        Raises:
            psycopg.errors.LockNotAvailable: still no lock after the last attempt.
        """
        for attempt in range(1, LOCK_ATTEMPTS):
            try:
                return action()
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                self._on_step(f"{what} waits for a lock (attempt {attempt + 1} of {LOCK_ATTEMPTS})")
                # Not in step with whoever else retries.
                pause = min(0.1 * 2**attempt, _LONGEST_PAUSE_S)
                time.sleep(pause * random.uniform(0.5, 1))
        return action()

    def _run_inside(self, file: MigrationFile, direction: str, *, agreed: bool) -> None:
        gone = self._run_in_transaction(file, direction, agreed=agreed)
        if gone:
            losses = weigh(self.connection, gone)
            if losses:
                raise LossAheadError(losses)
            # Thrown away, and empty: nobody has to be asked.
            self._run_in_transaction(file, direction, agreed=True)

    def _run_in_transaction(
        self, file: MigrationFile, direction: str, *, agreed: bool
    ) -> list[Gone]:
        """Run and record it, or return what it would throw away and leave all as it was."""
        with self.transaction() as transaction:
            before = {} if agreed else read_tables(self.connection)
            self._run_steps(file, direction, "SET LOCAL")
            gone = [] if agreed else gone_since(self.connection, file, before)
            if gone:
                transaction.rollback_on_exit = True
                return gone
            if self.before_mark:
                self.before_mark(file)
            self._record(file, direction)
        return []

    def _run_outside(self, file: MigrationFile, direction: str, *, record: bool = True) -> None:
        # CREATE INDEX CONCURRENTLY waits for other transactions and stops nobody meanwhile;
        # giving up half-way would leave an invalid index.
        self.execute("SET lock_timeout = 0")
        self._statements.clear()
        if not outside.prepare(self.connection, file, direction, self._on_step):
            self._run_steps(file, direction, "SET")
            if direction == "apply":
                outside.require_usable(self.connection, file)
        with self.transaction():
            outside.forget(self.connection, file.id)
            if record:
                self._record(file, direction)

    def _run_steps(self, file: MigrationFile, direction: str, set_: str) -> None:
        # With no search_path, a name without its schema is an error and not a table in ops.
        self.execute(f"{set_} search_path = ''")
        self._statements.clear()
        file.script.process_steps(self, direction)
        # A migration may have become another role to change data, and stayed it.
        self.execute(f"{set_} ROLE {OWNER}")
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

    def _failed(self, file: MigrationFile, direction: str, error: psycopg.Error) -> CasedbError:
        left = None
        if not file.transactional and not self.connection.closed:
            # Whatever it SET for itself must not make this fail.
            with suppress(psycopg.Error):
                self._forget_settings()
                left = outside.forget_if_nothing_is_left(self.connection, file, direction)
        return failed(file, direction, self._statements, error, invalid_index=left)

    def _forget_settings(self) -> None:
        """Undo what a migration SET for the session, as the next one has not asked for it."""
        self.execute("RESET ALL")
        self.execute("RESET ROLE")
        self.init_connection(self.connection)


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
