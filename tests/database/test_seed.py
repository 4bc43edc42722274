"""The sample data: as the plan wrote it, once, and only where everybody may know the password."""

import threading

import bcrypt
import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import (
    CasedbError,
    ConfigurationError,
    LockedError,
    RefusedError,
    ToolFailedError,
)
from casedb.locks import maintenance_lock
from casedb.marks import Mark, set_mark
from casedb.roles import apply_roles
from casedb.seed import DEMO_PASSWORD, Seeded, SeedResult, seed_demo

ALL_NEW = SeedResult(users=Seeded(3, 0), cases=Seeded(1, 0), logs=Seeded(1, 0))
ALL_THERE = SeedResult(users=Seeded(0, 3), cases=Seeded(0, 1), logs=Seeded(0, 1))


@pytest.fixture
def seeder(database: Conninfo) -> Conninfo:
    """case_seed on a migrated development database."""
    return database.replace(user="case_seed")


def counts(target: Conninfo) -> tuple[int, ...]:
    with connect(target.replace(user="postgres"), purpose="test") as connection:
        row = connection.execute("""
            SELECT (SELECT count(*) FROM public.users), (SELECT count(*) FROM public.cases),
                   (SELECT count(*) FROM public.case_logs)
        """).fetchone()
    assert row is not None
    return row


def test_the_plans_data_is_there_after_it(seeder: Conninfo) -> None:
    assert seed_demo(seeder) == ALL_NEW

    with connect(seeder.replace(user="postgres"), purpose="test") as connection:
        users = connection.execute(
            "SELECT email, role, first_name, last_name, password FROM public.users ORDER BY email"
        ).fetchall()
        case = connection.execute("""
            SELECT c.title, c.description, c.status, c.priority, u.email, l.action, l.details
            FROM public.cases AS c JOIN public.users AS u ON u.id = c.created_by
            JOIN public.case_logs AS l ON l.case_id = c.id AND l.user_id = u.id
            -- The first entry is the trigger's own.
            WHERE l.seq = 2
        """).fetchone()
    assert [row[:4] for row in users] == [
        ("caseworker@example.com", "CASEWORKER", "Bob", "Caseworker"),
        ("chair@example.com", "CHAIR", "Jane", "Chair"),
        ("clerk@example.com", "CLERK", "John", "Clerk"),
    ]
    assert all(bcrypt.checkpw(DEMO_PASSWORD.encode(), row[4].encode()) for row in users)
    assert {row[4][:7] for row in users} == {"$2b$10$"}
    assert len({row[4] for row in users}) == 3
    assert case == (
        "Sample Case for Testing",
        "This is a test case for Phase 0 validation",
        "NEW",
        "MEDIUM",
        "clerk@example.com",
        "created",
        {"message": "Case created during Phase 0 setup"},
    )


def test_seeding_twice_changes_nothing(seeder: Conninfo) -> None:
    seed_demo(seeder)
    snapshot = "SELECT string_agg(u::text, ',' ORDER BY id) FROM public.users AS u"
    with connect(seeder.replace(user="postgres"), purpose="test") as connection:
        before = scalar(connection, snapshot)

        again = seed_demo(seeder)

        assert scalar(connection, snapshot) == before
    assert again == ALL_THERE
    assert not again.changed
    assert counts(seeder) == (3, 1, 2)


def test_what_is_missing_is_added_to_what_is_there(seeder: Conninfo) -> None:
    seed_demo(seeder)
    with connect(seeder, purpose="test") as connection:
        connection.execute("DELETE FROM public.users WHERE email = 'chair@example.com'")
        connection.execute("SELECT set_config('app.user_id', id::text, false) FROM public.users")
        connection.execute("UPDATE public.cases SET title = 'Mine now'")

    assert seed_demo(seeder).users == Seeded(1, 2)

    with connect(seeder, purpose="test") as connection:
        assert scalar(connection, "SELECT title FROM public.cases") == "Mine now"


@pytest.mark.parametrize("mark", [Mark.PRODUCTION, Mark.STAGING, None])
def test_only_a_development_database_is_seeded(
    database: Conninfo, seeder: Conninfo, mark: Mark | None
) -> None:
    with connect(database, purpose="test") as connection:
        if mark:
            set_mark(connection, database.dbname, mark)
        else:
            connection.execute(f"ALTER DATABASE {database.dbname} RESET ALL".encode())

    with pytest.raises(RefusedError) as caught:
        seed_demo(seeder)

    assert caught.value.hint
    assert counts(database) == (0, 0, 0)


def test_a_session_cannot_pretend_to_be_in_development(
    database: Conninfo, seeder: Conninfo
) -> None:
    with connect(database, purpose="test") as connection:
        set_mark(connection, database.dbname, Mark.PRODUCTION)

    with pytest.raises(RefusedError):
        seed_demo(seeder.replace(options="-c casedb.mark=development"))


def test_all_of_it_or_nothing(database: Conninfo, seeder: Conninfo) -> None:
    with connect(database, purpose="test") as connection:
        connection.execute("ALTER TABLE public.case_logs ADD CONSTRAINT never CHECK (false)")

    with pytest.raises(ToolFailedError):
        seed_demo(seeder)

    assert counts(database) == (0, 0, 0)


def test_two_at_once_seed_once(seeder: Conninfo) -> None:
    results: list[SeedResult | CasedbError] = []

    def seed() -> None:
        try:
            results.append(seed_demo(seeder))
        except CasedbError as error:
            results.append(error)

    threads = [threading.Thread(target=seed) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results, key=str) == sorted([ALL_NEW, ALL_THERE, ALL_THERE], key=str)


def test_seeding_does_not_run_beside_a_migration(
    seeder: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casedb.seed._LOCK_WAIT_S", 0.0)
    with (
        connect(seeder, purpose="migrate apply") as other,
        maintenance_lock(other),
        pytest.raises(LockedError),
    ):
        seed_demo(seeder)


def test_a_database_without_tables_is_refused_with_advice(empty_database: Conninfo) -> None:
    with connect(empty_database, purpose="test") as connection:
        set_mark(connection, empty_database.dbname, Mark.DEVELOPMENT)
    apply_roles(empty_database)

    with pytest.raises(ConfigurationError) as caught:
        seed_demo(empty_database.replace(user="case_seed"))

    assert "migrate apply" in (caught.value.hint or "")
