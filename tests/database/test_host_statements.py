"""From what a server has to what it should have, and back: on a real server, then nothing left."""

import json
from typing import Any

import psycopg
import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.sqlfiles import read_sql
from deploy.scram import matches, new_verifier
from deploy.statements import (
    NEW_ROLE,
    Database,
    Grants,
    Role,
    Statement,
    database_statements,
    extension_statements,
    grant_statements,
    plain_role,
    quote_name,
    quote_text,
    role_statements,
)

# A name and a text with everything in it that has to be quoted.
ODD = "o\"dd; name' \\"


def server(admin: Conninfo) -> dict[str, Any]:
    return _asked(admin, "catalog/host-server.sql")


def contents(admin: Conninfo) -> dict[str, Any]:
    return _asked(admin, "catalog/host-database.sql")


def _asked(admin: Conninfo, name: str) -> dict[str, Any]:
    with connect(admin, purpose="test") as connection:
        row = connection.execute(read_sql(name)).fetchone()
    assert row
    found: dict[str, Any] = row[0]
    return found


def run(admin: Conninfo, statements: list[Statement]) -> None:
    with connect(admin, purpose="test") as connection:
        for statement in statements:
            connection.execute(statement.sql)


def converge(admin: Conninfo, wish: Role) -> list[Statement]:
    statements = role_statements(server(admin)["roles"].get(wish.name), wish)
    run(admin, statements)
    return statements


@pytest.fixture
def role_name(cluster: Conninfo) -> Any:
    yield ODD
    run(cluster, role_statements(server(cluster)["roles"].get(ODD), Role(ODD, present=False)))
    assert ODD not in server(cluster)["roles"]


EVERYTHING = plain_role(
    ODD,
    superuser=True,
    createdb=True,
    createrole=True,
    inherit=False,
    login=True,
    replication=True,
    bypassrls=True,
    connection_limit=7,
    valid_until="2031-02-03T04:05:06+00:00",
    password="it's \\ hush",
    member_of=["pg_monitor", "pg_read_all_data"],
    settings={"work_mem": "8MB", "casedb.test": ODD},
    comment=ODD,
)


def test_a_role_gets_every_attribute_and_a_second_run_finds_nothing(
    cluster: Conninfo, role_name: str
) -> None:
    assert converge(cluster, EVERYTHING)

    found = server(cluster)["roles"][role_name]
    assert {k: found[k] for k in NEW_ROLE if k not in ("verifier", "valid_until")} == {
        "superuser": True,
        "createdb": True,
        "createrole": True,
        "inherit": False,
        "login": True,
        "replication": True,
        "bypassrls": True,
        "connection_limit": 7,
        "member_of": ["pg_monitor", "pg_read_all_data"],
        "settings": {"work_mem": "8MB", "casedb.test": ODD},
        "comment": ODD,
    }
    assert found["valid_until"].startswith("2031-02-03")
    assert matches("it's \\ hush", found["verifier"])
    assert converge(cluster, EVERYTHING) == []


def test_a_role_loses_every_attribute_again(cluster: Conninfo, role_name: str) -> None:
    converge(cluster, EVERYTHING)
    nothing = plain_role(role_name, password="")

    converge(cluster, nothing)

    found = server(cluster)["roles"][role_name]
    assert {**NEW_ROLE, "valid_until": found["valid_until"]} == found
    assert found["valid_until"] in (None, "infinity")
    assert converge(cluster, nothing) == []


@pytest.mark.parametrize(
    "change",
    [
        "SUPERUSER", "CREATEDB", "CREATEROLE", "NOINHERIT", "NOLOGIN", "REPLICATION", "BYPASSRLS",
        "CONNECTION LIMIT 3", "VALID UNTIL '2029-01-01'", "PASSWORD 'another'", "PASSWORD NULL",
        "SET work_mem = '1GB'", "RESET statement_timeout",
    ],
)  # fmt: skip
def test_what_somebody_changed_by_hand_is_put_back(
    cluster: Conninfo, role_name: str, change: str
) -> None:
    wish = plain_role(role_name, login=True, password="hush", settings={"statement_timeout": "30s"})
    converge(cluster, wish)
    before = server(cluster)["roles"][role_name]
    run(cluster, [Statement(f"ALTER ROLE {quote_name(role_name)} {change}")])
    assert server(cluster)["roles"][role_name] != before

    assert converge(cluster, wish)

    after = server(cluster)["roles"][role_name]
    same = {k: v for k, v in before.items() if k not in ("verifier", "valid_until")}
    assert {k: after[k] for k in same} == same
    assert after["valid_until"] in (None, "infinity")
    assert matches("hush", after["verifier"])
    assert converge(cluster, wish) == []


def test_a_right_password_keeps_its_verifier(cluster: Conninfo, role_name: str) -> None:
    wish = Role(role_name, password="hush")
    converge(cluster, wish)
    before = server(cluster)["roles"][role_name]["verifier"]

    assert converge(cluster, wish) == []
    assert server(cluster)["roles"][role_name]["verifier"] == before


@pytest.mark.parametrize(
    "password", ["plain", "päss wörd", "ﬁ", "\u00a0x\u00ad", "שלום", "a\u0627"]
)
def test_postgresql_takes_our_verifier_for_its_own(
    cluster: Conninfo, role_name: str, password: str
) -> None:
    with connect(cluster, purpose="test") as connection:
        theirs = connection.pgconn.encrypt_password(
            password.encode(), role_name.encode(), b"scram-sha-256"
        ).decode()

    assert matches(password, theirs)
    assert not matches(password + "x", theirs)
    assert new_verifier(password) != new_verifier(password)


def test_a_password_is_shown_nowhere(cluster: Conninfo, role_name: str) -> None:
    wish = Role(role_name, password="hush-hush")
    statements = role_statements(None, wish)

    for text in (repr(wish), repr(statements), "".join(map(str, statements))):
        assert "hush-hush" not in text
        assert "SCRAM" not in text
    assert all("hush-hush" not in statement.sql for statement in statements)


def test_a_database_is_made_whole_changed_and_left_alone(cluster: Conninfo, role_name: str) -> None:
    converge(cluster, plain_role(role_name))
    name = 'a "database"'
    wish = Database(
        name,
        owner=role_name,
        connection_limit=0,
        tablespace="pg_default",
        settings={"casedb.mark": "staging", "lock_timeout": "5s"},
        comment="it's",
    )
    try:
        run(cluster, database_statements(None, wish))
        found = server(cluster)["databases"][name]
        assert (found["owner"], found["connection_limit"]) == (role_name, 0)
        assert (found["settings"], found["comment"]) == (dict(wish.settings or {}), "it's")
        assert database_statements(found, wish) == []

        back = Database(name, owner="postgres", connection_limit=-1, settings={}, comment="")
        run(cluster, database_statements(found, back))
        found = server(cluster)["databases"][name]
        assert (found["owner"], found["connection_limit"]) == ("postgres", -1)
        # What casedb itself notes in a database stays: an undo of a restore needs it.
        assert (found["settings"], found["comment"]) == ({"casedb.mark": "staging"}, "")
    finally:
        run(cluster, [Statement(f"DROP DATABASE IF EXISTS {quote_name(name)}")])


def test_privileges_that_are_not_wanted_are_revoked(
    empty_database: Conninfo, cluster: Conninfo, role_name: str
) -> None:
    converge(cluster, plain_role(role_name))
    run(empty_database, [
        Statement("CREATE TABLE public.kept (id int)"),
        Statement(f"GRANT ALL ON public.kept TO {quote_name(role_name)}"),
        Statement("GRANT SELECT ON public.kept TO PUBLIC"),
    ])  # fmt: skip

    def grant(wanted: dict[str, frozenset[str]]) -> list[Statement]:
        found = contents(empty_database)["tables"]["public.kept"]
        statements = grant_statements(
            found["grants"], Grants("TABLE", "public.kept", found["owner"], wanted)
        )
        run(empty_database, statements)
        return statements

    try:
        wanted = {role_name: frozenset({"SELECT"}), "pg_monitor": frozenset({"INSERT"})}
        assert grant(wanted)
        grants = contents(empty_database)["tables"]["public.kept"]["grants"]
        assert grants.pop("postgres")
        assert grants == {role_name: ["SELECT"], "pg_monitor": ["INSERT"]}
        assert grant(wanted) == []
        grant({})
        assert set(contents(empty_database)["tables"]["public.kept"]["grants"]) == {"postgres"}
    finally:
        run(empty_database, [Statement("DROP TABLE public.kept")])


def test_a_privilege_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="EXECUTE"):
        grant_statements({}, Grants("TABLE", "t", "o", {"x": frozenset({"execute"})}))


def test_an_extension_is_made_updated_moved_and_dropped(empty_database: Conninfo) -> None:
    def plpgsql(**wish: Any) -> list[Statement]:
        return extension_statements(
            contents(empty_database)["extensions"].get("plpgsql"), "plpgsql", **wish
        )

    # plpgsql is in every server and every build.
    assert plpgsql() == []
    run(empty_database, plpgsql(present=False))
    assert "plpgsql" not in contents(empty_database)["extensions"]
    run(empty_database, plpgsql())
    assert "plpgsql" in contents(empty_database)["extensions"]
    older = {"version": "0.1", "default_version": "1.0", "schema": "a"}
    assert [str(s) for s in extension_statements(older, "x", schema="b")] == [
        'ALTER EXTENSION "x" UPDATE',
        'ALTER EXTENSION "x" SET SCHEMA "b"',
    ]


@pytest.mark.parametrize("text", ["it's", "a\\b", "\\'", "$$", "é\n\t", ""])
@pytest.mark.parametrize("conforming", ["on", "off"])
def test_a_quoted_text_is_read_as_it_was_written(
    cluster: Conninfo, text: str, conforming: str
) -> None:
    with psycopg.connect(cluster.dsn) as connection:
        connection.execute(f"SET standard_conforming_strings = {conforming}")
        found = connection.execute(f"SELECT {quote_text(text)}").fetchone()

    assert found == (text,)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        quote_name(name)


def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(ValueError, match="superusr"):
        plain_role("x", superusr=True)


def test_the_gathered_state_is_plain_json(cluster: Conninfo) -> None:
    assert json.loads(json.dumps(server(cluster)))["in_recovery"] is False
