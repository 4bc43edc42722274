"""What a drill was kept from looking at is no fault of the backup's, in whatever moment."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from backups.catalog import read_backup
from backups.drill import drill
from backups.load import analyze
from backups.manifest import Manifest
from backups.stores import LocalStore
from casedb.access import Answer
from casedb.access_attempt import attempt, refusal
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import DifferenceError, UnverifiedError
from casedb.tools import PostgresTools
from tests.matrix.disk import SmallDisk, small_disk

Moment = Callable[[Connection[Any]], object]


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    # A socket's path may not be long.
    with (
        TemporaryDirectory(prefix="d-", dir="/tmp") as folder,
        small_disk(Path(folder, "disk"), 256) as made,
    ):
        yield made


def end_session(connection: Connection[Any]) -> None:
    """Let another session end this one, as an administrator would."""
    info = connection.info
    words = f"host={info.host} port={info.port} dbname={info.dbname} user=postgres"
    with psycopg.connect(words) as other:
        query = "SELECT pg_terminate_backend(%s, 10000)"
        row = other.execute(query, (info.backend_pid,)).fetchone()
        assert row == (True,)


@pytest.fixture
def at_login(monkeypatch: pytest.MonkeyPatch) -> Callable[[Moment], None]:
    """Let something happen while a role of the backup is logged in."""

    def arrange(happens: Moment) -> None:
        def seen(connection: Connection[Any], query: Any, *words: object) -> Any:
            if connection.info.user == "case_readonly":
                happens(connection)
            return scalar(connection, query, *words)

        monkeypatch.setattr("backups.probes.scalar", seen)

    return arrange


@pytest.fixture
def at_cell(monkeypatch: pytest.MonkeyPatch) -> Callable[[Moment], None]:
    """Let something happen when a few cells of the access matrix have been tried."""

    def arrange(happens: Moment) -> None:
        tried: list[int] = []

        def seen(connection: Connection[Any], *words: Any) -> Answer:
            tried.append(1)
            if len(tried) == 4:
                happens(connection)
            return attempt(connection, *words)

        monkeypatch.setattr("casedb.access_probe.attempt", seen)

    return arrange


def require_unknown(
    cases: tuple[LocalStore, Manifest], tools: PostgresTools, scratch: Path | None = None
) -> UnverifiedError:
    """Return the error of a drill that says nothing of the backup, and records nothing."""
    store, manifest = cases
    before = read_backup(store, manifest.database, manifest.label).drilled
    with pytest.raises(UnverifiedError) as caught:
        drill(store, manifest.label, tools=tools, scratch=scratch)
    assert read_backup(store, manifest.database, manifest.label).drilled == before
    return caught.value


def test_a_session_that_is_ended_while_a_role_logs_in_says_nothing_of_the_backup(
    cases: tuple[LocalStore, Manifest],
    tools: PostgresTools,
    at_login: Callable[[Moment], None],
) -> None:
    at_login(end_session)

    error = require_unknown(cases, tools)

    assert error.message == "the drill could not be run: the throwaway server went away"
    # And not how to start the embedded server, which is another one.
    assert error.hint == "Whether the backup restores is still unknown."


def test_a_disk_that_fills_while_access_is_tried_says_nothing_of_the_backup(
    cases: tuple[LocalStore, Manifest],
    tools: PostgresTools,
    at_cell: Callable[[Moment], None],
    disk: SmallDisk,
) -> None:
    at_cell(lambda _: disk.fill())

    error = require_unknown(cases, tools, disk.path)

    assert error.message == "the drill could not be run: the disk is full"


def test_what_differs_is_told_although_the_rest_could_not_be_looked_at(
    cases: tuple[LocalStore, Manifest],
    tools: PostgresTools,
    monkeypatch: pytest.MonkeyPatch,
    at_login: Callable[[Moment], None],
    tmp_path: Path,
) -> None:
    def and_spoil(target: Conninfo) -> None:
        analyze(target)
        with connect(target, purpose="spoil") as connection:
            connection.execute("GRANT INSERT ON public.cases TO case_readonly")

    monkeypatch.setattr("backups.drill.analyze", and_spoil)
    at_login(end_session)
    store, manifest = cases

    with pytest.raises(DifferenceError, match="does not restore to what was dumped") as caught:
        drill(store, manifest.label, tools=tools)

    assert "case_readonly" in (caught.value.detail or "")
    record = read_backup(store, manifest.database, manifest.label).drilled
    assert record
    assert "not all was looked at: the connection to the server was lost" in record.notes


@pytest.mark.parametrize("state", ["53100", "53200", "57014", "55P03", "40P01", "58030"])
def test_an_error_of_the_servers_is_no_answer_to_who_may_do_what(
    database: Conninfo, state: str
) -> None:
    with (
        psycopg.connect(database.dsn) as connection,
        pytest.raises(psycopg.Error) as caught,
    ):
        connection.execute(f"DO $$BEGIN RAISE USING ERRCODE = '{state}'; END$$".encode())

    with pytest.raises(psycopg.Error) as raised:
        refusal(caught.value)

    assert raised.value.sqlstate == state
