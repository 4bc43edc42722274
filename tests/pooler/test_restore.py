"""A restore behind PgBouncer: its clients see a pause and no error; nor is it gone through."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from backups import pooler
from backups.dump import dump
from backups.restore import Wish, plan_restore, restore
from backups.stores import LocalStore
from backups.undo import plan_undo, undo_restore
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import LockedError, ServerUnreachableError
from casedb.roles import POOLER
from casedb.server import SUPERUSER
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
            pooler.paused(console(server, through), DATABASE),
        ):
            pytest.fail("paused, with a transaction open")
        with connect(through, purpose="test") as other:
            assert scalar(other, "SELECT 1") == 1


def test_the_pooler_is_told_to_go_on_when_the_swap_fails(pool: "Pool", server: "Server") -> None:
    with pool(admin_users=POOLER) as through:
        with pytest.raises(ZeroDivisionError), pooler.paused(console(server, through), DATABASE):
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


def test_a_restore_through_a_pooler_is_refused(
    pool: "Pool", server: "Server", tools: PostgresTools, backup: tuple[LocalStore, Any]
) -> None:
    store, label = backup
    with pool() as through:
        plan = plan_restore(store, Wish(label, "new"), through, tools=tools)

    assert "the connection leads through a pooler" in [r.message for r in plan.refusals]
