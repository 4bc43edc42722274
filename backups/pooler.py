"""A PgBouncer before the server: its clients are held back while names change.

https://www.pgbouncer.org/usage.html#process-controlling-commands
"""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from psycopg import Connection, sql

from backups.interrupts import Held, add_way_out
from casedb.conninfo import Conninfo, redact
from casedb.database import open_connection
from casedb.errors import CasedbError, LockedError, ServerUnreachableError

PAUSE_TIMEOUT_S = 10.0
"""How long the transactions that run are waited for. New ones wait behind it all the while."""
RESUME_TIMEOUT_S = 5.0
"""How long one of several attempts to let everybody go on may take."""
_RESUME_ATTEMPTS = 3
# Nothing is held back then, whatever we asked for.
_NOT_HELD = ("no such database", "not paused")


@contextmanager
def paused(console: Conninfo | None, database: str, signals: Held) -> Iterator[list[str]]:
    """Hold back the clients of `database` for the length of the block; without a console, nobody.

    RESUME is sent however the block ends. If it is not heard, its exact command is told: in what
    this yields, when the block has ended well, or else with the block's error. If this process is
    killed, RESUME has to be sent by hand, or PgBouncer restarted.

    Raises:
        LockedError: its transactions did not end in time, or it pools whole sessions.
        ServerUnreachableError: the console cannot be reached.
        KeyboardInterrupt: one of `signals` came before all were held back.
    """
    left: list[str] = []
    if console is None:
        yield left
        return
    # A second session, because the first one waits for PAUSE and hears nothing until then.
    with closing(_reach(console)) as pausing, closing(_reach(console)) as resuming:
        try:
            _pause(pausing, database, signals)
            yield left
        except BaseException as error:
            for line in _resume(console, resuming, database):
                add_way_out(error, line)
            raise
        left += _resume(console, resuming, database)


def resume_command(console: Conninfo, database: str) -> str:
    """Return what a person types to let the clients of `database` go on."""
    words = _words("RESUME", database).as_string(None)
    return f"psql {shlex.quote(str(console))} -c {shlex.quote(words)}"


def require_console(console: Conninfo | None) -> None:
    """Make sure that `paused` will get to the console: before hours of loading, and not after.

    Raises:
        ServerUnreachableError: it cannot be reached.
    """
    if console:
        _reach(console).close()


def _reach(console: Conninfo) -> Connection[Any]:
    try:
        return open_connection(console, purpose="restore")
    except ServerUnreachableError as error:
        raise ServerUnreachableError(
            "the console of PgBouncer cannot be reached; nothing was changed",
            detail=error.detail,
            hint="Start it; or go on without, --pooler '': its clients then see their connection "
            "end, and no pause.",
        ) from error


def _pause(connection: Connection[Any], database: str, signals: Held) -> None:
    message = f'PgBouncer could not pause database "{database}"; nothing was changed'
    answer = _ask(connection, "PAUSE", database, PAUSE_TIMEOUT_S, signals.let_through)
    if answer is None:
        raise LockedError(
            message,
            detail=f"Its transactions did not end within {PAUSE_TIMEOUT_S:g} s.",
            hint="End the long transaction, or go on without, --pooler '': clients then see "
            "their connection end. With pool_mode = session PAUSE waits for every client.",
        )
    if answer and "no such database" not in answer:
        raise LockedError(message, detail=answer, hint="Look at SHOW DATABASES in its console.")


def _resume(console: Conninfo, connection: Connection[Any], database: str) -> list[str]:
    """Let the clients go on; return what is left to do, nothing if they do."""
    problem = ""
    for attempt in range(_RESUME_ATTEMPTS):
        try:
            if attempt == 0:
                answer = _ask(connection, "RESUME", database, RESUME_TIMEOUT_S)
            else:
                with closing(open_connection(console, purpose="restore")) as another:
                    answer = _ask(another, "RESUME", database, RESUME_TIMEOUT_S)
        except (psycopg.Error, CasedbError) as error:
            problem = getattr(error, "message", None) or str(error)
            continue
        if answer == "" or any(sign in (answer or "") for sign in _NOT_HELD):
            return []
        problem = answer or f"it did not answer within {RESUME_TIMEOUT_S:g} s"
    return [
        f'PgBouncer may still hold back the clients of "{database}" '
        f"({redact(' '.join(problem.split()))}). Let them go: {resume_command(console, database)}"
    ]


def _ask(
    connection: Connection[Any],
    verb: str,
    database: str,
    timeout_s: float,
    look: Callable[[], None] = lambda: None,
) -> str | None:
    """Return what the console has against it, nothing if it was done; None if it says nothing.

    Never waits for the console alone: `look` is called all the while.
    """
    deadline = time.monotonic() + timeout_s
    connection.pgconn.send_query(_words(verb, database).as_bytes(None))
    while connection.pgconn.is_busy():
        look()
        if time.monotonic() > deadline:
            return None
        time.sleep(0.01)
        connection.pgconn.consume_input()
    said = []
    while (result := connection.pgconn.get_result()) is not None:
        said.append(result.error_message.decode(errors="replace").strip())
    return " ".join(filter(None, said))


def _words(verb: str, database: str) -> sql.Composed:
    return sql.SQL(f"{verb} {{}}").format(sql.Identifier(database))
