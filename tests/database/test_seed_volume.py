"""Volume: the same rows every time, a legal history for each case, a chain that verifies."""

import threading
from itertools import pairwise
from typing import Any

import bcrypt
import pytest

from casedb import audit, seed_volume
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError, LockedError, RefusedError
from casedb.locks import maintenance_lock
from casedb.marks import Mark, set_mark
from casedb.roles import apply_roles
from casedb.seed import DEMO_PASSWORD
from casedb.volume import Volume
from tests.database.small_volume import BLOCK, TABLES, content, load

pytestmark = pytest.mark.usefixtures("small_blocks")


@pytest.fixture
def seeder(database: Conninfo) -> Conninfo:
    """case_seed on a migrated development database."""
    return database.replace(user="case_seed")


@pytest.fixture
def loaded(database: Conninfo, seeder: Conninfo) -> Conninfo:
    """The superuser's conninfo of a database with 250 cases."""
    load(seeder)
    return database


def test_the_same_seed_gives_the_same_rows_and_another_one_others(
    database: Conninfo, seeder: Conninfo, twin: Conninfo
) -> None:
    load(seeder)
    load(twin.replace(user="case_seed"))
    with connect(database, purpose="test") as one, connect(twin, purpose="test") as two:
        assert content(one) == content(two)

        before = content(two)
        load(twin.replace(user="case_seed"), seed=2)
        after = content(two)

    assert all(after[table][0] > before[table][0] for table in TABLES)


def test_a_block_is_the_same_without_those_before_it() -> None:
    assert Volume(250, 1).block(2) == Volume(250, 1).block(2)
    assert Volume(250, 1).first_case_id(1) == Volume(250, 1).block(1).cases[0].id
    assert len(Volume(250, 1).block(2).cases) == 50


def test_the_chain_verifies(loaded: Conninfo) -> None:
    with connect(loaded, purpose="test") as connection:
        report = audit.verify(connection)

        assert report.findings == ()
        assert report.cases == 250
        assert report.entries == scalar(connection, "SELECT count(*) FROM public.case_logs")


def test_every_case_went_a_legal_way_to_where_it_is(loaded: Conninfo) -> None:
    with connect(loaded, purpose="test") as connection:
        ways = set(
            connection.execute("SELECT from_status, to_status, role FROM ops.case_transitions")
        )
        cases = connection.execute(
            "SELECT id, status, created_by, assigned_to, created_at, updated_at FROM public.cases"
        ).fetchall()
        logs: dict[object, list[tuple[Any, ...]]] = {row[0]: [] for row in cases}
        for case_id, *entry in connection.execute(
            'SELECT l.case_id, l.action, l.details, l.user_id, u.role, l."timestamp"'
            " FROM public.case_logs AS l JOIN public.users AS u ON u.id = l.user_id ORDER BY l.seq"
        ):
            logs[case_id].append(tuple(entry))
    for case_id, status, created_by, assigned_to, created_at, updated_at in cases:
        log = logs[case_id]
        assert log[0][0] == "created"
        assert log[0][2] == created_by
        assert (None, log[0][1]["status"], log[0][3]) in ways
        moves = [entry for entry in log if entry[0] == "status_changed"]
        assert all((move[1]["from"], move[1]["to"], move[3]) in ways for move in moves)
        stations = ["NEW", *(move[1]["to"] for move in moves)]
        assert [move[1]["from"] for move in moves] == stations[:-1]
        assert stations[-1] == status
        assigned = [entry for entry in log if entry[0] == "assigned"]
        assert [entry[1]["to"] for entry in assigned] == ([str(assigned_to)] if assigned_to else [])
        assert all(entry[3] == "CHAIR" for entry in assigned)
        by_worker = [move[2] for move in moves if move[3] == "CASEWORKER"]
        assert set(by_worker) <= {assigned_to}
        times = [entry[4] for entry in log]
        assert all(earlier <= later for earlier, later in pairwise(times))
        assert (times[0], times[-1]) == (created_at, updated_at)


def test_there_are_cases_in_every_state_and_documents_with_their_entries(
    loaded: Conninfo,
) -> None:
    with connect(loaded, purpose="test") as connection:
        assert scalar(connection, "SELECT count(DISTINCT status) FROM public.cases") == 6
        lost = scalar(
            connection,
            "SELECT count(*) FROM public.case_documents AS d WHERE NOT EXISTS (SELECT FROM"
            " public.case_logs AS l WHERE l.case_id = d.case_id AND l.action = 'document_added'"
            " AND l.details ->> 'document' = d.id::text AND l.user_id = d.uploaded_by)",
        )
        assert lost == 0
        assert scalar(connection, "SELECT count(*) FROM public.case_documents") > 0
        # Paging has something to tell apart.
        assert scalar(connection, "SELECT count(*) > count(DISTINCT created_at) FROM public.cases")


def test_the_users_can_log_in_with_the_demo_password(loaded: Conninfo) -> None:
    with connect(loaded.replace(user="case_app"), purpose="test") as connection:
        row = connection.execute(
            "SELECT role, password FROM public.login('chair00001@s1-n250.example.com')"
        ).fetchone()

    assert row is not None
    assert row[0] == "CHAIR"
    assert bcrypt.checkpw(DEMO_PASSWORD.encode(), row[1].encode())


def test_a_second_run_changes_nothing(database: Conninfo, seeder: Conninfo) -> None:
    first = load(seeder)
    with connect(database, purpose="test") as connection:
        before = content(connection)

        second = load(seeder)

        assert content(connection) == before
    assert (first.cases.created, first.cases.already_there) == (250, 0)
    assert (second.cases.created, second.cases.already_there) == (0, 250)
    assert (second.logs, second.documents, second.users.created) == (0, 0, 0)


@pytest.mark.parametrize("sessions", [1, 2])
def test_a_run_that_was_killed_leaves_whole_blocks_and_the_next_loads_the_others(
    database: Conninfo,
    seeder: Conninfo,
    twin: Conninfo,
    monkeypatch: pytest.MonkeyPatch,
    sessions: int,
) -> None:
    load_entries, loaded = seed_volume._load_entries, []

    def load_some(*args: Any) -> None:
        loaded.append(args[1])
        # In the middle of the second block, its cases written and its log not yet.
        if len(loaded) == 2:
            raise KeyboardInterrupt
        load_entries(*args)

    with monkeypatch.context() as patch:
        patch.setattr(seed_volume, "_load_entries", load_some)
        patch.setattr(seed_volume, "_SESSIONS", sessions)
        with pytest.raises(KeyboardInterrupt):
            load(seeder)
    with connect(database, purpose="test") as connection:
        there = int(scalar(connection, "SELECT count(*) FROM public.cases"))
        # What other sessions were at is finished; the last block has 50 cases.
        assert there in ({BLOCK} if sessions == 1 else {BLOCK, BLOCK + 50, 2 * BLOCK})

        result = load(seeder)

        assert (result.cases.created, result.cases.already_there) == (250 - there, there)
        assert audit.verify(connection).findings == ()
        load(twin.replace(user="case_seed"))
        with connect(twin, purpose="test") as uninterrupted:
            assert content(connection) == content(uninterrupted)


def test_progress_counts_the_cases_up_to_all_of_them(seeder: Conninfo) -> None:
    told: list[tuple[int, int]] = []

    seed_volume.seed_volume(
        seeder, cases=250, seed=1, on_block=lambda done, total: told.append((done, total))
    )

    # Blocks of 100, 100 and 50 cases, in the order in which they are there.
    steps = sorted(later[0] - earlier[0] for earlier, later in pairwise(told))
    assert (told[0], told[-1], steps) == ((0, 250), (250, 250), [50, 100, 100])


def test_several_sessions_load_at_once(seeder: Conninfo, monkeypatch: pytest.MonkeyPatch) -> None:
    load_entries, at_once = seed_volume._load_entries, threading.Barrier(2, timeout=30)

    def load_together(*args: Any) -> None:
        at_once.wait()
        load_entries(*args)

    monkeypatch.setattr(seed_volume, "_load_entries", load_together)

    assert load(seeder, cases=2 * BLOCK).cases.created == 200


def test_one_case_can_be_asked_for(seeder: Conninfo) -> None:
    assert load(seeder, cases=1).cases.created == 1


@pytest.mark.parametrize("mark", [Mark.PRODUCTION, Mark.STAGING])
def test_only_a_development_database_is_filled(
    database: Conninfo, seeder: Conninfo, mark: Mark
) -> None:
    with connect(database, purpose="test") as connection:
        set_mark(connection, database.dbname, mark)

        with pytest.raises(RefusedError):
            load(seeder)

        assert scalar(connection, "SELECT count(*) FROM public.users") == 0


def test_filling_does_not_run_beside_a_migration(
    seeder: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casedb.seed_volume._LOCK_WAIT_S", 0.0)
    with (
        connect(seeder, purpose="migrate apply") as other,
        maintenance_lock(other),
        pytest.raises(LockedError),
    ):
        load(seeder)


def test_a_database_without_tables_is_refused_with_advice(empty_database: Conninfo) -> None:
    with connect(empty_database, purpose="test") as connection:
        set_mark(connection, empty_database.dbname, Mark.DEVELOPMENT)
    apply_roles(empty_database)

    with pytest.raises(ConfigurationError) as caught:
        load(empty_database.replace(user="case_seed"))

    assert "migrate apply" in (caught.value.hint or "")
