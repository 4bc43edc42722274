"""Migrations: applied, rolled back and accounted for. yoyo does the work, wrapped once.

A migration and the record that it was applied are one transaction: a run that is killed, at any
moment, leaves nothing behind, and the next one carries on. What was applied is known by its
content; a file that was edited, renamed or lost afterwards is refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg import Connection

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar, server_errors
from casedb.errors import ConfigurationError, RefusedError, UsageError
from casedb.migration_backend import LOCK_TIMEOUT_MS, MigrationBackend
from casedb.migration_files import MigrationFile, read_folder
from casedb.sqlfiles import read_sql


@dataclass(frozen=True)
class AppliedMigration:
    """One migration that is in the database."""

    id: str
    applied_at: datetime
    """Aware, UTC."""
    by: str
    """Who ran it where: USER@HOST of the operating system."""


@dataclass(frozen=True)
class MigrationStatus:
    """What is in the database, what is not yet, and what does not fit together."""

    applied: tuple[AppliedMigration, ...]
    """In the order of their dependencies; those without a file come first."""
    pending: tuple[str, ...]
    head: str | None
    """The last applied migration; None on a database without any."""
    problems: tuple[str, ...]
    """Why `apply` would refuse, a sentence each; empty if all is well."""


def _quiet(_step: str) -> None:
    """Tell nobody."""


def apply(
    target: Conninfo,
    *,
    source: Path,
    on_step: Callable[[str], None] = _quiet,
    wait_s: float = 0.0,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
) -> list[str]:
    """Apply what is pending in `source` and return the ids, in the order applied.

    Each migration is a transaction of its own: if the third fails, two are applied. `wait_s`
    seconds it waits for another run to end; a single lock of a migration `lock_timeout_ms`, then
    it gives way and tries again.

    Raises:
        ConfigurationError: the folder, a directive or an applied file is not what it should be;
            or the database was not prepared. Nothing was applied.
        LockedError: another run is at work.
        ServerUnreachableError: no server.
        ToolFailedError: a migration failed: file, line and SQLSTATE are named.
    """
    files = read_folder(source)
    done: list[str] = []
    with _session(target, "migrate apply", on_step, wait_s, lock_timeout_ms) as backend:
        applied, checksums = _read_records(backend.connection)
        ids = [migration.id for migration in applied]
        _refuse(find_problems(files, ids, checksums))
        for file in files:
            if file.id in ids and file.id not in checksums:
                on_step(f"{file.id} was applied by yoyo itself: recording its checksum")
                backend.record_checksum(file)
        for file in files:
            if file.id not in ids:
                on_step(f"applying {file.id}")
                backend.run(file, "apply")
                done.append(file.id)
    return done


def rollback(
    target: Conninfo,
    *,
    source: Path,
    count: int = 1,
    on_step: Callable[[str], None] = _quiet,
    wait_s: float = 0.0,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
) -> list[str]:
    """Roll back the last `count` migrations and return their ids, newest first.

    Raises:
        UsageError: `count` is less than 1.
        RefusedError: one of them has no rollback file; nothing was rolled back.
        ConfigurationError, LockedError, ServerUnreachableError, ToolFailedError: as `apply`.
    """
    if count < 1:
        raise UsageError(f"cannot roll back {count} migrations", hint="Ask for 1 or more.")
    files = read_folder(source)
    done: list[str] = []
    with _session(target, "migrate rollback", on_step, wait_s, lock_timeout_ms) as backend:
        applied, checksums = _read_records(backend.connection)
        ids = [migration.id for migration in applied]
        _refuse(find_problems(files, ids, checksums))
        chosen = [file for file in reversed(files) if file.id in ids][:count]
        _refuse_irreversible(chosen)
        for file in chosen:
            on_step(f"rolling back {file.id}")
            backend.run(file, "rollback")
            done.append(file.id)
    return done


def status(target: Conninfo, *, source: Path) -> MigrationStatus:
    """Return what is applied and what is pending; changes nothing.

    Works for every role that may read the schema ops, and on a database without any migration.

    Raises:
        ConfigurationError: the folder is not what it should be.
        ServerUnreachableError: no server.
    """
    files = read_folder(source)
    with connect(target, purpose="migrate status") as connection:
        applied, checksums = _read_records(connection)
    place = {file.id: number for number, file in enumerate(files)}
    in_order = sorted(applied, key=lambda migration: place.get(migration.id, -1))
    ids = [migration.id for migration in in_order]
    return MigrationStatus(
        applied=tuple(in_order),
        pending=tuple(file.id for file in files if file.id not in ids),
        head=ids[-1] if ids else None,
        problems=tuple(find_problems(files, ids, checksums)),
    )


def find_problems(
    files: Sequence[MigrationFile], applied: Sequence[str], checksums: Mapping[str, str]
) -> list[str]:
    """Return why these files do not fit what was applied, a sentence each.

    `checksums` are those recorded when they were applied. One that yoyo applied without us has
    none, and is taken as it is.
    """
    by_id = {file.id: file for file in files}
    new = {file.checksum: file.id for file in files if file.id not in applied}
    problems = []
    for name in applied:
        if name not in by_id:
            renamed = new.get(checksums.get(name, ""))
            problems.append(
                f"{name} was applied and has been renamed to {renamed}."
                if renamed
                else f"{name} was applied and its file is missing."
            )
        elif checksums.get(name, by_id[name].checksum) != by_id[name].checksum:
            problems.append(f"{name} was applied and has been edited since.")
    return problems


@contextmanager
def _session(
    target: Conninfo,
    purpose: str,
    on_step: Callable[[str], None],
    wait_s: float,
    lock_timeout_ms: int,
) -> Iterator[MigrationBackend]:
    with server_errors():
        backend = MigrationBackend(
            target, purpose=purpose, lock_timeout_ms=lock_timeout_ms, on_step=on_step
        )
        with backend, backend.lock(timeout=wait_s):
            backend.ensure_internal_schema_updated()
            yield backend


def _read_records(connection: Connection[Any]) -> tuple[list[AppliedMigration], dict[str, str]]:
    """Return yoyo's list of what was applied, and our checksums."""
    if not scalar(connection, "SELECT to_regclass('ops._yoyo_migration')"):
        return [], {}
    rows = connection.execute(read_sql("catalog/applied-migrations.sql")).fetchall()
    applied = [AppliedMigration(id_, when, by or "unknown") for id_, when, by in rows]
    if not scalar(connection, "SELECT to_regclass('ops.casedb_migration')"):
        return applied, {}
    checksums = connection.execute("SELECT migration_id, checksum FROM ops.casedb_migration")
    return applied, dict(checksums.fetchall())


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise ConfigurationError(
            "the migrations do not fit what was applied to this database",
            detail=" ".join(problems),
            hint="Bring the files back as they were applied (git log shows them); what is wrong "
            "in one is put right by a further migration.",
        )


def _refuse_irreversible(files: Sequence[MigrationFile]) -> None:
    for file in files:
        if file.rollback is None:
            raise RefusedError(
                f"{file.id} cannot be rolled back",
                detail=f"{file.rollback_path.name} is missing or has no statement.",
                hint="Restore a backup made before it, or undo it with a further migration.",
            )
