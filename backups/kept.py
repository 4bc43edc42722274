"""Databases that were kept when another took their name: what they are, and how they are told.

All of it lies in settings of the databases themselves (`casedb.kept_of` and so on), set in the
transaction that changes the names: a run that is killed can leave none of it half done.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, sql

from backups.facts import read_settings
from backups.interrupts import Held, held
from backups.labels import report_label
from backups.properties import FROZEN, OURS, READ_ONLY, RESTORED, UNSET, thawing
from backups.records import standing, write_record
from backups.remembered import State, as_setting, read_state
from backups.reports import DropReport
from backups.restore_facts import KeptDatabase, kept_databases, read_server
from backups.restore_refusals import NAME_MAX_BYTES, require_fit
from backups.stores.base import Store
from backups.version import tool_version
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar, unbound
from casedb.errors import ConfigurationError, LockedError, RefusedError
from casedb.locks import maintenance_lock
from casedb.sqlfiles import read_sql

KEPT_OF = f"{OURS}kept_of"
KEPT_AT = f"{OURS}kept_at"
WAS_READ_ONLY = f"{OURS}was_read_only"
CONTENT = f"{OURS}content"
"""What it held at its last swap; see backups/remembered.py."""
_SETTINGS_WAIT_S = 10
_WAIT_FOR_SETTINGS = f"SET LOCAL lock_timeout = '{_SETTINGS_WAIT_S}s'"
_EXISTS: LiteralString = "SELECT true FROM pg_database WHERE datname = %s"


def kept_name(database: str, now: datetime) -> str:
    """Return the name under which `database` is kept at `now`.

    >>> kept_name("cases", datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC))
    'cases_kept_20261122T030405Z'
    """
    suffix = f"_kept_{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    head = database.encode()[: NAME_MAX_BYTES - len(suffix)].decode(errors="ignore")
    return head + suffix


def free_name(connection: Connection[Any], database: str, now: datetime) -> str:
    """Return a name to keep `database` under that nobody has: two swaps can be a second's work."""
    while scalar(connection, _EXISTS, kept_name(database, now)):
        now += timedelta(seconds=1)
    return kept_name(database, now)


def set_statement(database: str, name: str, value: str) -> sql.Composed:
    """Return the ALTER DATABASE that gives `database` one setting."""
    return sql.SQL("ALTER DATABASE {} SET {} = {}").format(
        sql.Identifier(database), _setting(name), sql.Literal(value)
    )


def reset_statement(database: str, name: str) -> sql.Composed:
    """Return the ALTER DATABASE that takes one setting from `database`."""
    return sql.SQL("ALTER DATABASE {} RESET {}").format(sql.Identifier(database), _setting(name))


def keeping(name: str, *, of: str, at: datetime, settings: Mapping[str, str]) -> list[sql.Composed]:
    """Return the statements that make the database `name`, so far `of`, a kept one: read-only."""
    was = settings.get(FROZEN) or settings.get(READ_ONLY) or UNSET
    return [
        set_statement(name, READ_ONLY, "on"),
        set_statement(name, WAS_READ_ONLY, was),
        set_statement(name, KEPT_OF, of),
        set_statement(name, KEPT_AT, at.astimezone(UTC).isoformat(timespec="seconds")),
        reset_statement(name, FROZEN),
    ]


def releasing(name: str, *, settings: Mapping[str, str]) -> list[sql.Composed]:
    """Return the statements that make the kept database `name` a living one again."""
    was = settings.get(WAS_READ_ONLY, UNSET)
    back = reset_statement(name, READ_ONLY) if was == UNSET else set_statement(name, READ_ONLY, was)
    return [back, *(reset_statement(name, ours) for ours in (WAS_READ_ONLY, KEPT_OF, KEPT_AT))]


def freeze(connection: Connection[Any], database: str) -> None:
    """Make `database` read-only for all sessions that begin from now on, and end the others.

    A session that insists with SET can still write; an application does not do so by accident.

    Raises:
        LockedError: somebody else is changing its settings, and does not end.
    """
    was = before_freezing(connection, database)
    # Both, even if one is there already: somebody may have reset the other one by hand.
    with _changing_settings(connection, database):
        connection.execute(set_statement(database, FROZEN, was))
        connection.execute(set_statement(database, READ_ONLY, "on"))
    scalar(connection, read_sql("catalog/end-sessions.sql"), [database])


def before_freezing(connection: Connection[Any], database: str) -> str:
    """Return what READ_ONLY of `database` is, or was before a restore made it read-only."""
    settings = read_settings(connection, database)
    return settings.get(FROZEN) or settings.get(READ_ONLY, UNSET)


def unfreeze(connection: Connection[Any], database: str) -> bool:
    """Let `database` be written again; return False if nothing had frozen it.

    Raises:
        LockedError: somebody else is changing its settings, and does not end.
    """
    settings = read_settings(connection, database)
    if FROZEN not in settings:
        return False
    with _changing_settings(connection, database):
        for statement in thawing(database, settings[FROZEN]):
            connection.execute(statement)
    scalar(connection, read_sql("catalog/end-sessions.sql"), [database])
    return True


@contextmanager
def _changing_settings(connection: Connection[Any], database: str) -> Iterator[None]:
    """Make the block one transaction, which does not wait for ever for somebody else's."""
    try:
        with connection.transaction():
            connection.execute(_WAIT_FOR_SETTINGS)
            yield
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(
            f'somebody else is changing the settings of "{database}"',
            detail=f"Waited {_SETTINGS_WAIT_S} s for a transaction with ALTER DATABASE to end.",
            hint="Let it end, or end its session with pg_terminate_backend(); then try again.",
        ) from error


def read_kept(admin: Conninfo, name: str, signals: Held, *, major: int, purpose: str) -> State:
    """Return what the kept database `name` holds, and remember it with it.

    Raises:
        CasedbError: it cannot be read or remembered, or one of `signals` came.
    """
    with connect(unbound(admin.replace(dbname=name), major=major), purpose=purpose) as old:
        state = signals.stopping(lambda: read_state(old), old.cancel)
    # It is read-only: a session of its own, whose setting is another database's.
    with connect(admin, purpose=purpose) as connection:
        connection.execute(set_statement(name, CONTENT, as_setting(state)))
    return state


def drop_kept(
    admin: Conninfo,
    kept: KeptDatabase,
    *,
    store: Store | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> DropReport:
    """Remove one kept database for good, and leave a report in `store`; its sessions are ended.

    `on_done` is called once it is gone: from then on nothing makes it a failure.

    Raises:
        RefusedError: it is none, or not any more; or the connection leads through a pooler, say.
        ToolFailedError: PostgreSQL reported an error.
    """
    reports: list[DropReport] = []
    with (
        standing(reports),
        connect(admin, purpose="drop kept") as connection,
        maintenance_lock(connection),
    ):
        require_fit(read_server(connection))
        if kept.name not in {found.name for found in kept_databases(connection, kept.of)}:
            raise RefusedError(
                f'"{kept.name}" is not a database that was kept of "{kept.of}"',
                detail="It lives under its own name, or is gone.",
                hint="`casedb drop-kept` lists them.",
            )
        backup = read_settings(connection, kept.name).get(RESTORED) or read_settings(
            connection, kept.of
        ).get(RESTORED)
        home, label = report_label(kept.of, backup, datetime.now(UTC))
        report = DropReport(
            label=label,
            at=datetime.now(UTC),
            database=kept.of,
            backup=backup,
            dropped=kept.name,
            since=kept.since,
            size_bytes=kept.size_bytes,
            tool_version=tool_version(),
        )
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(kept.name))
        with held() as signals:
            signals.let_through()
            connection.execute(drop)
            reports.append(report)
            on_done()
            if store is not None:
                reports.append(write_record(store, home, report))
    return reports[-1]


def choose_kept(kept: Sequence[KeptDatabase], database: str, name: str) -> KeptDatabase:
    """Return the kept database called `name`.

    Raises:
        ConfigurationError: there is no such one.
    """
    for found in kept:
        if found.name == name:
            return found
    names = ", ".join(found.name for found in kept)
    raise ConfigurationError(
        f'"{name}" was not kept of database "{database}"',
        detail=f"These were: {names}." if kept else "Nothing is kept of it.",
        hint="`casedb drop-kept` lists what is kept.",
    )


def _setting(name: str) -> sql.Composed:
    return sql.SQL(".").join(sql.Identifier(part) for part in name.split("."))
