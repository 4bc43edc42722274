"""The status flow and the assignment: who may, who may not, and two at the same moment."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import Connection, errors

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.marks import Mark, set_mark

HASH = "$2b$10$" + "a" * 53
CLERK, CHAIR, WORKER, WORKER_2, GONE, CHAIR_2 = (UUID(int=n) for n in range(1, 7))
USERS = (
    (CLERK, "CLERK", True),
    (CHAIR, "CHAIR", True),
    (CHAIR_2, "CHAIR", True),
    (WORKER, "CASEWORKER", True),
    (WORKER_2, "CASEWORKER", True),
    (GONE, "CASEWORKER", False),
)
FLOW = ("NEW", "PENDING_REVIEW", "ASSIGNED", "IN_PROGRESS", "PENDING_COMPLETION", "COMPLETED")
# from, to: the roles that may.
WAYS = {
    ("NEW", "PENDING_REVIEW"): {"CLERK", "CHAIR"},
    ("PENDING_REVIEW", "ASSIGNED"): {"CHAIR"},
    ("ASSIGNED", "IN_PROGRESS"): {"CASEWORKER"},
    ("IN_PROGRESS", "PENDING_COMPLETION"): {"CASEWORKER"},
    ("PENDING_COMPLETION", "COMPLETED"): {"CHAIR"},
}
ACTORS = {"CLERK": CLERK, "CHAIR": CHAIR, "CASEWORKER": WORKER}
MOVES = [
    (before, after, role) for before, after in itertools.permutations(FLOW, 2) for role in ACTORS
]


@pytest.fixture
def staffed(database: Conninfo) -> Conninfo:
    """The superuser on a database with clerks, chairs and caseworkers."""
    with connect(database, purpose="test") as connection:
        for number, (user, role, active) in enumerate(USERS):
            connection.execute(
                "INSERT INTO public.users (id, email, password, role, first_name, last_name,"
                " is_active) VALUES (%s, %s, %s, %s, 'a', 'b', %s)",
                (user, f"u{number}@example.com", HASH, role, active),
            )
    return database


def place(staffed: Conninfo, status: str, worker: UUID | None = WORKER) -> UUID:
    """Put a case into the middle of the flow, past its guards; return its id."""
    case = uuid4()
    early = status in ("NEW", "PENDING_REVIEW")
    with connect(staffed, purpose="test") as connection:
        connection.execute("SET casedb.bulk_load = on")
        connection.execute(
            "INSERT INTO public.cases (id, title, description, status, created_by, assigned_to)"
            " VALUES (%s, 't', '', %s, %s, %s)",
            (case, status, CLERK, None if early else worker),
        )
    return case


@contextmanager
def acting(staffed: Conninfo, user: UUID | None) -> Iterator[Connection[Any]]:
    """A back end's connection in a transaction for `user`; committed at the end."""
    with psycopg.connect(staffed.replace(user="case_app").dsn) as connection:
        if user:
            connection.execute("SELECT public.act_as(%s)", (str(user),))
        yield connection


def move(connection: Connection[Any], case: UUID, status: str, worker: UUID | None = None) -> int:
    if worker:
        return connection.execute(
            "UPDATE public.cases SET status = %s, assigned_to = %s WHERE id = %s",
            (status, worker, case),
        ).rowcount
    return connection.execute(
        "UPDATE public.cases SET status = %s WHERE id = %s", (status, case)
    ).rowcount


@pytest.fixture(scope="module")
def every_state(cluster: Conninfo, template: str) -> tuple[Conninfo, dict[str, UUID]]:
    """A database with a case in each state; its tests roll back."""
    target = cluster.replace(dbname="workflow_states")
    with connect(cluster, purpose="test") as connection:
        connection.execute(f"CREATE DATABASE workflow_states TEMPLATE {template}".encode())
        connection.execute("GRANT CONNECT ON DATABASE workflow_states TO case_app")
    with connect(target, purpose="test") as connection:
        for number, (user, role, active) in enumerate(USERS):
            connection.execute(
                "INSERT INTO public.users (id, email, password, role, first_name, last_name,"
                " is_active) VALUES (%s, %s, %s, %s, 'a', 'b', %s)",
                (user, f"u{number}@example.com", HASH, role, active),
            )
    return target, {status: place(target, status) for status in FLOW}


@pytest.mark.parametrize(("before", "after", "role"), MOVES)
def test_a_case_goes_only_where_its_flow_leads_and_by_whom(
    every_state: tuple[Conninfo, dict[str, UUID]], before: str, after: str, role: str
) -> None:
    target, cases = every_state
    allowed = role in WAYS.get((before, after), set())
    worker = WORKER if after == "ASSIGNED" and role == "CHAIR" else None
    with psycopg.connect(target.replace(user="case_app").dsn) as app:
        app.execute("SELECT public.act_as(%s)", (str(ACTORS[role]),))
        if allowed:
            assert move(app, cases[before], after, worker) == 1
        elif role == "CASEWORKER" and before in FLOW[:2]:
            # Nobody's case yet, so not one of his.
            assert move(app, cases[before], after, worker) == 0
        else:
            with pytest.raises(errors.CheckViolation) as caught:
                move(app, cases[before], after, worker)
            assert caught.value.diag.constraint_name == "cases_status_flow"
        app.rollback()


@pytest.mark.parametrize(
    ("before", "after", "hint"),
    [
        ("NEW", "ASSIGNED", "Allowed: PENDING_REVIEW (by a chair or clerk)."),
        ("PENDING_REVIEW", "NEW", "Allowed: ASSIGNED (by a chair)."),
        ("COMPLETED", "NEW", "COMPLETED is the end of the way."),
    ],
)
def test_the_hint_lists_where_a_case_can_go(
    staffed: Conninfo, before: str, after: str, hint: str
) -> None:
    case = place(staffed, before)
    worker = WORKER if after == "ASSIGNED" else None
    with psycopg.connect(staffed.replace(user="case_app").dsn) as app:
        app.execute("SELECT public.act_as(%s)", (str(CHAIR),))
        with pytest.raises(errors.CheckViolation) as caught:
            move(app, case, after, worker)

    diag = caught.value.diag
    assert (diag.constraint_name, diag.message_hint) == ("cases_status_flow", hint)
    assert diag.message_primary == f"a case cannot go from {before} to {after} by a chair"


@pytest.mark.parametrize("status", FLOW[1:])
@pytest.mark.parametrize("who", ["chair", "seed", "superuser"])
def test_no_case_is_born_in_the_middle(staffed: Conninfo, status: str, who: str) -> None:
    login = {"chair": "case_app", "seed": "case_seed", "superuser": "postgres"}[who]
    worker = None if status == "PENDING_REVIEW" else WORKER
    with psycopg.connect(staffed.replace(user=login).dsn) as connection:
        if who == "chair":
            connection.execute("SELECT public.act_as(%s)", (str(CHAIR),))
        with pytest.raises(errors.CheckViolation) as caught:
            connection.execute(
                "INSERT INTO public.cases (title, description, status, created_by, assigned_to)"
                " VALUES ('t', '', %s, %s, %s)",
                (status, CHAIR, worker),
            )
    assert caught.value.diag.constraint_name == "cases_status_flow"


def test_a_case_goes_all_the_way_in_the_hands_of_those_it_belongs_to(staffed: Conninfo) -> None:
    with acting(staffed, CLERK) as app:
        case = scalar(
            app,
            "INSERT INTO public.cases (title, description, created_by)"
            " VALUES ('t', '', %s) RETURNING id",
            CLERK,
        )
        assert move(app, case, "PENDING_REVIEW") == 1
    with acting(staffed, CHAIR) as app:
        assert move(app, case, "ASSIGNED", WORKER) == 1
    with acting(staffed, WORKER_2) as app:
        assert move(app, case, "IN_PROGRESS") == 0
    with acting(staffed, WORKER) as app:
        assert move(app, case, "IN_PROGRESS") == 1
        assert move(app, case, "PENDING_COMPLETION") == 1
    with acting(staffed, CHAIR) as app:
        assert move(app, case, "COMPLETED") == 1


def test_a_further_way_is_a_further_row(staffed: Conninfo) -> None:
    case = place(staffed, "IN_PROGRESS")
    with connect(staffed, purpose="test") as admin:
        admin.execute(
            "INSERT INTO ops.case_transitions VALUES ('IN_PROGRESS', 'ASSIGNED', 'CASEWORKER')"
        )
    with acting(staffed, WORKER) as app:
        assert move(app, case, "ASSIGNED") == 1


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


@pytest.mark.parametrize("column", ["id", "created_by", "created_at"])
def test_where_a_case_comes_from_never_changes(staffed: Conninfo, column: str) -> None:
    place(staffed, "NEW")
    value = {"id": str(uuid4()), "created_by": str(CHAIR), "created_at": "2001-01-01"}[column]
    with (
        psycopg.connect(staffed.replace(user="case_seed").dsn) as seed,
        pytest.raises(errors.CheckViolation) as caught,
    ):
        seed.execute(f"UPDATE public.cases SET {column} = %s".encode(), (value,))
    assert caught.value.diag.constraint_name == "cases_origin_fixed"


@pytest.mark.parametrize(
    ("login", "mark", "allowed"),
    [
        ("case_seed", Mark.DEVELOPMENT, True),
        ("case_seed", Mark.STAGING, False),
        ("case_seed", Mark.PRODUCTION, False),
        ("case_app", Mark.DEVELOPMENT, False),
    ],
)
def test_only_the_seeder_of_a_development_database_loads_past_the_guards(
    staffed: Conninfo, login: str, mark: Mark, allowed: bool
) -> None:
    with connect(staffed, purpose="test") as admin:
        set_mark(admin, staffed.dbname, mark)
    with psycopg.connect(staffed.replace(user=login).dsn) as connection:
        if login == "case_app":
            connection.execute("SELECT public.act_as(%s)", (str(CHAIR),))
        connection.execute("SET LOCAL casedb.bulk_load = on")
        connection.execute("SET LOCAL casedb.mark = development")
        insert = (
            "INSERT INTO public.cases (title, description, status, created_by, assigned_to)"
            f" VALUES ('t', '', 'COMPLETED', '{CHAIR}', '{WORKER}')"
        )
        if allowed:
            connection.execute(insert.encode())
            return
        with pytest.raises(errors.InsufficientPrivilege, match="bulk load"):
            connection.execute(insert.encode())
