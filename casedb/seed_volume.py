"""Sample data by the million: users, cases in all states, their logs and documents.

Loaded in blocks, each in one transaction, several at once: a killed run leaves whole blocks, and
the same command loads those that are missing. Nothing is held in memory but the blocks that are
being loaded.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, LiteralString

import bcrypt
from psycopg import Connection, sql

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError
from casedb.locks import joined_lock, shared_lock
from casedb.marks import require_development
from casedb.seed import DEMO_PASSWORD, Seeded
from casedb.sqlfiles import read_sql
from casedb.volume import Case, Document, Entry, User, Volume

OnBlock = Callable[[int, int], None]
"""Called with the cases that are there so far, and all that were asked for."""

# One hash for all, of the demo password. A fixed salt, so that the same seed gives the same rows.
_SALT = b"$2b$10$casedbVolumeSampleSalu"
_LOCK_WAIT_S = 10.0
# While one block is invented here, the server loads another. A third would take 45 MB more.
_SESSIONS = 2
_CASES = ("public", "cases")
_DOCUMENTS = ("public", "case_documents")
_USERS = ("public", "users")


@dataclass(frozen=True)
class VolumeResult:
    """What `seed_volume` created, and what an earlier run of the same volume had left."""

    users: Seeded
    cases: Seeded
    logs: int
    """Entries created now."""
    documents: int
    """Rows created now."""


def seed_volume(
    target: Conninfo, *, cases: int, seed: int, on_block: OnBlock = lambda _done, _total: None
) -> VolumeResult:
    """Load `cases` invented cases with all that belongs to them, as case_seed.

    The same number and seed give the same rows in users (password included), cases, case_logs and
    case_documents. All users have the demo password.

    Raises:
        RefusedError: the database is not marked development.
        ConfigurationError: its schema is older than the audit chain.
        LockedError: a migration or another run is at work on it.
    """
    volume = Volume(cases, seed)
    with connect(target, purpose="seed") as connection:
        require_development(connection, "sample data with a public password")
        if not scalar(connection, "SELECT to_regproc('audit.load_case_logs')"):
            raise ConfigurationError(
                "the tables to seed are missing or too old",
                hint="Apply the migrations first: `casedb migrate apply`.",
            )
        with shared_lock(connection, wait_s=_LOCK_WAIT_S):
            users = _load_users(connection, volume)
            missing = [
                number
                for number in range(volume.blocks)
                if not _is_there(connection, _CASES, volume.first_case_id(number))
            ]
            there = cases - sum(map(volume.size_of, missing))
            on_block(there, cases)
            created = logs = documents = 0
            for rows in _load_blocks(target, volume, missing):
                created += rows.cases
                logs += rows.logs
                documents += rows.documents
                on_block(there + created, cases)
    return VolumeResult(users, Seeded(created, there), logs, documents)


@dataclass(frozen=True)
class _Loaded:
    """How many rows a block had."""

    cases: int
    logs: int
    documents: int


def _load_blocks(target: Conninfo, volume: Volume, numbers: Sequence[int]) -> Iterator[_Loaded]:
    """Load the blocks in sessions of their own, and tell of each when it is there.

    The caller holds the lock, and they hold it with him: a session may outlive a killed run, be at
    a commit, and what it loads must not seem to be missing to whoever comes next.
    """
    left = iter(numbers)
    running: dict[Future[_Loaded], Connection[Any]] = {}
    # The threads end before their sessions do, whatever happens.
    with ExitStack() as sessions, ThreadPoolExecutor(max_workers=_SESSIONS) as threads:

        def start(session: Connection[Any]) -> None:
            number = next(left, None)
            if number is not None:
                running[threads.submit(_load_block, session, volume, number)] = session

        for _ in range(min(_SESSIONS, len(numbers))):
            session = sessions.enter_context(connect(target, purpose="seed"))
            sessions.enter_context(joined_lock(session))
            start(session)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                session = running.pop(future)
                loaded = future.result()
                start(session)
                yield loaded


def _load_users(connection: Connection[Any], volume: Volume) -> Seeded:
    users = [user for group in volume.users.values() for user in group]
    if _is_there(connection, _USERS, users[0].id):
        return Seeded(created=0, already_there=len(users))
    password = bcrypt.hashpw(DEMO_PASSWORD.encode(), _SALT).decode()
    rows = ((*user, user.created_at, password) for user in users)
    with connection.transaction():
        _copy(connection, _USERS, (*User._fields, "updated_at", "password"), rows)
    return Seeded(created=len(users), already_there=0)


def _load_block(connection: Connection[Any], volume: Volume, number: int) -> _Loaded:
    block = volume.block(number)
    with connection.transaction():
        # Only case_seed, and only in a database marked development, is let past the workflow's
        # and the audit's triggers; see docs/schema.md.
        connection.execute(read_sql("seed/volume-settings.sql"))
        _copy(connection, _CASES, Case._fields, block.cases)
        _load_entries(connection, block.entries)
        _copy(connection, _DOCUMENTS, Document._fields, block.documents)
    return _Loaded(len(block.cases), len(block.entries), len(block.documents))


def _load_entries(connection: Connection[Any], entries: Sequence[Entry]) -> None:
    ids, case_ids, user_ids, actions, details, times = zip(*entries, strict=True)
    # Put together here, as none of it has to be quoted: the driver would look at each value.
    arrays = [f"{{{','.join(values)}}}" for values in (ids, case_ids, user_ids, actions)]
    moments = f"{{{','.join([moment.isoformat() for moment in times])}}}"
    values = (*arrays, f"[{','.join(details)}]", moments)
    connection.execute(read_sql("seed/load-logs.sql"), values)


def _copy(
    connection: Connection[Any],
    table: tuple[str, str],
    columns: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(*table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor().copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _is_there(connection: Connection[Any], table: tuple[str, str], identity: str) -> bool:
    query: LiteralString = "SELECT EXISTS (SELECT FROM {} WHERE id = %s)"
    row = connection.execute(sql.SQL(query).format(sql.Identifier(*table)), (identity,)).fetchone()
    return bool(row and row[0])
