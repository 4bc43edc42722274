"""A restore behind PgBouncer: its clients see a pause and no error; nor is it gone through."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest

from backups import pooler
from backups.attempt import Wish, plan_restore
from backups.dump import dump
from backups.interrupts import Held, held
from backups.restore import restore
from backups.stores import LocalStore
from backups.swap import Swap, SwapReport, swap_names
from backups.undo import plan_undo, undo_restore
from casedb import migrations
from casedb.conninfo import MASK, Conninfo
from casedb.database import connect, scalar
from casedb.errors import LockedError, RefusedError, ServerUnreachableError, TerminatedError
from casedb.roles import POOLER
from casedb.server import SUPERUSER
from casedb.sqlfiles import folder
from casedb.tools import PostgresTools
from tests.restore.writers import writing

if TYPE_CHECKING:
    from tests.pooler.conftest import Pool, Server

DATABASE = "case_management"


@pytest.fixture
def backup(server: "Server", tools: PostgresTools, tmp_path: Path) -> tuple[LocalStore, str]:
    store = LocalStore(tmp_path / "store")
    return store, dump(server("case_backup"), store, tools=tools).label


@pytest.fixture
def cleaned(server: "Server") -> Iterator[None]:
    """Afterwards the database is the one that the other tests know."""
    yield
    with connect(server(SUPERUSER).replace(dbname="postgres"), purpose="test") as connection:
        kept = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (f"{DATABASE}_kept",)
        ).fetchall()
        for (name,) in kept:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def console(server: "Server", through: Conninfo) -> Conninfo:
    password = server.embedded.passwords()[POOLER]
    return through.replace(dbname="pgbouncer", user=POOLER, password=password)


def clerk(server: "Server", staff: list[tuple[str, str]]) -> UUID:
    return UUID(next(user for user, role in staff if role == "case_clerk"))


@pytest.mark.usefixtures("cleaned")
def test_busy_clients_of_the_pooler_see_a_pause_and_no_error(
    pool: "Pool",
    server: "Server",
    tools: PostgresTools,
    staff: list[tuple[str, str]],
    backup: tuple[LocalStore, str],
) -> None:
    store, label = backup
    admin = server(SUPERUSER).replace(dbname="postgres")
    with pool(admin_users=POOLER) as through:
        words = console(server, through)
        with writing(through, clerk(server, staff), sessions=16) as writers:
            writers.wait_for(50)
            wish = Wish(label, DATABASE, replace=True)
            report = restore(store, wish, admin, tools=tools, pooler=words)
            writers.wait_for(50)
            back = undo_restore(admin, plan_undo(admin, DATABASE), confirmed=True, pooler=words)
            writers.wait_for(50)
    assert report.swap
    assert max(report.swap.unavailable_s, back.unavailable_s) <= 2
    assert writers.surprises == []
    assert writers.lost_connections == 0
    there = set()
    for name in (DATABASE, back.kept):
        with connect(admin.replace(dbname=name), purpose="test") as connection:
            there |= {row[0] for row in connection.execute("SELECT id FROM public.cases")}
    assert writers.ids() - there == set()


def test_a_transaction_that_does_not_end_stops_the_pause_and_everybody_goes_on(
    pool: "Pool", server: "Server", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooler, "PAUSE_TIMEOUT_S", 1)
    with pool(admin_users=POOLER) as through, connect(through, purpose="test") as client:
        with (
            client.transaction(),
            pytest.raises(LockedError, match="could not pause"),
            pooler.paused(console(server, through), DATABASE, Held()),
        ):
            pytest.fail("paused, with a transaction open")
        with connect(through, purpose="test") as other:
            assert scalar(other, "SELECT 1") == 1


def test_the_pooler_is_told_to_go_on_when_the_swap_fails(pool: "Pool", server: "Server") -> None:
    with pool(admin_users=POOLER) as through:
        with (
            pytest.raises(ZeroDivisionError),
            pooler.paused(console(server, through), DATABASE, Held()),
        ):
            raise ZeroDivisionError
        with connect(through, purpose="test") as client:
            assert scalar(client, "SELECT 1") == 1


def test_a_console_that_is_not_there_is_found_before_anything_is_loaded(
    server: "Server", tools: PostgresTools, backup: tuple[LocalStore, str], tmp_path: Path
) -> None:
    store, label = backup
    admin = server(SUPERUSER).replace(dbname="postgres")
    nowhere = Conninfo.parse(f"host={tmp_path} port=6432 dbname=pgbouncer user=postgres")
    steps: list[object] = []

    with pytest.raises(ServerUnreachableError, match="nothing was changed") as caught:
        restore(
            store, Wish(label, DATABASE, replace=True), admin, tools=tools, pooler=nowhere,
            on_progress=lambda *step: steps.append(step),
        )  # fmt: skip

    assert "--pooler ''" in str(caught.value)
    assert not [step for step in steps if "restoring" in str(step)]


def a_swap(server: "Server", words: Conninfo) -> SwapReport:
    """Swap the database for another empty one, and back: what counts here is the pooler."""
    admin = server(SUPERUSER).replace(dbname="postgres")
    with connect(admin, purpose="test") as connection:
        connection.execute('DROP DATABASE IF EXISTS "incoming" WITH (FORCE)')
        connection.execute('CREATE DATABASE "incoming"')
    with held() as signals:
        there = swap_names(admin, Swap(DATABASE, "incoming", "outgoing"), signals, pooler=words)
    swap_back = Swap(DATABASE, "outgoing", "incoming")
    with held() as signals:
        swap_names(admin, swap_back, signals)
    return there


@pytest.fixture
def terminating() -> Iterator[None]:
    """SIGTERM raises, as it does in the command."""

    def terminate(_number: int, _frame: object) -> None:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("terminating")
def test_a_signal_during_resume_neither_stops_it_nor_what_was_swapped(
    pool: "Pool", server: "Server", monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, sent = pooler._ask, []

    def and_signal(connection: Any, verb: str, *words: Any) -> str | None:
        if verb == "RESUME":
            sent.append(verb)
            os.kill(os.getpid(), signal.SIGTERM)
        return ask(connection, verb, *words)

    monkeypatch.setattr(pooler, "_ask", and_signal)
    with pool(admin_users=POOLER) as through:
        report = a_swap(server, console(server, through))

        assert sent == ["RESUME"]
        assert report.left == ()
        with connect(through, purpose="test") as client:
            assert scalar(client, "SELECT 1") == 1


@pytest.mark.usefixtures("terminating")
def test_a_signal_while_transactions_are_waited_for_stops_the_pause_at_once(
    pool: "Pool", server: "Server"
) -> None:
    with pool(admin_users=POOLER) as through, connect(through, purpose="test") as client:
        with client.transaction():
            client.execute("SELECT 1")
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
            with (
                held() as signals,
                pytest.raises(TerminatedError),
                pooler.paused(console(server, through), DATABASE, signals),
            ):
                pytest.fail("paused, with a transaction open")
        with connect(through, purpose="test") as other:
            assert scalar(other, "SELECT 1") == 1


def test_a_pooler_that_does_not_hear_resume_is_told_with_the_command_that_works(
    pool: "Pool",
    server: "Server",
    monkeypatch: pytest.MonkeyPatch,
    tools: PostgresTools,
) -> None:
    ask = pooler._ask

    def deaf(connection: Any, verb: str, *words: Any) -> str | None:
        if verb == "RESUME":
            raise psycopg.OperationalError("the console is gone")
        return ask(connection, verb, *words)

    with pool(admin_users=POOLER) as through:
        words = console(server, through)
        with monkeypatch.context() as broken:
            broken.setattr(pooler, "_ask", deaf)
            report = a_swap(server, words)

        (told,) = report.left
        assert "the console is gone" in told
        assert str(words.get("password")) not in told
        command = told.partition("Let them go: ")[2]
        with pytest.raises(psycopg.Error):
            reach(through, timeout_s=2)

        password = words.get("password") or ""
        subprocess.run(
            command.replace(f"password={MASK}", ""),
            shell=True, check=True, capture_output=True,
            env={"PATH": str(tools.bindir), "PGPASSWORD": password},
        )  # fmt: skip
        reach(through, timeout_s=10)


def test_a_pause_that_a_killed_run_left_is_ended_by_the_next(
    pool: "Pool", server: "Server"
) -> None:
    with pool(admin_users=POOLER) as through:
        words = console(server, through)
        with psycopg.connect(words.dsn, autocommit=True) as killed:
            killed.pgconn.exec_(b"PAUSE " + DATABASE.encode())
        with pytest.raises(psycopg.Error):
            reach(through, timeout_s=2)

        assert a_swap(server, words).left == ()

        reach(through, timeout_s=10)


def reach(through: Conninfo, *, timeout_s: int) -> None:
    """Get an answer of the database through the pooler.

    Raises:
        psycopg.Error: not within `timeout_s`.
    """
    with psycopg.connect(through.replace(connect_timeout=timeout_s).dsn) as client:
        asked = threading.Timer(timeout_s, client.cancel)
        asked.start()
        try:
            client.execute("SELECT 1")
        finally:
            asked.cancel()


def test_a_dump_and_migrations_through_a_pooler_are_refused_and_leave_nothing_in_its_sessions(
    pool: "Pool", tools: PostgresTools, tmp_path: Path
) -> None:
    """What they set and lock would be the next client's."""
    left = (
        "SELECT current_setting('search_path'), current_setting('row_security'),"
        " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
    )
    with pool() as way, pytest.raises(ServerUnreachableError, match="startup") as caught:
        migrations.apply(way, source=folder("migrations"))
    assert "Name the server's own address" in (caught.value.hint or "")
    # As others configure it: one session for all, which nobody resets.
    words = {"ignore_startup_parameters": "options", "default_pool_size": "1"}
    with pool(server_reset_query="", server_reset_query_always="0", **words) as way:
        with psycopg.connect(way.dsn) as client:
            before = client.execute(left).fetchone()
        with pytest.raises(RefusedError, match="leads through a pooler"):
            dump(way, LocalStore(tmp_path / "store"), tools=tools)
        with pytest.raises(RefusedError, match="leads through a pooler"):
            migrations.apply(way, source=folder("migrations"))
        with psycopg.connect(way.dsn) as client:
            assert client.execute(left).fetchone() == before

    assert not (tmp_path / "store").exists()


def test_a_restore_through_a_pooler_is_refused(
    pool: "Pool", server: "Server", tools: PostgresTools, backup: tuple[LocalStore, Any]
) -> None:
    store, label = backup
    with pool() as through:
        plan = plan_restore(store, Wish(label, "new"), through, tools=tools)

    assert "the connection leads through a pooler" in [r.message for r in plan.refusals]
