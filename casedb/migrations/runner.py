"""Apply and roll back, and tell what stands: the steps of a run, in their order.

A migration and the record that it was applied are one transaction: a run that is killed, at any
moment, leaves nothing behind, and the next one carries on. What was applied is known by its
content; a file that was edited, renamed or lost afterwards is refused. What throws data away waits
until a backup was taken, or somebody has agreed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar, server_errors
from casedb.errors import ConfigurationError, LockedError, RefusedError, UsageError
from casedb.migrations.backend import LOCK_TIMEOUT_MS, MigrationBackend
from casedb.migrations.files import MigrationFile, read_folder
from casedb.migrations.losses import Loss, LossAheadError, announced
from casedb.migrations.records import (
    ChecksumState,
    Records,
    checksum_state,
    find_problems,
    read_records,
)

BeforeDestructive = Callable[[Sequence[Loss]], None]
"""Called before data is thrown away: returns if it may be (after a backup, say), or raises."""


@dataclass(frozen=True)
class AppliedMigration:
    """One migration that is in the database."""

    id: str
    applied_at: datetime
    """Aware, UTC."""
    by: str
    """Who ran it where: USER@HOST of the operating system."""
    checksum: ChecksumState
    """Whether its file is still the one that was applied."""


@dataclass(frozen=True)
class MigrationStatus:
    """What is in the database, what is not yet, and what does not fit together."""

    applied: tuple[AppliedMigration, ...]
    """In the order of their dependencies; those without a file come first."""
    pending: tuple[str, ...]
    head: str | None
    """The last applied migration; None on a database without any."""
    unfinished: tuple[str, ...]
    """Those that a killed run left half done outside of a transaction; a retry finishes them."""
    problems: tuple[str, ...]
    """Why `apply` would refuse, a sentence each; empty if all is well."""


def refuse_losses(losses: Sequence[Loss]) -> None:
    """Refuse to throw data away, and say which.

    Raises:
        RefusedError: always.
    """
    raise RefusedError(
        "this would throw data away",
        detail=f"{'; '.join(map(str, losses))}. Nothing was changed.",
        hint="`casedb migrate` takes a backup first, or goes on without one when told to.",
    )


def _quiet(_step: str) -> None:
    """Tell nobody."""


def apply(
    target: Conninfo,
    *,
    source: Path,
    on_step: Callable[[str], None] = _quiet,
    wait_s: float = 0.0,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    before_destructive: BeforeDestructive = refuse_losses,
) -> list[str]:
    """Apply what is pending in `source` and return the ids, in the order applied.

    Each migration is a transaction of its own: if the third fails, two are applied. `wait_s`
    seconds it waits for another run to end; a single lock of a migration `lock_timeout_ms`, then
    it gives way and tries again. `before_destructive` is called, while no lock is held, before
    data is thrown away.

    Raises:
        ConfigurationError: the folder, a directive or an applied file is not what it should be;
            or the database was not prepared. Nothing was applied.
        LockedError: another run is at work.
        RefusedError: data would be lost, and `before_destructive` did not agree.
        ServerUnreachableError: no server.
        ToolFailedError: a migration failed: file, line and SQLSTATE are named.
    """
    files = read_folder(source)
    done: list[str] = []
    agreed: set[str] = set()
    while True:
        try:
            with session(target, "migrate apply", on_step, wait_s, lock_timeout_ms) as backend:
                _apply_pending(backend, files, agreed, done, on_step)
            return done
        except LossAheadError as ahead:
            # Outside of the session: a backup wants the lock that it held.
            before_destructive(ahead.losses)
            agreed |= {loss.migration for loss in ahead.losses}


def _apply_pending(
    backend: MigrationBackend,
    files: Sequence[MigrationFile],
    agreed: set[str],
    done: list[str],
    on_step: Callable[[str], None],
) -> None:
    records = read_records(backend.connection)
    refuse_problems(files, records)
    for file in files:
        if file.id in records.ids and file.id not in records.checksums:
            on_step(f"{file.id} was applied by yoyo itself: recording its checksum")
            backend.record_checksum(file)
        if file.id in records.ids and file.id in records.unfinished:
            on_step(f"{file.id}: its rollback was interrupted; applying it again")
            backend.redo(file)
    pending = [file for file in files if file.id not in records.ids]
    # All of them before the first, so that one backup serves them all.
    _ask_about(backend, [file for file in pending if file.id not in agreed], "apply")
    for file in pending:
        on_step(f"applying {file.id}")
        backend.run(file, "apply", agreed=file.id in agreed)
        done.append(file.id)
        on_step(f"applied {file.id}")


def rollback(
    target: Conninfo,
    *,
    source: Path,
    count: int = 1,
    on_step: Callable[[str], None] = _quiet,
    wait_s: float = 0.0,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    before_destructive: BeforeDestructive = refuse_losses,
) -> list[str]:
    """Roll back the last `count` migrations and return their ids, newest first.

    Raises:
        UsageError: `count` is less than 1.
        RefusedError: one of them has no rollback file, or data would be lost and
            `before_destructive` did not agree; nothing was rolled back.
        ConfigurationError, LockedError, ServerUnreachableError, ToolFailedError: as `apply`.
    """
    if count < 1:
        raise UsageError(f"cannot roll back {count} migrations", hint="Ask for 1 or more.")
    files = read_folder(source)
    done: list[str] = []
    agreed: set[str] = set()
    chosen: list[MigrationFile] | None = None
    while True:
        try:
            with session(target, "migrate rollback", on_step, wait_s, lock_timeout_ms) as backend:
                records = read_records(backend.connection)
                refuse_problems(files, records)
                applied = [file for file in reversed(files) if file.id in records.ids]
                # Chosen once: what was agreed to is about these, whatever happened meanwhile.
                chosen = applied[:count] if chosen is None else chosen
                left = [file for file in chosen if file.id not in done]
                _refuse_if_overtaken(left, applied)
                _refuse_irreversible(left)
                _ask_about(backend, [file for file in left if file.id not in agreed], "rollback")
                for file in left:
                    on_step(f"rolling back {file.id}")
                    backend.run(file, "rollback", agreed=file.id in agreed)
                    done.append(file.id)
                    on_step(f"rolled back {file.id}")
            return done
        except LossAheadError as ahead:
            before_destructive(ahead.losses)
            agreed |= {loss.migration for loss in ahead.losses}


def status(target: Conninfo, *, source: Path) -> MigrationStatus:
    """Return what is applied and what is pending; changes nothing.

    Works for every role that may read the schema ops, and on a database without any migration.

    Raises:
        ConfigurationError: the folder is not what it should be.
        ServerUnreachableError: no server.
    """
    files = read_folder(source)
    with connect(target, purpose="migrate status") as connection:
        records = read_records(connection)
    by_id = {file.id: file for file in files}
    place = {file.id: number for number, file in enumerate(files)}
    applied = tuple(
        AppliedMigration(
            record.id,
            record.applied_at,
            record.by,
            checksum_state(record.id, by_id, records.checksums),
        )
        for record in sorted(records.applied, key=lambda record: place.get(record.id, -1))
    )
    return MigrationStatus(
        applied=applied,
        pending=tuple(file.id for file in files if file.id not in records.ids),
        head=applied[-1].id if applied else None,
        unfinished=tuple(sorted(records.unfinished)),
        problems=tuple(find_problems(files, [one.id for one in applied], records.checksums)),
    )


@contextmanager
def session(
    target: Conninfo,
    purpose: str,
    on_step: Callable[[str], None] = _quiet,
    wait_s: float = 0.0,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
) -> Iterator[MigrationBackend]:
    """Open a session as the owner that holds the maintenance lock and has its tables in place.

    Raises:
        ConfigurationError: the database was not prepared.
        LockedError: another run is at work, ours or yoyo's.
        ServerUnreachableError: no server.
    """
    with server_errors():
        backend = MigrationBackend(
            target, purpose=purpose, lock_timeout_ms=lock_timeout_ms, on_step=on_step
        )
        with backend, backend.lock(timeout=wait_s):
            backend.ensure_internal_schema_updated()
            _refuse_while_yoyo_runs(backend)
            yield backend


def refuse_problems(files: Sequence[MigrationFile], records: Records) -> None:
    """Refuse files that do not fit what was applied.

    Raises:
        ConfigurationError: names each of them.
    """
    problems = find_problems(files, records.ids, records.checksums)
    if problems:
        out_of_order = all("comes after it" in problem for problem in problems)
        raise ConfigurationError(
            "the migrations do not fit what was applied to this database",
            detail=" ".join(problems),
            hint="Give the late one the next free number, and let it depend on the last one."
            if out_of_order
            else "Bring the files back as they were applied (git log shows them); what is wrong "
            "in one is put right by a further migration.",
        )


def _refuse_while_yoyo_runs(backend: MigrationBackend) -> None:
    pid = scalar(backend.connection, "SELECT pid FROM ops.yoyo_lock LIMIT 1")
    if pid is not None:
        raise LockedError(
            "the yoyo command is at work on this database, or was killed in it",
            detail=f"Its lock names process {pid} of the machine where it runs.",
            hint="Wait for its end; if it is dead, `yoyo break-lock` removes what it left.",
        )


def _ask_about(backend: MigrationBackend, files: Sequence[MigrationFile], direction: str) -> None:
    losses = backend.patiently(
        "measuring tables", lambda: announced(backend.connection, files, direction)
    )
    if losses:
        raise LossAheadError(losses)


def _refuse_if_overtaken(left: Sequence[MigrationFile], applied: Sequence[MigrationFile]) -> None:
    if list(left) != list(applied[: len(left)]):
        raise RefusedError(
            "another run changed this database meanwhile, nothing more was rolled back",
            detail="The migrations that were about to be rolled back are no longer the last ones.",
            hint="`casedb migrate status` shows what is applied now.",
        )


def _refuse_irreversible(files: Sequence[MigrationFile]) -> None:
    for file in files:
        if file.rollback is None:
            raise RefusedError(
                f"{file.id} cannot be rolled back",
                detail=f"{file.rollback_path.name} is missing or has no statement.",
                hint="Restore a backup made before it, or undo it with a further migration.",
            )
