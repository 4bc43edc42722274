"""Acting for a user: who may, as what, for how long; and the login."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection, errors
from psycopg.types.json import Jsonb

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar

HASH = "$2b$10$" + "a" * 53
CLERK, CHAIR, WORKER, GONE = (UUID(int=n) for n in range(1, 5))
USERS = (
    (CLERK, "clerk@example.com", "CLERK", True),
    (CHAIR, "chair@example.com", "CHAIR", True),
    (WORKER, "worker@example.com", "CASEWORKER", True),
    (GONE, "gone@example.com", "CHAIR", False),
)
ROLES = [(CLERK, "case_clerk"), (CHAIR, "case_chair"), (WORKER, "case_caseworker")]
NOBODY = [None, "", "1", "0' OR true --", str(UUID(int=99)), str(GONE), "{" + str(CLERK) + "}"]


@pytest.fixture
def staffed(database: Conninfo) -> Conninfo:
    """The superuser on a database with three users who act and one who no longer does."""
    with connect(database, purpose="test") as connection:
        for user, email, role, active in USERS:
            connection.execute(
                "INSERT INTO public.users (id, email, password, role, first_name, last_name,"
                " is_active) VALUES (%s, %s, %s, %s, 'a', 'b', %s)",
                (user, email, HASH, role, active),
            )
        connection.execute(
            "INSERT INTO public.cases (title, description, created_by) VALUES ('t', '', %s)",
            (CLERK,),
        )
    return database


@pytest.fixture
def app(staffed: Conninfo) -> Iterator[Connection[Any]]:
    """The back end's pooled connection."""
    with psycopg.connect(staffed.replace(user="case_app").dsn) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize(("user", "role"), ROLES)
def test_acting_sets_identity_and_role_and_says_which(
    app: Connection[Any], user: UUID, role: str
) -> None:
    assert scalar(app, "SELECT public.act_as(%s)", str(user)) == role
    assert scalar(app, "SELECT current_user") == role
    assert scalar(app, "SELECT public.current_user_id()") == user


@pytest.mark.parametrize(("user", "role"), ROLES)
def test_verified_claims_do_the_same(app: Connection[Any], user: UUID, role: str) -> None:
    claims = {"sub": str(user), "role": role.removeprefix("case_").upper(), "exp": 4102444800}

    assert scalar(app, "SELECT public.act_as_claims(%s)", Jsonb(claims)) == role
    assert scalar(app, "SELECT public.current_user_id()") == user


@pytest.mark.parametrize("nobody", NOBODY)
def test_nobody_is_refused_and_leaves_no_identity(app: Connection[Any], nobody: str | None) -> None:
    with pytest.raises(errors.InvalidRoleSpecification), app.transaction():
        app.execute("SELECT public.act_as(%s)", (nobody,))

    # Also where the error was swallowed and the transaction goes on.
    assert scalar(app, "SELECT current_user") == "case_app"
    for statement in (
        "SELECT public.current_user_id() FROM public.users",
        "SELECT id FROM public.cases",
        "SELECT id FROM public.users",
        "SELECT id FROM public.case_logs",
        "INSERT INTO public.cases (title, description, created_by) VALUES ('x', '', NULL)",
        "UPDATE public.cases SET title = 'mine'",
    ):
        with pytest.raises(errors.InsufficientPrivilege), app.transaction():
            app.execute(statement.encode())


@pytest.mark.parametrize(
    "claims",
    [
        {},
        None,
        {"sub": None},
        {"sub": str(GONE)},
        {"sub": str(CLERK), "role": "CHAIR"},
        {"sub": str(CLERK), "role": None},
        {"sub": str(CLERK), "exp": 1},
    ],
)
def test_claims_that_do_not_fit_are_refused(app: Connection[Any], claims: Any) -> None:
    with pytest.raises(errors.InvalidRoleSpecification), app.transaction():
        app.execute("SELECT public.act_as_claims(%s)", (None if claims is None else Jsonb(claims),))

    assert scalar(app, "SELECT current_user") == "case_app"
    assert scalar(app, "SELECT public.current_user_id()") is None


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_nothing_survives_the_transaction(app: Connection[Any], end: str) -> None:
    scalar(app, "SELECT public.act_as(%s)", str(CHAIR))
    app.execute(end.encode())

    assert scalar(app, "SELECT current_user") == "case_app"
    assert scalar(app, "SELECT public.current_user_id()") is None
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute("SELECT id FROM public.cases")


def test_outside_of_a_transaction_it_holds_for_one_statement(staffed: Conninfo) -> None:
    with psycopg.connect(staffed.replace(user="case_app").dsn, autocommit=True) as connection:
        scalar(connection, "SELECT public.act_as(%s)", str(CHAIR))

        assert scalar(connection, "SELECT current_user") == "case_app"
        assert scalar(connection, "SELECT public.current_user_id()") is None


def test_one_transaction_acts_for_one_user(app: Connection[Any]) -> None:
    scalar(app, "SELECT public.act_as(%s)", str(CLERK))
    assert scalar(app, "SELECT public.act_as(%s)", str(CLERK)) == "case_clerk"

    with pytest.raises(errors.ActiveSqlTransaction), app.transaction():
        app.execute("SELECT public.act_as(%s)", (str(CHAIR),))

    assert scalar(app, "SELECT current_user") == "case_clerk"


def test_a_hostile_search_path_changes_nothing(app: Connection[Any], staffed: Conninfo) -> None:
    with connect(staffed, purpose="test") as admin:
        admin.execute(
            "CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC;"
            "CREATE FUNCTION trap.lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''chair''';"
            "GRANT EXECUTE ON FUNCTION trap.lower(text) TO PUBLIC"
        )
    app.execute("SET LOCAL search_path = trap, pg_catalog")

    assert scalar(app, "SELECT public.act_as(%s)", str(CLERK)) == "case_clerk"


def test_the_login_finds_one_active_user_by_e_mail_in_any_case(app: Connection[Any]) -> None:
    row = app.execute("SELECT * FROM public.login('Clerk@Example.com')").fetchall()

    assert row == [(CLERK, "CLERK", HASH, "a", "b")]


@pytest.mark.parametrize("email", ["gone@example.com", "nobody@example.com", "%", "", None])
def test_who_may_not_log_in_is_not_found(app: Connection[Any], email: str | None) -> None:
    assert app.execute("SELECT * FROM public.login(%s)", (email,)).fetchall() == []


@pytest.mark.parametrize(("user", "role"), ROLES)
def test_whoever_acts_cannot_read_hashes_by_way_of_the_login(
    app: Connection[Any], user: UUID, role: str
) -> None:
    scalar(app, "SELECT public.act_as(%s)", str(user))

    with pytest.raises(errors.InsufficientPrivilege):
        app.execute("SELECT * FROM public.login('chair@example.com')")


@pytest.mark.parametrize("login", ["app", "seed", "readonly", "monitor", "migrator"])
def test_nobody_lists_password_hashes(staffed: Conninfo, login: str) -> None:
    with (
        psycopg.connect(staffed.replace(user=f"case_{login}").dsn) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT password FROM public.users")


@pytest.mark.parametrize("login", ["seed", "readonly", "monitor", "backup", "migrator"])
def test_only_the_back_end_acts_for_users(staffed: Conninfo, login: str) -> None:
    with (
        psycopg.connect(staffed.replace(user=f"case_{login}").dsn) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT public.act_as(%s)", (str(CHAIR),))


def test_nobody_logs_in_as_the_lookups_owner_or_becomes_it(staffed: Conninfo) -> None:
    with connect(staffed, purpose="test") as admin:
        attributes = admin.execute(
            "SELECT rolcanlogin, rolbypassrls, rolsuper, rolcreaterole"
            " FROM pg_roles WHERE rolname = 'case_lookup'"
        ).fetchone()
        assert attributes == (False, True, False, False)
        members = admin.execute(
            "SELECT member::regrole::text FROM pg_auth_members"
            " WHERE roleid = 'case_lookup'::regrole"
        ).fetchall()
        # PostgreSQL lets only a member of a role give something to it.
        assert members == [("case_owner",)]


def test_deactivating_a_user_ends_his_next_transaction(
    app: Connection[Any], staffed: Conninfo
) -> None:
    scalar(app, "SELECT public.act_as(%s)", str(CLERK))
    app.commit()
    with connect(staffed.replace(user="case_seed"), purpose="test") as seed:
        seed.execute("UPDATE public.users SET is_active = false WHERE id = %s", (CLERK,))

    with pytest.raises(errors.InvalidRoleSpecification):
        app.execute("SELECT public.act_as(%s)", (str(CLERK),))


def test_ids_made_by_the_database_sort_by_time_and_are_of_version_7(app: Connection[Any]) -> None:
    scalar(app, "SELECT public.act_as(%s)", str(CLERK))
    made = [
        scalar(app, "SELECT public.uuid_v7() FROM (SELECT pg_sleep(0.002)) AS pause")
        for _ in range(20)
    ]
    ms = scalar(app, "SELECT extract(epoch FROM clock_timestamp()) * 1000")

    assert made == sorted(made)
    assert {(found.version, found.variant) for found in made} == {(7, "specified in RFC 4122")}
    assert abs((made[-1].int >> 80) - int(ms)) < 1000
