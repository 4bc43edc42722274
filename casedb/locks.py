"""One run at a time: locks that name their holder and free themselves when it dies.

On a database, an advisory lock; on a folder, a file lock.

Migrations and dumps share it: a migration's ACCESS EXCLUSIVE lock queued between a dump's snapshot
and its own locks would stop both for ever, each waiting for the other through a third session.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection

from casedb.database import require_direct, scalar
from casedb.errors import LockedError
from casedb.sqlfiles import read_sql

# "case" in ASCII, so that the lock is recognisable in pg_locks.classid; 1 is "maintenance".
_CLASS_ID = 0x63617365
_MAINTENANCE = 1
_POLL_S = 0.2


@contextmanager
def maintenance_lock(connection: Connection[Any], *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the database's maintenance lock for the length of the block.

    Polled, never waited for inside the server: a session waiting for a lock holds a snapshot, and
    CREATE INDEX CONCURRENTLY waits for every older snapshot. The server frees the lock by itself
    when the session ends, however it ends.

    Raises:
        LockedError: if another session still holds it after `wait_s` seconds; names that session.
        RefusedError: through a pooler, which would keep the lock.
    """
    require_direct(connection)
    deadline = time.monotonic() + wait_s
    while not scalar(connection, "SELECT pg_try_advisory_lock(%s, %s)", _CLASS_ID, _MAINTENANCE):
        if time.monotonic() >= deadline:
            raise _locked(connection)
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        # Of a session that is gone the server has freed it; the work in the block is as it is.
        with suppress(psycopg.OperationalError):
            scalar(connection, "SELECT pg_advisory_unlock(%s, %s)", _CLASS_ID, _MAINTENANCE)


@contextmanager
def shared_lock(connection: Connection[Any], *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the maintenance lock so that more sessions of the same run can hold it: `joined_lock`.

    Raises:
        LockedError: as `maintenance_lock`.
    """
    with maintenance_lock(connection, wait_s=wait_s):
        # Nobody comes between: a session does not get into its own way.
        scalar(connection, "SELECT pg_advisory_lock_shared(%s, %s)", _CLASS_ID, _MAINTENANCE)
    with _unlocked_afterwards(connection):
        yield


@contextmanager
def joined_lock(connection: Connection[Any]) -> Iterator[None]:
    """Hold with this session as well what another one of the run holds by `shared_lock`.

    When a run is killed, the server still does what its sessions had been told, be it to commit.
    Whoever comes next is kept out until the last of them has ended.

    Raises:
        LockedError: the other session has lost it, and another run has it.
    """
    if not scalar(
        connection, "SELECT pg_try_advisory_lock_shared(%s, %s)", _CLASS_ID, _MAINTENANCE
    ):
        raise _locked(connection)
    with _unlocked_afterwards(connection):
        yield


@contextmanager
def _unlocked_afterwards(connection: Connection[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        # Not left to the end of the session, which the server sees to a moment later.
        with suppress(psycopg.OperationalError):
            scalar(connection, "SELECT pg_advisory_unlock_shared(%s, %s)", _CLASS_ID, _MAINTENANCE)


def _locked(connection: Connection[Any]) -> LockedError:
    row = connection.execute(
        read_sql("catalog/lock-holder.sql"), (_CLASS_ID, _MAINTENANCE)
    ).fetchone()
    holder = "a session that has just ended"
    if row:
        name, pid, user, started = row
        # Without pg_read_all_stats a role sees of other roles' sessions little but the pid.
        since = f", since {started:%Y-%m-%d %H:%M:%S %Z}" if started else ""
        holder = f'"{name or "casedb"}" as {user or "another role"}, server process {pid}{since}'
    return LockedError(
        "another run is at work on this database",
        detail=f"The lock is held by {holder}.",
        hint="Try again when it has ended.",
    )


@contextmanager
def file_lock(path: Path, *, what: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` for the length of the block; `what` is the folder, for messages.

    The kernel frees it when the process ends, however it ends. The file itself stays: removing it
    would let two runs lock two files of the same name.

    Raises:
        LockedError: if another process still holds it after `wait_s` seconds; names that process.
    """
    deadline = time.monotonic() + wait_s
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
                    raise LockedError(
                        f"another run is at work on {what}",
                        detail=f"Process {holder} holds {path}.",
                        hint="Try again when it has ended.",
                    ) from None
                time.sleep(_POLL_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock file `path`."""
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
