"""A PgBouncer before the server: its clients are held back while names change.

https://www.pgbouncer.org/usage.html#process-controlling-commands
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import Connection, sql

from casedb.conninfo import Conninfo
from casedb.database import open_connection
from casedb.errors import LockedError, ServerUnreachableError

PAUSE_TIMEOUT_S = 10.0
"""How long the transactions that run are waited for. New ones wait behind it all the while."""


@contextmanager
def paused(console: Conninfo | None, database: str) -> Iterator[None]:
    """Hold back the clients of `database` for the length of the block; without a console, nobody.

    RESUME is sent however the block ends. If this process is killed, it is not: then
    `RESUME` has to be sent by hand, or PgBouncer restarted.

    Raises:
        LockedError: its transactions did not end in time, or it pools whole sessions.
        ServerUnreachableError: the console cannot be reached.
    """
    if console is None:
        yield
        return
    # A second session, because the first one waits for PAUSE and hears nothing until then.
    with _open(console) as pausing, _open(console) as resuming:
        try:
            _pause(pausing, database)
            yield
        finally:
            with suppress(psycopg.Error):
                _tell(resuming, "RESUME", database)


def require_console(console: Conninfo | None) -> None:
    """Make sure that `paused` will get to the console: before hours of loading, and not after.

    Raises:
        ServerUnreachableError: it cannot be reached.
    """
    if console:
        _open(console).close()


def _open(console: Conninfo) -> Connection[Any]:
    try:
        return open_connection(console, purpose="restore")
    except ServerUnreachableError as error:
        raise ServerUnreachableError(
            "the console of PgBouncer cannot be reached; nothing was changed",
            detail=error.detail,
            hint="Start it; or go on without, --pooler '': its clients then see their connection "
            "end, and no pause.",
        ) from error


def _pause(connection: Connection[Any], database: str) -> None:
    began = time.monotonic()
    connection.pgconn.send_query(_words("PAUSE", database).as_bytes(None))
    while connection.pgconn.is_busy():
        if time.monotonic() - began > PAUSE_TIMEOUT_S:
            raise LockedError(
                f'PgBouncer could not pause database "{database}"; nothing was changed',
                detail=f"Its transactions did not end within {PAUSE_TIMEOUT_S:g} s.",
                hint="End the long transaction, or go on without, --pooler '': clients then see "
                "their connection end. With pool_mode = session PAUSE waits for every client.",
            )
        time.sleep(0.01)
        connection.pgconn.consume_input()
    while (result := connection.pgconn.get_result()) is not None:
        message = result.error_message.decode(errors="replace").strip()
        # Not known, or paused already: somebody else's pause is not ours to end.
        if message and "no such database" not in message:
            raise LockedError(
                f'PgBouncer could not pause database "{database}"; nothing was changed',
                detail=message,
                hint="Look at SHOW DATABASES in its console.",
            )


def _tell(connection: Connection[Any], verb: str, database: str) -> None:
    connection.pgconn.exec_(_words(verb, database).as_bytes(None))


def _words(verb: str, database: str) -> sql.Composed:
    return sql.SQL(f"{verb} {{}}").format(sql.Identifier(database))
