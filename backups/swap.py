"""Two databases change names in one transaction, while their sessions are ended.

No closed state is ever committed: nobody is kept out by ALLOW_CONNECTIONS or CONNECTION LIMIT,
which would outlive a killed run. RENAME itself locks the database against new connections and
waits up to five seconds for the old ones to go (CountOtherDBBackends in the server's procarray.c),
so one session renames and another ends those that are there.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import Connection, sql

from backups.interrupts import Held
from backups.pooler import paused
from backups.restore_facts import read_obstacles
from backups.restore_refusals import obstacle_refusals
from casedb.conninfo import Conninfo
from casedb.database import connect, open_connection, scalar, server_errors
from casedb.errors import CasedbError, LockedError, RefusedError, ServerUnreachableError
from casedb.sqlfiles import read_sql

TOO_LATE = "interrupted too late to stop it: the names had been swapped, and that stands"
ATTEMPTS = 5
_LOCK_TIMEOUT_S = 5
_POLL_S = 0.02
# Somebody was still there, or holds the name's lock; all of it is rolled back, and tried again.
_PASSING = (
    psycopg.errors.ObjectInUse,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
)


@dataclass(frozen=True)
class Swap:
    """Which names change, and what is set in the same transaction."""

    live: str
    """The name that applications use."""
    incoming: str
    """The name of the database that gets it."""
    outgoing: str
    """The new name of the database that has it now."""
    statements: Sequence[sql.Composed] = ()
    """Run after the names have changed, in the same transaction."""
    writes: "Writes | None" = None
    """What `writes_to` told of the live database earlier: nothing may have been written since."""


class WrittenMeanwhileError(RefusedError):
    """Somebody wrote, or may have, between a look at the live database and the swap."""


@dataclass(frozen=True)
class Writes:
    """How much was written to a database, as the server counts it: equal means nothing was.

    Unequal need not mean that a table has changed: the server's own statistics are rows too.
    """

    rows: int
    counted_since: datetime | None


@dataclass(frozen=True)
class SwapReport:
    """What a swap did."""

    unavailable_s: float
    """Over all attempts, from the first session's end or PAUSE to the commit or RESUME: how long
    nobody could use the name."""
    attempts: int
    ended_sessions: int
    """In all attempts."""
    left: tuple[str, ...] = ()
    """What is left to do by hand, with its command: a PgBouncer that did not hear RESUME."""


def writes_to(connection: Connection[Any], database: str) -> Writes | None:
    """Return how much was written to `database` so far; None if the server does not count."""
    row = connection.execute(read_sql("catalog/database-writes.sql"), (database,)).fetchone()
    return Writes(*row) if row else None


def swap_names(
    admin: Conninfo, swap: Swap, signals: Held, *, pooler: Conninfo | None = None
) -> SwapReport:
    """Change the names, or nothing; `admin` is a superuser on another database, such as postgres.

    `pooler` is the admin console of a PgBouncer in front of the server: it holds its clients back
    meanwhile, who then see a pause and no error. `signals` are held back by the caller until he
    has noted what was done: one that comes in time stops the swap, a later one changes nothing.

    Raises:
        RefusedError: something holds one of the names by now; nothing was changed.
        LockedError: somebody could not be made to go in several attempts; nothing was changed.
        WrittenMeanwhileError: nothing was to be written any more, and was; nothing was changed.
        ToolFailedError: PostgreSQL reported an error; nothing was changed.
        ServerUnreachableError: the connection was lost; whether it was done is in the detail.
        KeyboardInterrupt: a signal came in time; nothing was changed.
    """
    signals.let_through()
    identity = _oid(admin, swap.incoming)
    # Closed and no more: that this session was lost says nothing about the swap.
    with (
        server_errors(),
        closing(open_connection(admin, purpose="restore: end sessions")) as ending,
    ):
        # Before anybody is held back or sent away.
        _require_free(ending, swap)
        tally = _Tally(time.monotonic())
        with paused(pooler, swap.live, signals) as left:
            _attempts(admin, ending, swap, identity, tally, signals)
            tally.done()
        if pooler:
            tally.done()
    return SwapReport(tally.took_s, tally.attempts, tally.ended_sessions, tuple(left))


@dataclass
class _Tally:
    """What the attempts have come to so far."""

    began: float
    took_s: float = 0.0
    attempts: int = 0
    ended_sessions: int = 0

    def done(self) -> None:
        self.took_s = round(time.monotonic() - self.began, 3)


def _attempts(
    admin: Conninfo,
    ending: Connection[Any],
    swap: Swap,
    identity: int,
    tally: _Tally,
    signals: Held,
) -> None:
    last: psycopg.Error | None = None
    while tally.attempts < ATTEMPTS:
        signals.let_through()
        tally.attempts += 1
        try:
            return _attempt(admin, ending, swap, identity, tally, signals)
        except _PASSING as error:
            last = error
            # What came meanwhile and stays is worth no further attempt.
            _require_free(ending, swap)
    tally.done()
    raise LockedError(
        f'the name of database "{swap.live}" could not be changed; nothing was',
        detail=f"{ATTEMPTS} attempts in {tally.took_s:.1f} s, while every session was ended; "
        f"the last: {last}".strip()
        + ".",
        hint="`casedb restore --plan` shows who is connected. Try again.",
    )


def _require_free(connection: Connection[Any], swap: Swap) -> None:
    """Refuse if something holds one of the names: hours may lie between the plan and this."""
    for name in (swap.live, swap.incoming):
        for refusal in obstacle_refusals(name, read_obstacles(connection, name)):
            raise refusal.as_error()


def _attempt(
    admin: Conninfo,
    ending: Connection[Any],
    swap: Swap,
    identity: int,
    tally: _Tally,
    signals: Held,
) -> None:
    renaming = open_connection(
        admin, purpose="restore: rename", settings={"lock_timeout": f"{_LOCK_TIMEOUT_S}s"}
    )
    failure: BaseException | None = None
    with ThreadPoolExecutor(1) as pool, closing(renaming):
        done = pool.submit(_rename, renaming, swap)
        try:
            while not done.done():
                if signals.came:
                    renaming.cancel()
                tally.ended_sessions += _end_sessions(ending, swap)
                wait([done], timeout=_POLL_S)
        except BaseException as error:
            # The other session was lost, say: give up, unless it is too late to.
            failure = error
            with suppress(psycopg.Error):
                renaming.cancel()
            wait([done])
    if not _committed(admin, swap, identity, done):
        if failure:
            raise failure
        signals.let_through()
        with server_errors():
            raise done.exception() or AssertionError("nothing failed, and nothing was done")


def _rename(connection: Connection[Any], swap: Swap) -> None:
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    with connection.transaction():
        for old, new in ((swap.live, swap.outgoing), (swap.incoming, swap.live)):
            connection.execute(rename.format(sql.Identifier(old), sql.Identifier(new)))
        _require_no_more_writes(connection, swap)
        for statement in swap.statements:
            connection.execute(statement)
        # What was loaded may have been committed without waiting for the disk; this waits for all.
        connection.execute("SET LOCAL synchronous_commit = on")


def _require_no_more_writes(connection: Connection[Any], swap: Swap) -> None:
    """Refuse if more was written than `swap.writes`; nobody else can enter before the end.

    The renamed database has no session any more, and each has told what it wrote before it went.
    """
    if swap.writes is None or writes_to(connection, swap.outgoing) == swap.writes:
        return
    raise WrittenMeanwhileError(
        f'database "{swap.live}" was written to just now; nothing was changed',
        detail="Between the look at what it holds and the swap, after which nobody would miss it.",
        hint="Try again: it is looked at anew.",
    )


def _end_sessions(connection: Connection[Any], swap: Swap) -> int:
    names = [swap.live, swap.incoming]
    return int(scalar(connection, read_sql("catalog/end-sessions.sql"), names) or 0)


def _committed(admin: Conninfo, swap: Swap, identity: int, done: "Future[None]") -> bool:
    """Whether the names have changed; asks the server where the answer was lost."""
    error = done.exception()
    if error is None:
        return True
    if isinstance(error, _PASSING):
        raise error
    lost = isinstance(error, psycopg.OperationalError) and not isinstance(
        error, psycopg.errors.QueryCanceled
    )
    if not lost:
        return False
    try:
        return _oid(admin, swap.live) == identity
    except CasedbError as unreachable:
        raise ServerUnreachableError(
            f'the connection was lost while "{swap.live}" got its new name',
            detail=f"Either both names changed or none. {unreachable.detail or ''}".strip(),
            hint="Run `casedb restore --plan` when the server is back: it shows what there is.",
        ) from error


def _oid(admin: Conninfo, database: str) -> int:
    with connect(admin, purpose="restore") as connection:
        query = "SELECT oid::bigint FROM pg_database WHERE datname = %s"
        return int(scalar(connection, query, database) or 0)
