"""What is dumped, what is proven and what the manifest says are one and the same moment."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import pytest
from psycopg import Connection, sql

from backups import fingerprint, snapshot
from backups.archive_form import ArchiveForm
from backups.content import SETTINGS
from backups.drill import drill
from backups.dump import dump
from backups.manifest import RoleFacts
from backups.progress import Progress
from backups.stores import LocalStore
from backups.watchdog import Watchdog
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect, open_connection, scalar
from casedb.errors import LockedError
from casedb.tools import PostgresTools


@contextmanager
def truncating(database: Conninfo, table: str) -> Iterator[threading.Thread]:
    """Another session that truncates a table, waiting for as long as it takes."""
    done: list[str] = []

    def work() -> None:
        with open_connection(database, purpose="truncate") as connection:
            connection.execute(f"TRUNCATE {table}".encode())
            done.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        deadline = time.monotonic() + 120
        with open_connection(database, purpose="test") as connection:
            while not done and not scalar(
                connection,
                "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted",
            ):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield thread
    finally:
        thread.join(20)


def rows(manifest: object) -> dict[str, int]:
    return {table.name: table.rows for table in manifest.tables}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("jobs", "binary", "waits"), [(1, False, "pg_dump"), (1, True, "psql"), (2, True, "psql")]
)
def test_a_truncate_that_queues_before_pg_dump_goes_first_and_is_wholly_in_the_dump(
    small: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
    binary: bool,
    waits: str,
) -> None:
    """Without the bound, the three would wait for each other for ever.

    Where sessions of ours read large tables, it is they that wait, before pg_dump begins.
    """
    threads: list[threading.Thread] = []
    stack: list[object] = []
    take = snapshot._take

    def overtaken_once(connection: object) -> snapshot.Snapshot:
        found = take(connection)  # type: ignore[arg-type]
        if not stack:
            context = truncating(small, "one")
            stack.append(context)
            threads.append(context.__enter__())
        return found

    monkeypatch.setattr(snapshot, "_take", overtaken_once)
    store = LocalStore(tmp_path)
    phases: list[str] = []

    manifest = dump(
        small,
        store,
        tools=tools,
        lock_wait_s=1,
        form=ArchiveForm(jobs=jobs, binary=binary, large_from_bytes=0),
        on_progress=lambda p: phases.append(p.phase),
    )

    threads[0].join(10)
    assert not threads[0].is_alive()
    (why,) = [phase for phase in phases if "letting another session go first" in phase]
    assert waits in why
    assert rows(manifest) == {"one": 0, "two": 1000}
    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"


def test_a_truncate_after_pg_dump_has_its_locks_waits_and_is_not_in_the_dump(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    contexts: list[object] = []

    def truncate(progress: Progress) -> None:
        if progress.phase == "proving the tables" and not contexts:
            with open_connection(small, purpose="test") as connection:
                # Ours and pg_dump's; of so few rows it may be through before anybody looks.
                deadline = time.monotonic() + 3
                while (
                    scalar(
                        connection,
                        "SELECT count(*) FROM pg_locks WHERE relation = 'one'::regclass",
                    )
                    < 2
                    and time.monotonic() < deadline
                ):
                    time.sleep(0.02)
            context = truncating(small, "one")
            contexts.append(context)
            context.__enter__()

    manifest = dump(small, store, tools=tools, on_progress=truncate)

    contexts[0].__exit__(None, None, None)  # type: ignore[attr-defined]
    assert rows(manifest) == {"one": 1000, "two": 1000}
    with connect(small, purpose="test") as connection:
        assert scalar(connection, "SELECT count(*) FROM one") == 0
    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"


def test_rows_written_while_a_dump_runs_are_neither_in_it_nor_in_its_proof(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    def write(progress: Progress) -> None:
        if progress.phase == "proving the tables":
            with connect(small, purpose="test") as connection:
                connection.execute("INSERT INTO one SELECT 1; DELETE FROM two WHERE t = '7'")

    store = LocalStore(tmp_path)

    manifest = dump(small, store, tools=tools, on_progress=write)

    assert rows(manifest) == {"one": 1000, "two": 1000}
    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"


def test_whoever_keeps_a_table_locked_is_named(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    with connect(small, purpose="stubborn", autocommit=False) as other:
        other.execute("LOCK TABLE two")
        pid = other.info.backend_pid
        with pytest.raises(LockedError, match="keeps the dump") as caught:
            dump(small, store, tools=tools, lock_wait_s=0.2, attempts=2)
        other.rollback()

    assert f'"casedb stubborn" as postgres, server process {pid}' in (caught.value.detail or "")
    assert "two" in (caught.value.detail or "")
    assert [p.name for p in (tmp_path / small.dbname).iterdir()] == [".lock"]


def test_a_table_made_between_the_locks_and_the_snapshot_starts_it_anew(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    lock = snapshot._lock

    def and_meanwhile(tables: list[snapshot.Relation]) -> object:
        if not made:
            made.append("three")
            with connect(small, purpose="test") as connection:
                connection.execute("CREATE TABLE three AS SELECT 3 AS i")
        return lock(tables)

    monkeypatch.setattr(snapshot, "_lock", and_meanwhile)

    manifest = dump(small, LocalStore(tmp_path), tools=tools)

    assert rows(manifest) == {"one": 1000, "two": 1000, "three": 1}


def test_no_timeout_of_the_server_ends_the_holder(small: Conninfo) -> None:
    hasty = {
        "statement_timeout": "50ms",
        "idle_in_transaction_session_timeout": "50ms",
        "idle_session_timeout": "50ms",
    }
    with connect(small, purpose="test", settings=hasty) as connection:
        snapshot.prepare_session(connection, SETTINGS)
        with snapshot.hold(connection, lock_wait_s=1) as held:
            time.sleep(0.2)
            scalar(connection, "SELECT pg_sleep(0.2)")
            assert held.identifier

            with connect(small, purpose="test") as importer:
                importer.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                importer.execute(f"SET TRANSACTION SNAPSHOT '{held.identifier}'".encode())
                importer.execute("ROLLBACK")


def test_the_holder_locks_every_table_before_its_snapshot(small: Conninfo) -> None:
    with connect(small, purpose="test") as connection:
        snapshot.prepare_session(connection, SETTINGS)
        with snapshot.hold(connection, lock_wait_s=1) as held:
            names = {relation.name for relation in held.relations}
            with connect(small, purpose="test", settings={"lock_timeout": "100ms"}) as other:
                for name in names:
                    with pytest.raises(Exception, match="lock timeout"):
                        other.execute(f"TRUNCATE {name}".encode())

    assert names == {"one", "two"}


@contextmanager
def view_keeper(
    monkeypatch: pytest.MonkeyPatch, database: Conninfo, last: LiteralString
) -> Iterator[None]:
    """Another session that alters a view after we have read it, and then does `last`.

    pg_dump begins late enough to find the view locked.
    """
    with connect(database, purpose="test") as connection:
        connection.execute("CREATE VIEW seen AS SELECT * FROM one")
    threads: list[threading.Thread] = []
    has_view = threading.Event()
    read, start = fingerprint.read_fingerprint, programs.start
    # A name that does not exist, or does no more, is nobody's lock.
    holders: LiteralString = "SELECT count(*) FROM pg_locks WHERE relation = to_regclass('one')"

    def work() -> None:
        settings = {"deadlock_timeout": "1min"}
        with open_connection(
            database, purpose="alter", settings=settings, autocommit=False
        ) as other:
            other.execute("ALTER VIEW seen SET (security_barrier)")
            has_view.set()
            with open_connection(database, purpose="test") as looking:
                # Ours and pg_dump's: its bounded waits are over.
                while scalar(looking, holders) < 2:
                    time.sleep(0.02)
            other.execute(last)
            other.commit()

    def and_then(connection: Connection[Any], roles: Iterable[RoleFacts]) -> object:
        # Our own reading of the view is bounded, so it has to be over before.
        found = read(connection, roles)
        if not threads:
            threads.append(threading.Thread(target=work))
            threads[0].start()
            assert has_view.wait(10)
        return found

    def late(argv: list[str], **words: Any) -> Any:
        # Before it may stand what makes its writes large.
        first = any(word.endswith("/pg_dump") for word in argv) and not threads
        return start(["sh", "-c", 'sleep 1; exec "$0" "$@"', *argv] if first else argv, **words)

    monkeypatch.setattr(programs, "start", late)
    monkeypatch.setattr(fingerprint, "read_fingerprint", and_then)
    yield
    threads[0].join(10)
    assert not threads[0].is_alive()


# On 15, reading a view's definition locks the view itself until we end: nobody gets in between.
@pytest.mark.since_16
def test_whoever_keeps_a_view_locked_goes_first(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_dump waits for a view without a bound of its own, and says nothing meanwhile."""
    phases: list[str] = []
    with view_keeper(monkeypatch, small, "SELECT pg_sleep(5)"):
        manifest = dump(
            small,
            LocalStore(tmp_path),
            tools=tools,
            lock_wait_s=2,
            on_progress=lambda p: phases.append(p.phase),
        )

    assert rows(manifest) == {"one": 1000, "two": 1000}
    assert any("pg_dump waited for public.seen in vain" in phase for phase in phases)


# On 15, reading a view's definition locks the view itself until we end: nobody gets in between.
@pytest.mark.since_16
def test_a_deadlock_that_the_server_ends_at_our_cost_begins_anew(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: list[str] = []
    with view_keeper(monkeypatch, small, "LOCK TABLE one"):
        manifest = dump(
            small,
            LocalStore(tmp_path),
            tools=tools,
            lock_wait_s=8,
            on_progress=lambda p: phases.append(p.phase),
        )

    assert rows(manifest) == {"one": 1000, "two": 1000}
    assert any("the server ended a deadlock" in phase for phase in phases)


def test_waiting_is_forgiven_when_it_ends(small: Conninfo) -> None:
    now = [0.0]
    with (
        open_connection(small, purpose="test", autocommit=False) as holder,
        open_connection(small, purpose="watched") as watched,
        connect(small, purpose="test") as connection,
    ):
        watchdog = Watchdog(connection, "casedb watched", patience_s=10, clock=lambda: now[0])
        for _ in range(2):
            holder.execute("LOCK TABLE one")
            waiting = threading.Thread(target=lambda: watched.execute("SELECT FROM one LIMIT 1"))
            waiting.start()
            while not scalar(connection, "SELECT 1 FROM pg_locks WHERE NOT granted"):
                time.sleep(0.02)
            watchdog.look()
            now[0] += 9
            watchdog.look()
            holder.commit()
            waiting.join()
            watchdog.look()
            now[0] += 9
        holder.execute("LOCK TABLE one")
        waiting = threading.Thread(target=lambda: watched.execute("SELECT FROM one LIMIT 1"))
        waiting.start()
        while not scalar(connection, "SELECT 1 FROM pg_locks WHERE NOT granted"):
            time.sleep(0.02)
        watchdog.look()
        now[0] += 11
        with pytest.raises(snapshot.Overtaken, match="in vain") as caught:
            watchdog.look()
        holder.commit()
        waiting.join()

    assert '"casedb test" as postgres' in (caught.value.blocker or "")


@pytest.mark.full_server
def test_what_lies_beside_the_tables_is_of_the_same_moment(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """Settings, roles and extensions: before the snapshot they are in, after it they are not."""
    with connect(small, purpose="test") as connection:
        extension = scalar(
            connection,
            "SELECT name FROM pg_available_extensions WHERE installed_version IS NULL"
            " AND name IN ('citext', 'hstore', 'pg_trgm') LIMIT 1",
        )
    moments: dict[str, list[sql.Composed]] = {
        "writing the roles": [_setting(small, "5MB")],
        "proving the tables": [
            _setting(small, "9MB"),
            sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(str(extension))),
        ],
    }

    def change(progress: Progress) -> None:
        with connect(small, purpose="test") as connection:
            for statement in moments.pop(progress.phase, []):
                connection.execute(statement)

    manifest = dump(small, LocalStore(tmp_path), tools=tools, on_progress=change)

    assert moments == {}
    assert [s.value for s in manifest.properties.settings if s.name == "work_mem"] == ["5MB"]
    assert extension not in [found.name for found in manifest.extensions]


def _setting(target: Conninfo, value: str) -> sql.Composed:
    statement = sql.SQL("ALTER DATABASE {} SET work_mem = {}")
    return statement.format(sql.Identifier(target.dbname), sql.Literal(value))
