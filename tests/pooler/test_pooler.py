"""Through PgBouncer, a transaction has its own identity and never that of a client before it."""

import os
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors

from casedb.database import connect, scalar
from casedb.roles import LOGIN_ROLES, apply_roles, set_passwords
from casedb.server import SUPERUSER
from tests.pooler.clients import CARELESS, Staff, run_clients

if TYPE_CHECKING:
    from tests.pooler.conftest import Pool, Server

TRANSACTIONS = int(os.environ.get("POOLER_TRANSACTIONS", "10000"))
# Without the reset the first leak comes within a few transactions.
FEW = 400


@pytest.mark.parametrize("careless", CARELESS)
def test_no_identity_leaks_in_ten_thousand_transactions(
    pool: "Pool", staff: Staff, careless: str
) -> None:
    with pool() as way:
        assert run_clients(way, staff, TRANSACTIONS, CARELESS[careless]) == []


@pytest.mark.parametrize("careless", CARELESS)
@pytest.mark.parametrize(
    "without", [{"server_reset_query": ""}, {"server_reset_query_always": "0"}], ids=str
)
def test_the_same_clients_leak_when_the_reset_is_taken_away(
    pool: "Pool", staff: Staff, careless: str, without: dict[str, str]
) -> None:
    with pool(**without) as way:
        assert run_clients(way, staff, FEW, CARELESS[careless]) != []


def test_a_wrong_password_is_refused_and_so_is_every_other_role(
    pool: "Pool", server: "Server"
) -> None:
    with pool() as way:
        with pytest.raises(psycopg.OperationalError, match=r"authentication failed|no such user"):
            psycopg.connect(way.replace(password="wrong").dsn)
        for role in sorted(set(LOGIN_ROLES) - {"case_app", "case_pooler"}):
            with pytest.raises(
                psycopg.OperationalError, match=r"authentication failed|no such user"
            ):
                psycopg.connect(way.replace(user=role).dsn)


def test_a_password_changed_on_the_server_holds_for_the_next_client(
    pool: "Pool", server: "Server"
) -> None:
    admin = server(SUPERUSER)
    with pool() as way:
        set_passwords(admin, {"case_app": "another password"})
        try:
            with connect(way.replace(password="another password"), purpose="test") as connection:
                assert scalar(connection, "SELECT current_user") == "case_app"
        finally:
            set_passwords(admin, server.embedded.add_passwords(("case_app",)))


def test_the_pooler_learns_one_verifier_and_sees_no_data(server: "Server") -> None:
    with connect(server("case_pooler"), purpose="test") as connection:
        names = ", ".join(f"('{role}')" for role in (*LOGIN_ROLES, SUPERUSER, "case_owner"))
        found = connection.execute(
            "SELECT login, verifier FROM (VALUES " + names + ") AS asked (name),"
            " LATERAL ops.pooler_login(asked.name)"
        ).fetchall()
        assert [login for login, _ in found] == ["case_app"]
        assert found[0][1].startswith("SCRAM-SHA-256$")
        for statement in (
            "SELECT rolpassword FROM pg_authid",
            "SELECT id FROM public.users",
            "SELECT id FROM public.cases",
            "SELECT public.login('clerk@example.com')",
            "SELECT public.act_as('x')",
            "SELECT * FROM ops._yoyo_migration",
            "SET ROLE case_app",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement.encode())


@pytest.mark.parametrize("role", sorted(set(LOGIN_ROLES) - {"case_pooler"}))
def test_nobody_else_may_ask_for_verifiers(server: "Server", role: str) -> None:
    with (
        psycopg.connect(server(role).dsn) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT ops.pooler_login('case_app')")


def test_a_function_opened_to_everybody_is_closed_again(server: "Server") -> None:
    admin = server(SUPERUSER)
    with connect(admin, purpose="test") as connection:
        connection.execute("GRANT EXECUTE ON FUNCTION ops.pooler_login TO PUBLIC")

        apply_roles(admin)

        query = (
            "SELECT proacl::text FROM pg_proc WHERE oid = 'ops.pooler_login(name)'::regprocedure"
        )
        assert "{=X" not in scalar(connection, query)
