"""Connections to PostgreSQL, and its errors in our words."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from casedb.conninfo import Conninfo, redact
from casedb.errors import (
    CasedbError,
    ConfigurationError,
    RefusedError,
    ServerUnreachableError,
    ToolFailedError,
)

CONNECT_TIMEOUT_S = 10
POOLED = "the connection leads through a pooler"
POOLED_DETAIL = "The server's process is another one than the connection was told of."
POOLED_HINT = "Name the server's own address and port with --conninfo."
_UNBOUND = {"default_transaction_read_only": "off", "role": "none"}
_LOGIN_TRIGGERS_SINCE = 17

# By SQLSTATE, where the server has no hint of its own.
_STATE_HINTS = {
    "25006": "A standby takes no changes, nor does what was made read-only: is it the primary that "
    "is named (`casedb config show`), and does `casedb status` tell of a restore with --freeze?",
    "55P03": "Another session holds it: wait until that has ended, or end it, and try again.",
}
# What the server or libpq says, and what the reader should do about it. The first match wins.
_CONNECT_HINTS = (
    ("unsupported startup parameter", f"That is a pooler. {POOLED_HINT}"),
    (
        "password authentication failed",
        "Check the password in the passfile (~/.pgpass) or PGPASSWORD.",
    ),
    (
        "no password supplied",
        "Put the password into a passfile (mode 0600) and name it in PGPASSFILE.",
    ),
    ("no pg_hba.conf entry", "The server's pg_hba.conf does not let this role in from this host."),
    ("does not exist", "Create it first: `casedb up` for the embedded server."),
    ("too many clients", "Wait, or end idle sessions; max_connections is reached."),
    ("remaining connection slots", "Wait, or end idle sessions; max_connections is reached."),
    (
        "too many connections for",
        "Wait, or raise it: ALTER DATABASE or ALTER ROLE ... CONNECTION LIMIT. A dump takes three.",
    ),
    ("starting up", "The server is recovering; try again in a moment."),
    ("shutting down", "The server is stopping; start it again with `casedb up`."),
)
# What libpq says of words that no server was asked with (fe-connect.c), apart from those whose text
# alone is wrong: casedb/conninfo_values.py.
_FAULTY_WORDS = (
    "could not match",
    "could not parse network address",
    "invalid SSL protocol version range",
    "invalid integer value",
    "invalid port number",
    ' value: "',
    "definition of service",
    "service file",
    "weak sslmode",
    'value "require" invalid when',
    "bad value for",
)
_DEFAULT_HINT = (
    "Start the embedded server with `casedb up`; `casedb config show` tells which server is meant."
)


@contextmanager
def connect(
    target: Conninfo,
    *,
    purpose: str,
    settings: dict[str, str] | None = None,
    autocommit: bool = True,
) -> Iterator[Connection[TupleRow]]:
    """Open a connection for the length of a `with`; `purpose` shows in pg_stat_activity.

    `settings` are server settings for the whole session (lock_timeout, role, ...). They travel
    in the connection's options, so they hold before the first statement.

    Raises:
        ConfigurationError: libpq cannot do anything with the words.
        ServerUnreachableError: no server, or it refuses us.
        ToolFailedError: PostgreSQL reported an error inside the block.
    """
    connection = open_connection(target, purpose=purpose, settings=settings, autocommit=autocommit)
    with server_errors(), connection:
        yield connection


def open_connection(
    target: Conninfo,
    *,
    purpose: str,
    settings: dict[str, str] | None = None,
    autocommit: bool = True,
) -> Connection[TupleRow]:
    """Return an open connection that the caller closes; see `connect`."""
    words = session_words(target, purpose=purpose, settings=settings)
    try:
        # Without it the role's own setting counts, or the database's: from one in SQL_ASCII texts
        # would come as bytes.
        return psycopg.connect(words.dsn, autocommit=autocommit, client_encoding="UTF8")
    except psycopg.ProgrammingError as error:
        raise faulty_words(target, error) or error from None
    except psycopg.OperationalError as error:
        raise faulty_words(target, error) or unreachable(target, error) from error


def session_words(
    target: Conninfo, *, purpose: str, settings: dict[str, str] | None = None
) -> Conninfo:
    """Return `target` with its session's name and server settings written into its words."""
    return _with_settings(target, settings or {}).replace(
        application_name=f"casedb {purpose}",
        connect_timeout=target.get("connect_timeout") or CONNECT_TIMEOUT_S,
    )


def unbound(target: Conninfo, *, major: int | None = None) -> Conninfo:
    """Return `target` for sessions of ours that what is set for everybody there does not bind.

    A database that was just restored has the settings of its source, which may make every session
    read-only, or another role. Those in a connection's options come before them.

    Of a superuser, on a server of the `major` version, no event trigger fires either: one on login
    may refuse everybody, or write. Nobody else may set that.
    """
    untriggered = {"event_triggers": "off"} if major and major >= _LOGIN_TRIGGERS_SINCE else {}
    return _with_settings(target, _UNBOUND | untriggered)


def is_pooled(connection: Connection[Any]) -> bool:
    """Whether a pooler leads to the server, whose process is then not the one it told us of."""
    return bool(
        scalar(connection, "SELECT pg_catalog.pg_backend_pid()") != connection.info.backend_pid
    )


def require_direct(connection: Connection[Any]) -> None:
    """Refuse a pooler, before anything is set in a session that others get after us.

    Their locks stay behind as well, and the next statement may be another session's.

    Raises:
        RefusedError: a pooler stands between.
    """
    if is_pooled(connection):
        raise RefusedError(POOLED, detail=POOLED_DETAIL, hint=POOLED_HINT)


def server_major(connection: Connection[Any]) -> int:
    """Return the major version of the server."""
    return connection.info.server_version // 10000


def _with_settings(target: Conninfo, settings: dict[str, str]) -> Conninfo:
    options = [target.get("options") or ""]
    # In `options`, a backslash quotes the next character; see pg_split_opts() in the server.
    quoted = {
        name: value.replace("\\", "\\\\").replace(" ", "\\ ") for name, value in settings.items()
    }
    options += [f"-c {name}={value}" for name, value in quoted.items()]
    return target.replace(options=" ".join(filter(None, options)) or None)


def faulty_words(target: Conninfo, error: psycopg.Error) -> ConfigurationError | None:
    """Return the error that says what libpq cannot do with the words; None if it was not that."""
    reason = redact(" ".join(str(error).split()))
    if "FATAL:" in reason or not any(sign in reason for sign in _FAULTY_WORDS):
        return None
    # In psycopg's words it would seem that a server had been asked.
    said = reason.removeprefix("connection is bad: ").removeprefix("connection failed: ")
    return ConfigurationError(
        f"{describe(target)} is named in words that libpq does not accept",
        detail=f"{said}.".replace("..", "."),
        hint="`casedb config show` tells where they come from; those of a service are in "
        "pg_service.conf.",
    )


def unreachable(target: Conninfo, error: psycopg.Error) -> ServerUnreachableError:
    """Return the error that says which server could not be reached, why, and what to do."""
    reason = redact(str(error).strip())
    hint = next((advice for sign, advice in _CONNECT_HINTS if sign in reason), _DEFAULT_HINT)
    return ServerUnreachableError(
        f"cannot connect to {describe(target)}", detail=" ".join(reason.split()), hint=hint
    )


def describe(target: Conninfo) -> str:
    """Return 'database "x" on HOST:PORT as ROLE' for messages, without secrets."""
    host = target.get("host") or target.get("hostaddr") or "the local socket"
    port = target.get("port") or "5432"
    user = target.user or getpass.getuser()
    return f'database "{target.dbname or user}" on {host}:{port} as {user}'


@contextmanager
def server_errors() -> Iterator[None]:
    """Turn what psycopg raises inside the block into our errors, secrets masked."""
    try:
        yield
    except CasedbError:
        raise
    except psycopg.Error as error:
        lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        if error.sqlstate is None and not lost:
            # Raised by psycopg itself: a fault in our own call, and no word of the server.
            raise
        raise from_server(error) from error


def from_server(error: psycopg.Error) -> CasedbError:
    """Return `error` in our words: its message, detail with the SQLSTATE, and the server's hint."""
    diag = error.diag
    if diag.sqlstate is None or diag.sqlstate.startswith("57P"):
        return ServerUnreachableError(
            "the connection to the server was lost",
            detail=redact(" ".join(str(error).split())),
            hint="`casedb server status` tells whether it runs; what was open was rolled back.",
        )
    detail = " ".join(filter(None, [diag.message_detail, diag.context]))
    return ToolFailedError(
        redact(diag.message_primary or "PostgreSQL reported an error"),
        detail=redact(f"SQLSTATE {diag.sqlstate}. {detail}".strip()),
        hint=diag.message_hint or _STATE_HINTS.get(diag.sqlstate),
    )


def scalar(connection: Connection[Any], query: LiteralString, *parameters: object) -> Any:
    """Return the first column of the first row, or None when there is no row."""
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None
