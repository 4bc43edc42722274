"""Who sees and changes what: role, table, verb, own row or another's, identity or none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import UUID

import pytest
from psycopg import Connection, errors, sql

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.roles import apply_roles

HASH = "$2b$10$" + "a" * 53


def uuid(number: int) -> UUID:
    return UUID(int=number)


CLERK, CLERK_2, CHAIR, WORKER, WORKER_2 = (uuid(n) for n in range(1, 6))
# Of the clerk and the worker; of the second clerk and the second worker; not yet assigned.
OWN, OTHER, PENDING = (uuid(n) for n in range(11, 14))
TABLES = ("users", "cases", "case_logs", "case_documents", "case_comments")

SETUP = f"""
-- Cases in the middle of the flow, past its guards.
SET casedb.bulk_load = on;
INSERT INTO public.users (id, email, password, role, first_name, last_name) VALUES
    ('{CLERK}', 'clerk@example.com', '{HASH}', 'CLERK', 'a', 'b'),
    ('{CLERK_2}', 'clerk2@example.com', '{HASH}', 'CLERK', 'a', 'b'),
    ('{CHAIR}', 'chair@example.com', '{HASH}', 'CHAIR', 'a', 'b'),
    ('{WORKER}', 'worker@example.com', '{HASH}', 'CASEWORKER', 'a', 'b'),
    ('{WORKER_2}', 'worker2@example.com', '{HASH}', 'CASEWORKER', 'a', 'b');
INSERT INTO public.cases (id, title, description, status, created_by, assigned_to) VALUES
    ('{OWN}', 'own', '', 'ASSIGNED', '{CLERK}', '{WORKER}'),
    ('{OTHER}', 'other', '', 'ASSIGNED', '{CLERK_2}', '{WORKER_2}'),
    ('{PENDING}', 'pending', '', 'PENDING_REVIEW', '{CLERK_2}', NULL);
SET casedb.bulk_load = off;
INSERT INTO public.case_comments (case_id, user_id, body) SELECT id, created_by, 'c'
    FROM public.cases;
INSERT INTO public.case_logs (case_id, user_id, action) SELECT id, created_by, 'created'
    FROM public.cases;
INSERT INTO public.case_documents (case_id, filename, s3_key, mime_type, file_size, uploaded_by)
    SELECT id, 'f', 'key/' || id, 'text/plain', 1, created_by FROM public.cases;
"""
# role: who acts, and the titles of the cases he sees.
SEEN = {
    "case_clerk": (CLERK, {"own"}),
    "case_chair": (CHAIR, {"own", "other", "pending"}),
    "case_caseworker": (WORKER, {"own"}),
}
ROLES = list(SEEN)


@pytest.fixture(scope="module")
def clone(cluster: Conninfo, template: str) -> Conninfo:
    """A migrated database of this file's own, with five users and three cases."""
    with connect(cluster, purpose="test") as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE row_security TEMPLATE {}").format(sql.Identifier(template))
        )
    target = cluster.replace(dbname="row_security")
    # A clone does not bring along what belongs to the database itself.
    apply_roles(target)
    with connect(target, purpose="test") as connection:
        connection.execute(SETUP.encode())
    return target


@pytest.fixture
def app(clone: Conninfo) -> Iterator[Connection[Any]]:
    """The back end's connection; its work is rolled back."""
    with connect(clone.replace(user="case_app"), purpose="test", autocommit=False) as connection:
        yield connection
        connection.rollback()


@contextmanager
def acting(app: Connection[Any], role: str, user: UUID | str | None) -> Iterator[Connection[Any]]:
    """As the back end does it: role and identity for one transaction."""
    app.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
    if user is not None:
        app.execute("SELECT set_config('app.user_id', %s, true)", (str(user),))
    yield app


def denied(app: Connection[Any], statement: LiteralString, *values: object) -> None:
    """Assert that the statement itself is refused, whatever the rows."""
    with pytest.raises(errors.InsufficientPrivilege), app.transaction():
        app.execute(statement, values)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_sees_its_cases_and_their_logs_and_documents(
    app: Connection[Any], role: str
) -> None:
    user, titles = SEEN[role]
    with acting(app, role, user):
        assert {t for (t,) in app.execute("SELECT title FROM public.cases")} == titles
        assert scalar(app, "SELECT count(DISTINCT case_id) FROM public.case_logs") == len(titles)
        assert scalar(app, "SELECT count(*) FROM public.case_comments") == len(titles)
        assert scalar(app, "SELECT count(*) FROM public.case_documents") == len(titles)
        # Colleagues' names are for everybody.
        assert scalar(app, "SELECT count(first_name) FROM public.users") == 5


@pytest.mark.parametrize("user", [None, "", UUID(int=99)], ids=["unset", "empty", "unknown"])
@pytest.mark.parametrize("role", ["case_clerk", "case_caseworker"])
def test_without_an_identity_there_are_no_cases(
    app: Connection[Any], role: str, user: UUID | str | None
) -> None:
    with acting(app, role, user):
        for table in TABLES[1:]:
            query = sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(table))
            assert app.execute(query).fetchone() == (0,)


@pytest.mark.parametrize("user", [None, ""], ids=["unset", "empty"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("table", TABLES)
def test_without_an_identity_nobody_sees_anything(
    app: Connection[Any], role: str, user: str | None, table: str
) -> None:
    with acting(app, role, user):
        query = sql.SQL("SELECT count(id) FROM public.{}").format(sql.Identifier(table))
        assert app.execute(query).fetchone() == (0,)


def test_an_identity_ends_with_its_transaction(app: Connection[Any]) -> None:
    with acting(app, "case_clerk", CLERK):
        assert scalar(app, "SELECT public.current_user_id()") == CLERK
    app.rollback()

    assert scalar(app, "SELECT public.current_user_id()") is None
    assert scalar(app, "SELECT current_user") == "case_app"


def test_an_identity_that_is_no_uuid_is_an_error_and_not_somebody(app: Connection[Any]) -> None:
    with (
        acting(app, "case_chair", "1 OR true"),
        pytest.raises(errors.InvalidTextRepresentation),
    ):
        app.execute("SELECT count(*) FROM public.cases")


@pytest.mark.parametrize("table", TABLES)
def test_the_back_end_itself_sees_no_case_before_it_takes_a_role(
    app: Connection[Any], table: LiteralString
) -> None:
    denied(app, f"SELECT FROM public.{table}")


def test_the_back_end_finds_who_logs_in_and_lists_nobody(app: Connection[Any]) -> None:
    found = app.execute("SELECT id, password FROM public.login('clerk@example.com')").fetchall()

    assert found == [(CLERK, HASH)]
    denied(app, "SELECT id FROM public.users")


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reads_a_password(app: Connection[Any], role: str) -> None:
    with acting(app, role, SEEN[role][0]):
        denied(app, "SELECT password FROM public.users")
        denied(app, "SELECT * FROM public.users")


@pytest.mark.parametrize("role", ["case_clerk", "case_chair"])
def test_a_case_is_created_in_ones_own_name_only(app: Connection[Any], role: str) -> None:
    new: LiteralString = (
        "INSERT INTO public.cases (title, description, created_by)"
        " VALUES ('n', '', %s) RETURNING id"
    )
    with acting(app, role, SEEN[role][0]):
        app.execute(new, (SEEN[role][0],))
        denied(app, new, CLERK_2)


def test_a_clerk_does_not_get_a_forged_case_past_by_assigning_it_to_himself(
    app: Connection[Any],
) -> None:
    forged: LiteralString = (
        "INSERT INTO public.cases (title, description, created_by, assigned_to)"
        " VALUES ('n', '', %s, %s)"
    )
    with acting(app, "case_clerk", CLERK):
        denied(app, forged, CLERK_2, WORKER)
        denied(app, forged, CLERK, WORKER)
        # A clerk is no caseworker: the workflow refuses that before the policy can.
        with pytest.raises(errors.CheckViolation), app.transaction():
            app.execute(forged, (CLERK_2, CLERK))


def test_a_caseworker_creates_no_case(app: Connection[Any]) -> None:
    with acting(app, "case_caseworker", WORKER):
        denied(
            app,
            "INSERT INTO public.cases (title, description, created_by) VALUES ('n', '', %s)",
            WORKER,
        )


@pytest.mark.parametrize("role", ROLES)
def test_only_ones_own_cases_change(app: Connection[Any], role: str) -> None:
    user, titles = SEEN[role]
    with acting(app, role, user):
        changed = app.execute(
            "UPDATE public.cases SET priority = 'HIGH' WHERE id = ANY (%s)",
            ([OWN, OTHER, PENDING],),
        )
        assert changed.rowcount == len(titles)


def test_only_a_chair_assigns(app: Connection[Any]) -> None:
    assign: LiteralString = "UPDATE public.cases SET status = 'ASSIGNED', assigned_to = %s"
    for role, user in (("case_clerk", CLERK_2), ("case_caseworker", WORKER)):
        with app.transaction(force_rollback=True), acting(app, role, user):
            denied(app, assign, WORKER)
    with acting(app, "case_chair", CHAIR):
        done = app.execute(assign + " WHERE id = %s", (WORKER, PENDING))
        assert done.rowcount == 1


@pytest.mark.parametrize("role", ROLES)
def test_a_cases_creator_and_id_never_change(app: Connection[Any], role: str) -> None:
    with acting(app, role, SEEN[role][0]):
        for column in ("created_by", "id", "created_at"):
            denied(app, f"UPDATE public.cases SET {column} = {column}")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("table", TABLES)
def test_nobody_deletes_or_truncates(app: Connection[Any], role: str, table: LiteralString) -> None:
    with acting(app, role, SEEN[role][0]):
        denied(app, f"DELETE FROM public.{table}")
        denied(app, f"TRUNCATE public.{table} CASCADE")


@pytest.mark.parametrize("role", ROLES)
def test_nobody_writes_the_log_by_hand(app: Connection[Any], role: str) -> None:
    write: LiteralString = (
        "INSERT INTO public.case_logs (case_id, user_id, action) VALUES (%s, %s, 'completed')"
    )
    with acting(app, role, SEEN[role][0]):
        denied(app, write, OWN, SEEN[role][0])


@pytest.mark.parametrize("role", ROLES)
def test_a_comment_is_written_in_ones_own_name_to_a_visible_case(
    app: Connection[Any], role: str
) -> None:
    write: LiteralString = (
        "INSERT INTO public.case_comments (case_id, user_id, body) VALUES (%s, %s, 'c')"
    )
    user, titles = SEEN[role]
    with acting(app, role, user):
        app.execute(write, (OWN, user))
        app.execute("SELECT public.comment_on_case(%s, 'c')", (OWN,))
        assert scalar(app, "SELECT count(*) FROM public.case_comments") == 2 + len(titles)
        denied(app, write, OWN, WORKER_2)
        if "other" not in titles:
            denied(app, write, OTHER, user)
            denied(app, "SELECT public.comment_on_case(%s, 'c')", OTHER)


@pytest.mark.parametrize("role", ROLES)
def test_a_document_is_added_in_ones_own_name_to_a_visible_case(
    app: Connection[Any], role: str
) -> None:
    write: LiteralString = (
        "INSERT INTO public.case_documents"
        " (case_id, filename, s3_key, mime_type, file_size, uploaded_by)"
        " VALUES (%s, 'f', 'new', 'text/plain', 1, %s)"
    )
    user, titles = SEEN[role]
    with acting(app, role, user):
        app.execute(write, (OWN, user))
        denied(app, write, OWN, WORKER_2)
        if "other" not in titles:
            denied(app, write, OTHER, user)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("table", ["case_logs", "case_documents", "case_comments"])
def test_what_is_recorded_is_not_rewritten(
    app: Connection[Any], role: str, table: LiteralString
) -> None:
    with acting(app, role, SEEN[role][0]):
        denied(app, f"UPDATE public.{table} SET id = id")


@pytest.mark.parametrize("role", ROLES)
def test_one_changes_ones_own_name_and_nobody_elses_and_never_the_role(
    app: Connection[Any], role: str
) -> None:
    with acting(app, role, SEEN[role][0]):
        changed = app.execute("UPDATE public.users SET first_name = 'new'")
        assert changed.rowcount == 1
        denied(app, "UPDATE public.users SET role = 'CHAIR'")
        denied(app, "UPDATE public.users SET email = 'x@example.com'")
        denied(app, "INSERT INTO public.users (email) VALUES ('x@example.com')")


@pytest.mark.parametrize("table", TABLES)
def test_row_security_is_on_and_binds_the_owner(clone: Conninfo, table: str) -> None:
    with connect(clone, purpose="test") as connection:
        flags = connection.execute(
            "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s::regclass",
            (f"public.{table}",),
        ).fetchone()
        assert flags == (True, True)
        connection.execute("SET ROLE case_owner")
        query = sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(table))
        assert connection.execute(query).fetchone() == (0,)


def test_reports_see_every_row_and_no_password(clone: Conninfo) -> None:
    with connect(clone.replace(user="case_readonly"), purpose="test") as connection:
        assert scalar(connection, "SELECT count(*) FROM public.cases") == 3
        assert scalar(connection, "SELECT count(DISTINCT case_id) FROM public.case_logs") == 3
        assert scalar(connection, "SELECT count(email) FROM public.users") == 5
        denied(connection, "SELECT password FROM public.users")
        denied(connection, "UPDATE public.cases SET title = title")


def test_a_backup_reads_every_row_and_writes_none(clone: Conninfo) -> None:
    with connect(clone.replace(user="case_backup"), purpose="test") as connection:
        for table in TABLES:
            query = sql.SQL("SELECT count(*) > 0 FROM public.{}").format(sql.Identifier(table))
            assert connection.execute(query).fetchone() == (True,)
        denied(connection, "UPDATE public.cases SET title = title")
        denied(connection, "INSERT INTO public.case_logs DEFAULT VALUES")


def test_monitoring_sees_no_case(clone: Conninfo) -> None:
    with connect(clone.replace(user="case_monitor"), purpose="test") as connection:
        denied(connection, "SELECT FROM public.cases")
        denied(connection, "SELECT FROM public.users")


def test_seeding_rewrites_no_log(clone: Conninfo) -> None:
    with connect(clone.replace(user="case_seed"), purpose="test") as connection:
        denied(connection, "UPDATE public.case_logs SET action = 'x'")
        denied(connection, "DELETE FROM public.case_logs")


@pytest.mark.parametrize(
    "role", ["case_app", "case_seed", "case_backup", "case_readonly", "case_monitor"]
)
def test_nobody_but_the_owner_makes_objects(clone: Conninfo, role: str) -> None:
    with connect(clone.replace(user=role), purpose="test") as connection:
        denied(connection, "CREATE TABLE public.t (id int)")
        denied(connection, "CREATE TABLE ops.t (id int)")
        denied(connection, "CREATE SCHEMA s")
        denied(connection, "CREATE TEMPORARY TABLE t (id int)")
        denied(connection, "SET ROLE case_owner")
