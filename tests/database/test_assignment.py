"""Whose case it is: who may be assigned, who stays a caseworker, and two at the same moment."""

import threading
import time
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection, errors

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from tests.database.workflow_world import (
    CHAIR,
    CHAIR_2,
    CLERK,
    FLOW,
    GONE,
    WORKER,
    WORKER_2,
    acting,
    move,
    place,
    staff,
)


@pytest.fixture
def staffed(database: Conninfo) -> Conninfo:
    """The superuser on a database with clerks, chairs and caseworkers."""
    return staff(database)


@pytest.mark.parametrize("assignee", [CLERK, CHAIR, GONE])
def test_only_an_active_caseworker_is_assigned(staffed: Conninfo, assignee: UUID) -> None:
    case = place(staffed, "PENDING_REVIEW")
    with pytest.raises(errors.CheckViolation) as caught, acting(staffed, CHAIR) as app:
        move(app, case, "ASSIGNED", assignee)

    assert caught.value.diag.constraint_name == "cases_assignee_is_active_caseworker"


def test_a_case_is_not_taken_from_a_caseworker_in_passing(staffed: Conninfo) -> None:
    case = place(staffed, "IN_PROGRESS")
    take = "UPDATE public.cases SET assigned_to = %s WHERE id = %s"
    with pytest.raises(errors.CheckViolation) as caught, acting(staffed, CHAIR) as app:
        app.execute(take.encode(), (WORKER_2, case))

    assert caught.value.diag.constraint_name == "cases_reassigned_explicitly"
    assert "reassign_case" in (caught.value.diag.message_hint or "")


def test_reassigning_is_said_in_so_many_words(staffed: Conninfo) -> None:
    case = place(staffed, "IN_PROGRESS")
    reassign = "SELECT public.reassign_case(%s, %s, %s)"
    with acting(staffed, CHAIR) as app:
        assert scalar(app, reassign, case, WORKER, WORKER_2) == case
        assert scalar(app, "SELECT assigned_to FROM public.cases") == WORKER_2
        # It allowed one case once, and no further one.
        with pytest.raises(errors.CheckViolation), app.transaction():
            app.execute("UPDATE public.cases SET assigned_to = %s", (WORKER,))
        # From whom he has it no longer.
        with pytest.raises(errors.NoDataFound), app.transaction():
            app.execute(reassign.encode(), (case, WORKER, WORKER_2))
        with pytest.raises(errors.CheckViolation), app.transaction():
            app.execute(reassign.encode(), (case, WORKER_2, GONE))
    for user in (CLERK, WORKER_2):
        with pytest.raises(errors.InsufficientPrivilege), acting(staffed, user) as app:
            app.execute(reassign.encode(), (case, WORKER_2, WORKER))


def test_a_completed_case_keeps_its_caseworker(staffed: Conninfo) -> None:
    case = place(staffed, "COMPLETED")
    with pytest.raises(errors.CheckViolation), acting(staffed, CHAIR) as app:
        app.execute("SELECT public.reassign_case(%s, %s, %s)", (case, WORKER, WORKER_2))


@pytest.mark.parametrize("change", ["is_active = false", "role = 'CLERK'"])
@pytest.mark.parametrize("status", FLOW[2:])
def test_who_has_open_cases_stays_an_active_caseworker(
    staffed: Conninfo, change: str, status: str
) -> None:
    place(staffed, status)
    update = f"UPDATE public.users SET {change} WHERE id = '{WORKER}'"
    with psycopg.connect(staffed.replace(user="case_seed").dsn) as seed:
        if status == "COMPLETED":
            seed.execute(update.encode())
            return
        with pytest.raises(errors.CheckViolation) as caught:
            seed.execute(update.encode())
    assert caught.value.diag.constraint_name == "users_no_open_cases_left"


def test_deactivating_in_a_higher_isolation_level_is_refused(staffed: Conninfo) -> None:
    with psycopg.connect(staffed.replace(user="case_seed").dsn) as seed:
        seed.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(errors.FeatureNotSupported):
            seed.execute("UPDATE public.users SET is_active = false WHERE id = %s", (WORKER,))


def in_thread(connection: Connection[Any], statement: str, *values: object) -> threading.Thread:
    """Run a statement that will wait; the thread has the error it ended with, or None."""
    thread = threading.Thread(target=lambda: None)

    def run() -> None:
        try:
            connection.execute(statement.encode(), values)
            connection.commit()
            thread.error = None  # type: ignore[attr-defined]
        except psycopg.Error as error:
            connection.rollback()
            thread.error = error  # type: ignore[attr-defined]

    thread.run = run  # type: ignore[method-assign]
    thread.start()
    return thread


def wait_until_blocked(staffed: Conninfo) -> None:
    with connect(staffed, purpose="test") as admin:
        for _ in range(200):
            if scalar(
                admin,
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database()",
            ):
                return
            time.sleep(0.02)
    raise AssertionError("nobody waits for a lock")


def error_of(thread: threading.Thread) -> psycopg.Error | None:
    thread.join(timeout=120)
    return thread.error  # type: ignore[attr-defined, no-any-return]


ASSIGN = "UPDATE public.cases SET status = 'ASSIGNED', assigned_to = %s WHERE id = %s"


DEACTIVATE = "UPDATE public.users SET is_active = false WHERE id = %s"


def test_of_two_chairs_at_once_the_second_gets_to_know(staffed: Conninfo) -> None:
    case = place(staffed, "PENDING_REVIEW")
    with acting(staffed, CHAIR) as first, acting(staffed, CHAIR_2) as second:
        first.execute(ASSIGN.encode(), (WORKER, case))
        waiting = in_thread(second, ASSIGN, WORKER_2, case)
        wait_until_blocked(staffed)
        first.commit()
        error = error_of(waiting)

    assert isinstance(error, errors.CheckViolation)
    assert error.diag.constraint_name == "cases_reassigned_explicitly"
    with connect(staffed, purpose="test") as admin:
        assert scalar(admin, "SELECT assigned_to FROM public.cases") == WORKER


def test_a_deactivation_waits_for_an_assignment_and_is_then_refused(staffed: Conninfo) -> None:
    case = place(staffed, "PENDING_REVIEW")
    with (
        acting(staffed, CHAIR) as chair,
        psycopg.connect(staffed.replace(user="case_seed").dsn) as seed,
    ):
        chair.execute(ASSIGN.encode(), (WORKER, case))
        waiting = in_thread(seed, DEACTIVATE, WORKER)
        wait_until_blocked(staffed)
        chair.commit()
        error = error_of(waiting)

    assert isinstance(error, errors.CheckViolation)
    assert error.diag.constraint_name == "users_no_open_cases_left"


def test_an_assignment_waits_for_a_deactivation_and_is_then_refused(staffed: Conninfo) -> None:
    case = place(staffed, "PENDING_REVIEW")
    with (
        acting(staffed, CHAIR) as chair,
        psycopg.connect(staffed.replace(user="case_seed").dsn) as seed,
    ):
        seed.execute(DEACTIVATE.encode(), (WORKER,))
        waiting = in_thread(chair, ASSIGN, WORKER, case)
        wait_until_blocked(staffed)
        seed.commit()
        error = error_of(waiting)

    assert isinstance(error, errors.CheckViolation)
    assert error.diag.constraint_name == "cases_assignee_is_active_caseworker"


@pytest.mark.parametrize("level", ["REPEATABLE_READ", "SERIALIZABLE"])
def test_an_older_snapshot_does_not_assign_the_deactivated(staffed: Conninfo, level: str) -> None:
    case = place(staffed, "PENDING_REVIEW")
    with psycopg.connect(staffed.replace(user="case_app").dsn) as chair:
        chair.isolation_level = psycopg.IsolationLevel[level]
        chair.execute("SELECT public.act_as(%s)", (str(CHAIR),))
        with connect(staffed.replace(user="case_seed"), purpose="test") as seed:
            seed.execute(DEACTIVATE, (WORKER,))
        with pytest.raises(errors.SerializationFailure):
            chair.execute(ASSIGN.encode(), (WORKER, case))
