"""The status flow: where a case may go, by whom, and what never changes."""

import itertools
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.marks import Mark, set_mark
from tests.database.workflow_world import (
    CHAIR,
    CLERK,
    FLOW,
    WORKER,
    WORKER_2,
    acting,
    move,
    place,
    staff,
)

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
    return staff(database)


@pytest.fixture(scope="module")
def every_state(cluster: Conninfo, template: str) -> tuple[Conninfo, dict[str, UUID]]:
    """A database with a case in each state; its tests roll back."""
    target = cluster.replace(dbname="workflow_states")
    with connect(cluster, purpose="test") as connection:
        connection.execute(f"CREATE DATABASE workflow_states TEMPLATE {template}".encode())
        connection.execute("GRANT CONNECT ON DATABASE workflow_states TO case_app")
    staff(target)
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
