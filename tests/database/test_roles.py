"""sql/roles/: applied twice it changes nothing, and what drifted is put back."""

import hashlib
import hmac
import threading
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import CasedbError, ConfigurationError, ToolFailedError
from casedb.roles import LOGIN_ROLES, apply_roles, set_passwords
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools

# xmin shows that a row was rewritten, even with the same content.
SNAPSHOT = """
    SELECT 'role', to_jsonb(a) - 'rolpassword' || jsonb_build_object('xmin', a.xmin::text)
    FROM pg_authid AS a WHERE rolname LIKE 'case\\_%'
    UNION ALL SELECT 'membership', to_jsonb(m) || jsonb_build_object('xmin', m.xmin::text)
    FROM pg_auth_members AS m
    UNION ALL SELECT 'database', jsonb_build_array(datdba::regrole, datacl::text) FROM pg_database
    WHERE datname = current_database()
    UNION ALL SELECT 'schema', jsonb_build_array(nspname, nspowner::regrole, nspacl::text)
    FROM pg_namespace WHERE nspname IN ('public', 'ops')
    UNION ALL SELECT 'default', to_jsonb(d) FROM pg_default_acl AS d
    UNION ALL SELECT 'comment', to_jsonb(c) FROM pg_shdescription AS c
    UNION ALL SELECT 'setting', to_jsonb(s) || jsonb_build_object('xmin', s.xmin::text)
    FROM pg_db_role_setting AS s
    ORDER BY 1, 2
"""
EFFECTIVE = """
    SELECT 'role', to_jsonb(r) - 'oid' FROM pg_roles AS r WHERE rolname LIKE 'case\\_%'
    UNION ALL
    SELECT 'membership', jsonb_build_array(
        m.roleid::regrole, m.member::regrole, m.admin_option,
        to_jsonb(m) -> 'inherit_option', to_jsonb(m) -> 'set_option'
    ) FROM pg_auth_members AS m WHERE m.member::regrole::text LIKE 'case\\_%'
    UNION ALL SELECT 'database', jsonb_build_array(datdba::regrole, datacl::text) FROM pg_database
    WHERE datname = current_database()
    UNION ALL SELECT 'schema', jsonb_build_array(nspname, nspowner::regrole, nspacl::text)
    FROM pg_namespace WHERE nspname IN ('public', 'ops')
    UNION ALL SELECT 'setting', jsonb_build_array(setrole::regrole, setconfig)
    FROM pg_db_role_setting WHERE setdatabase = 0
    ORDER BY 1, 2
"""
DRIFT = (
    "ALTER ROLE case_app SUPERUSER INHERIT",
    "ALTER ROLE case_owner LOGIN CREATEROLE",
    "ALTER ROLE case_monitor NOLOGIN REPLICATION",
    "ALTER ROLE case_backup NOBYPASSRLS",
    "GRANT case_owner TO case_readonly",
    "GRANT pg_write_all_data TO case_app",
    "GRANT case_clerk TO case_app WITH ADMIN OPTION",
    "REVOKE pg_monitor FROM case_monitor",
    "COMMENT ON ROLE case_app IS 'somebody''s note'",
    "GRANT CREATE ON SCHEMA public TO PUBLIC, case_app",
    "ALTER SCHEMA ops OWNER TO postgres",
    "ALTER ROLE case_app SET TimeZone = 'Asia/Tokyo'",
    "ALTER ROLE case_app RESET TimeZone",
)


@pytest.fixture(scope="module")
def server(tools: PostgresTools) -> Iterator[Conninfo]:
    """A server of its own: roles belong to all databases, also to those of other tests."""
    with throwaway_cluster(tools) as admin:
        yield admin


@pytest.fixture
def admin(server: Conninfo) -> Conninfo:
    """The superuser on a database with the roles as they should be."""
    apply_roles(server)
    return server


def rows(target: Conninfo, query: str) -> list[tuple[object, ...]]:
    with connect(target, purpose="test") as connection:
        return connection.execute(query.encode()).fetchall()


def run(target: Conninfo, *statements: str) -> None:
    with connect(target, purpose="test") as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_second_run_changes_nothing(admin: Conninfo) -> None:
    before = rows(admin, SNAPSHOT)

    apply_roles(admin)

    assert rows(admin, SNAPSHOT) == before
    assert {kind for kind, _ in before} >= {
        "role",
        "membership",
        "database",
        "schema",
        "comment",
        "setting",
    }


@pytest.mark.parametrize("drift", DRIFT)
def test_what_drifted_is_put_back(admin: Conninfo, drift: str) -> None:
    before = rows(admin, EFFECTIVE)
    comments = rows(admin, "SELECT * FROM pg_shdescription ORDER BY objoid")
    run(admin, drift)
    assert (
        rows(admin, EFFECTIVE) != before
        or rows(admin, "SELECT * FROM pg_shdescription ORDER BY objoid") != comments
    )

    apply_roles(admin)

    assert rows(admin, EFFECTIVE) == before
    assert rows(admin, "SELECT * FROM pg_shdescription ORDER BY objoid") == comments


@pytest.mark.parametrize("privilege", ["CONNECT", "CREATE", "TEMPORARY"])
def test_what_public_may_do_in_the_database_is_taken_back(admin: Conninfo, privilege: str) -> None:
    run(admin, f"GRANT {privilege} ON DATABASE {admin.dbname} TO PUBLIC, case_app")
    before = {"CONNECT": ["case_app"]}.get(privilege, [])

    apply_roles(admin)

    found = rows(
        admin,
        f"""SELECT a.grantee::regrole::text FROM pg_database AS d, aclexplode(d.datacl) AS a
            WHERE d.datname = current_database() AND a.privilege_type = '{privilege}'
              AND a.grantee IN (0, 'case_app'::regrole)""",
    )
    assert [name for (name,) in found] == before


def test_a_password_and_a_person_given_entry_stay(admin: Conninfo) -> None:
    set_passwords(admin, {"case_app": "first"})
    run(admin, "CREATE ROLE jane LOGIN", "GRANT case_readonly TO jane")
    password = rows(admin, "SELECT rolpassword FROM pg_authid WHERE rolname = 'case_app'")

    apply_roles(admin)

    assert rows(admin, "SELECT rolpassword FROM pg_authid WHERE rolname = 'case_app'") == password
    assert rows(admin, "SELECT pg_has_role('jane', 'case_readonly', 'MEMBER')") == [(True,)]
    run(admin, "DROP ROLE jane")


def test_only_who_should_can_log_in(admin: Conninfo) -> None:
    found = rows(admin, "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname LIKE 'case%'")

    assert {name for (name,) in found} == set(LOGIN_ROLES)


def test_runs_at_once_on_several_databases_do_not_collide(server: Conninfo) -> None:
    names = [f"at_once_{number}" for number in range(4)]
    run(server, *(f"CREATE DATABASE {name}" for name in names))
    apply_roles(server)
    # Under the same lock, so that only what apply_roles does can collide.
    drift = (
        "BEGIN; LOCK TABLE pg_authid IN SHARE ROW EXCLUSIVE MODE;"
        "ALTER ROLE case_app INHERIT; REVOKE pg_monitor FROM case_monitor; COMMIT"
    )
    failures: list[CasedbError] = []

    def apply_often(name: str) -> None:
        try:
            for _ in range(4):
                run(server.replace(dbname=name), drift)
                apply_roles(server.replace(dbname=name))
        except CasedbError as error:
            failures.append(error)

    threads = [threading.Thread(target=apply_often, args=(name,)) for name in names * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []


def test_roles_are_refused_to_who_is_no_superuser(admin: Conninfo) -> None:
    with pytest.raises(ConfigurationError, match="superuser"):
        apply_roles(admin.replace(user="case_migrator"))


def test_a_password_is_stored_as_a_verifier_that_fits_it(admin: Conninfo) -> None:
    set_passwords(admin, {"case_app": "correct horse", "case_seed": "battery"})

    found = rows(admin, "SELECT rolpassword FROM pg_authid WHERE rolname = 'case_app'")
    method, salted, keys = str(found[0][0]).split("$")
    iterations, salt = salted.split(":")
    # RFC 5802: StoredKey = H(HMAC(PBKDF2(password), "Client Key"))
    key = hashlib.pbkdf2_hmac("sha256", b"correct horse", b64decode(salt), int(iterations))
    client_key = hmac.digest(key, b"Client Key", "sha256")
    assert method == "SCRAM-SHA-256"
    assert b64decode(keys.split(":")[0]) == hashlib.sha256(client_key).digest()


def test_no_password_and_no_verifier_reaches_the_log(
    admin: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    execute = psycopg.Connection.execute

    def watched(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        text = query if isinstance(query, str) else query.as_string(self)
        silent = execute(self, "SHOW log_statement").fetchone() == ("none",)
        sent.append(f"{silent} {text}")
        return execute(self, query, *args, **kwargs)

    monkeypatch.setattr(psycopg.Connection, "execute", watched)
    set_passwords(admin, {"case_app": "correct horse"})

    assert any("SCRAM-SHA-256$" in text for text in sent)
    assert all(text.startswith("True ") for text in sent)
    assert not any("correct horse" in text for text in sent)


@pytest.mark.parametrize("passwords", [{"case_owner": "x"}, {"postgres": "x"}, {"case_app": ""}])
def test_a_senseless_password_is_refused(admin: Conninfo, passwords: dict[str, str]) -> None:
    before = rows(admin, "SELECT rolname, rolpassword FROM pg_authid ORDER BY 1")

    with pytest.raises(ConfigurationError):
        set_passwords(admin, {"case_seed": "fine", **passwords})

    assert rows(admin, "SELECT rolname, rolpassword FROM pg_authid ORDER BY 1") == before


def test_passwords_are_all_set_or_none(server: Conninfo) -> None:
    apply_roles(server)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE case_monitor RENAME TO was_monitor"))
    try:
        before = rows(server, "SELECT rolpassword FROM pg_authid WHERE rolname = 'case_app'")
        with pytest.raises(ToolFailedError, match="case_monitor"):
            set_passwords(server, {"case_app": "never", "case_monitor": "x"})
        after = rows(server, "SELECT rolpassword FROM pg_authid WHERE rolname = 'case_app'")
        assert after == before
    finally:
        run(server, "ALTER ROLE was_monitor RENAME TO case_monitor")
