"""One run at a time on a database: an advisory lock that names its holder.

Migrations and dumps share it: a migration's ACCESS EXCLUSIVE lock queued between a dump's snapshot
and its own locks would stop both for ever, each waiting for the other through a third session.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from casedb.database import scalar
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
    """
    deadline = time.monotonic() + wait_s
    while not scalar(connection, "SELECT pg_try_advisory_lock(%s, %s)", _CLASS_ID, _MAINTENANCE):
        if time.monotonic() >= deadline:
            raise _locked(connection)
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        if not connection.closed and not connection.broken:
            scalar(connection, "SELECT pg_advisory_unlock(%s, %s)", _CLASS_ID, _MAINTENANCE)


def _locked(connection: Connection[Any]) -> LockedError:
    row = connection.execute(
        read_sql("catalog/lock-holder.sql"), (_CLASS_ID, _MAINTENANCE)
    ).fetchone()
    holder = (
        f'"{row[0]}" as {row[2]}, server process {row[1]}, since {row[3]:%Y-%m-%d %H:%M:%S %Z}'
        if row
        else "a session that has just ended"
    )
    return LockedError(
        "another run is at work on this database",
        detail=f"The lock is held by {holder}.",
        hint="Try again when it has ended.",
    )
