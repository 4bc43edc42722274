"""globals.sql makes the roles that are missing, and changes none that is there."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import pytest
from psycopg import sql

from backups.contents import open_content
from backups.dump import dump
from backups.load import load_roles
from backups.manifest import GLOBALS, Manifest
from backups.sealing import new_key, read_keys
from backups.spared_roles import sparing
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ToolFailedError
from casedb.throwaway import throwaway_cluster
from casedb.tools import (
    PostgresTools,
    child_environment,
    pg_dumpall_globals_argv,
    psql_file_argv,
    run,
)
from tests.backups.conftest import Made
from tests.backups.test_fingerprint_rare import with_content

# Whatever could end a literal, a dollar quote, a comment, a statement or a line early.
ODD = (
    "it's",
    'a "quoted" one',
    "back\\slash'",
    "$$; DROP ROLE spared; --",
    "');--",
    "/* open",
    "two\n-- lines",
    "E'",
    ":name :'name'",
    "Größe",
    " ",
    "into",
    "user",
)
COMMENT = "it's $$ \\'; \n-- not\n\\! touch trapped\n'); DROP ROLE spared; /* \" `x` :y E'\\"


class Source:
    """A server of its own, and the globals.sql of its encrypted backup in clear."""

    def __init__(self, admin: Conninfo, tools: PostgresTools, folder: Path) -> None:
        self.admin, self.tools, self.folder = admin, tools, folder
        self.store = LocalStore(folder / "store")
        self.recipient = new_key(folder / "key")

    def do(self, *statements: LiteralString | sql.SQL | sql.Composed) -> None:
        do(self.admin, *statements)

    def dump(self) -> Manifest:
        manifest = dump(self.admin, self.store, tools=self.tools, recipients=[self.recipient])
        keys = read_keys(self.folder / "key")
        with open_content(self.store, manifest, GLOBALS, keys) as file:
            (self.folder / GLOBALS).write_bytes(file.read())
        return manifest

    def run_on(self, server: Conninfo) -> tuple[int, list[str]]:
        """Run it as RESTORE.txt says; return the exit code and what psql told."""
        done = subprocess.run(
            psql_file_argv(self.tools, dbname="postgres", file=self.folder / GLOBALS),
            cwd=self.folder,
            env=child_environment(server),
            capture_output=True,
            text=True,
        )
        assert done.stdout == ""
        return done.returncode, [told(line) for line in done.stderr.splitlines()]

    def bring_to(self, server: Conninfo) -> list[str]:
        """Dump, run it on `server`, and return what psql told."""
        self.dump()
        code, said = self.run_on(server)
        assert code == 0, said
        return said


@pytest.fixture(scope="module")
def servers(tools: PostgresTools) -> Iterator[tuple[Conninfo, Conninfo]]:
    with (
        throwaway_cluster(tools) as source,
        throwaway_cluster(tools, superuser="another") as there,
    ):
        yield source, there


@pytest.fixture
def source(
    servers: tuple[Conninfo, Conninfo], tools: PostgresTools, tmp_path: Path
) -> Iterator[Source]:
    yield Source(servers[0], tools, tmp_path)
    empty(servers[0])


@pytest.fixture
def there(servers: tuple[Conninfo, Conninfo]) -> Iterator[Conninfo]:
    """The superuser's conninfo of the server that the roles are brought to."""
    yield servers[1]
    empty(servers[1])


def empty(server: Conninfo) -> None:
    """Drop all roles but the superuser, and what everybody may do."""
    with connect(server, purpose="test") as connection:
        rows = connection.execute("SELECT rolname FROM pg_roles WHERE oid >= 16384").fetchall()
        roles = sql.SQL(", ").join(sql.Identifier(name) for (name,) in rows)
        connection.execute(
            sql.SQL(
                "REVOKE ALL ON PARAMETER log_statement, work_mem FROM PUBLIC, {0} CASCADE;"
                "DROP ROLE {0}"
            ).format(roles)
        )


def told(line: str) -> str:
    return line.partition("NOTICE:  ")[2] or line


def do(server: Conninfo, *statements: LiteralString | sql.SQL | sql.Composed) -> None:
    with connect(server, purpose="test") as connection:
        for statement in statements:
            connection.execute(statement)


def all_of(server: Conninfo, tools: PostgresTools) -> list[str]:
    """Return what pg_dumpall itself writes of a server's roles, but who granted and `another`."""
    written = run(pg_dumpall_globals_argv(tools, with_passwords=True), target=server)
    lines = [line.split(" GRANTED BY ")[0].rstrip(";") for line in written.splitlines()]
    return sorted(line for line in lines if "restrict " not in line and "another" not in line)


def members(server: Conninfo) -> set[tuple[str, str]]:
    """Return who is a member of what."""
    with connect(server, purpose="test") as connection:
        rows = connection.execute(
            "SELECT m.member::regrole::text, m.roleid::regrole::text FROM pg_auth_members AS m"
            " WHERE m.member >= 16384 OR m.roleid >= 16384"
        )
        return set(rows.fetchall())


def make_odd_ones(source: Source) -> None:
    source.do("CREATE ROLE spared; GRANT pg_monitor TO spared; GRANT spared TO pg_read_all_data")
    source.do("GRANT SET ON PARAMETER log_statement TO PUBLIC")
    for number, name in enumerate(ODD):
        role = sql.Identifier(name)
        source.do(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'hush-hush' CONNECTION LIMIT 3").format(role),
            sql.SQL("COMMENT ON ROLE {} IS {}").format(role, COMMENT),
            sql.SQL("ALTER ROLE {} SET app.odd = {}").format(role, COMMENT),
            sql.SQL("ALTER ROLE {} SET search_path = {}, public").format(role, role),
        )
        for other in ODD[:number]:
            grant = sql.SQL("GRANT {} TO {} WITH ADMIN OPTION")
            source.do(grant.format(sql.Identifier(other), role))
    first = sql.Identifier(ODD[0])
    source.do(
        sql.SQL("GRANT SET ON PARAMETER work_mem TO {} WITH GRANT OPTION").format(first),
        sql.SQL("SET SESSION AUTHORIZATION {}").format(first),
        sql.SQL("GRANT SET ON PARAMETER work_mem TO spared"),
    )


def test_an_empty_server_gets_everything_whatever_the_names(
    source: Source, there: Conninfo, tools: PostgresTools
) -> None:
    make_odd_ones(source)

    assert source.bring_to(there) == []

    assert all_of(there, tools) == all_of(source.admin, tools)
    assert not list(source.folder.rglob("trapped"))


def test_a_drills_way_gets_it_as_well(
    source: Source, there: Conninfo, tools: PostgresTools
) -> None:
    make_odd_ones(source)

    load_roles(source.store, source.dump(), there, read_keys(source.folder / "key"))

    assert all_of(there, tools) == all_of(source.admin, tools)


def test_run_again_it_changes_nothing_and_lists_all_of_them(
    source: Source, there: Conninfo, tools: PostgresTools
) -> None:
    make_odd_ones(source)
    source.bring_to(there)
    before = all_of(there, tools)

    code, said = source.run_on(there)

    assert code == 0
    assert all_of(there, tools) == before
    listed = [line for line in said if line.endswith(" was there and is left as it is")]
    # One has a name of two lines.
    assert len(listed) == len(ODD) + 2
    assert "role postgres was there and is left as it is" in listed
    assert 'role "it\'s" was there and is left as it is' in listed


def test_who_was_there_keeps_what_he_is_and_gets_nothing(
    source: Source, there: Conninfo, tools: PostgresTools
) -> None:
    source.do(
        "CREATE ROLE clerk SUPERUSER LOGIN PASSWORD 'theirs' VALID UNTIL '2040-01-01'",
        "COMMENT ON ROLE clerk IS 'theirs'; ALTER ROLE clerk SET work_mem = '5MB'",
        "CREATE ROLE staff; CREATE ROLE made; GRANT made TO clerk; GRANT staff TO clerk",
        "GRANT pg_write_all_data TO clerk; GRANT made TO pg_read_all_data",
        "GRANT SET ON PARAMETER work_mem TO clerk, made",
        "GRANT ALTER SYSTEM ON PARAMETER work_mem TO PUBLIC",
    )
    do(
        there,
        "CREATE ROLE clerk NOLOGIN PASSWORD 'ours'; COMMENT ON ROLE clerk IS 'ours'",
        "ALTER ROLE clerk SET statement_timeout = '7s'",
        "CREATE ROLE staff CREATEDB; GRANT staff TO clerk",
    )
    before = [line for line in all_of(there, tools) if "clerk" in line or "staff" in line]

    said = source.bring_to(there)

    after = all_of(there, tools)
    assert [line for line in after if "clerk" in line or "staff" in line] == before
    assert members(there) == {("clerk", "staff")}
    assert [line for line in after if "PARAMETER" in line] == [
        "GRANT SET ON PARAMETER work_mem TO made"
    ]
    out = "left out, because {} was there: GRANT {} TO {};"
    # Since PostgreSQL 16 it says more of a membership.
    assert sorted(line.replace(" WITH INHERIT TRUE", "") for line in said) == sorted(
        [
            "role clerk was there and is left as it is",
            "role staff was there and is left as it is",
            out.format("clerk", "made", "clerk"),
            out.format("clerk", "pg_write_all_data", "clerk"),
            out.format("clerk", "SET ON PARAMETER work_mem", "clerk"),
            out.format("pg_read_all_data", "made", "pg_read_all_data"),
            out.format("public", "ALTER SYSTEM ON PARAMETER work_mem", "PUBLIC"),
        ]
    )


def test_a_new_member_gets_into_any_role_and_an_old_one_into_none(
    source: Source, there: Conninfo
) -> None:
    source.do(
        "CREATE ROLE old; CREATE ROLE old_group; CREATE ROLE made; CREATE ROLE made_group",
        "GRANT old_group, made_group TO old, made; GRANT pg_monitor TO old, made",
    )
    do(there, "CREATE ROLE old; CREATE ROLE old_group")

    said = source.bring_to(there)

    assert members(there) == {
        ("made", "old_group"),
        ("made", "made_group"),
        ("made", "pg_monitor"),
    }
    assert len([line for line in said if line.startswith("left out, because old was")]) == 3


def test_who_granted_is_kept_where_he_may_grant_here(
    source: Source, there: Conninfo, tools: PostgresTools
) -> None:
    source.do(
        "CREATE ROLE lead; CREATE ROLE team; CREATE ROLE one; GRANT team TO lead WITH ADMIN OPTION",
        "GRANT team TO one GRANTED BY lead",
    )
    source.bring_to(there)

    with connect(there, purpose="test") as connection:
        query: LiteralString = (
            "SELECT grantor::regrole::text FROM pg_auth_members WHERE member = 'one'::regrole"
        )
        assert scalar(connection, query) == "lead"
        # Who was there is no admin of the role that is made: somebody has to grant it.
        connection.execute("DROP ROLE one; DROP ROLE team")
        code, said = source.run_on(there)
        assert code == 0, said
        assert scalar(connection, query) == ("lead" if tools.major < 16 else "another")
    assert members(there) == {("one", "team")}


def test_a_privilege_that_is_not_his_to_hand_on_here_is_left_out(
    source: Source, there: Conninfo, tools: PostgresTools
) -> None:
    source.do(
        "CREATE ROLE lead; CREATE ROLE one",
        "GRANT SET ON PARAMETER work_mem TO lead WITH GRANT OPTION",
        "SET SESSION AUTHORIZATION lead; GRANT SET ON PARAMETER work_mem TO one",
    )
    do(there, "CREATE ROLE lead")

    said = source.bring_to(there)

    words = "left out, because lead may not do it here: GRANT SET ON PARAMETER work_mem TO one;"
    assert words in said
    assert not [line for line in all_of(there, tools) if "PARAMETER" in line]


def test_it_makes_all_of_them_or_none(source: Source, there: Conninfo) -> None:
    """Else another run would leave half-made ones as they are, as ones that were there."""
    source.do("CREATE ROLE one LOGIN PASSWORD 'hush-hush'; ALTER ROLE one SET work_mem = '5MB'")
    source.dump()
    path = source.folder / GLOBALS
    whole = path.read_text()
    for broken in (whole.replace("5MB", "no size"), whole[: whole.index("''5MB''")]):
        path.write_text(broken)

        source.run_on(there)

        with connect(there, purpose="test") as connection:
            assert scalar(connection, "SELECT to_regrole('one')") is None
    path.write_text(whole)

    assert source.run_on(there) == (0, [])


def test_a_label_counts_as_the_roles_and_what_is_not_of_a_role_stays() -> None:
    label = """SECURITY LABEL FOR "a b" ON ROLE x IS E'it''s; \\\\';"""
    others = "SET work_mem = '5MB';\n\\restrict x1\n-- it's\nSELECT '/a;b';\n"

    text = sparing(f"{others}{label}\n-- end\n", bootstrap_superuser="postgres")

    head, _, rest = text.partition("SELECT '/a;b';\n")
    assert head.startswith("SET work_mem = '5MB';\n\\restrict x1\n-- it's\n")
    assert rest.startswith("CALL pg_temp.change_role('x', ")
    assert rest.endswith("\n\nCOMMIT;\n-- end\n")


def test_a_backup_of_before_is_loaded_as_it_was(
    made: Made, sample: Conninfo, tools: PostgresTools, there: Conninfo, tmp_path: Path
) -> None:
    copy = made.copy(tmp_path / "store")
    before = run(pg_dumpall_globals_argv(tools), target=sample)
    before = before.replace(" GRANTED BY postgres;", ";")
    with_content(copy.folder, made, GLOBALS, before.encode())

    load_roles(copy.store, made.manifest, there)

    assert ("sample_reader", "sample_group") in members(there)
    with pytest.raises(ToolFailedError, match="already exists"):
        load_roles(copy.store, made.manifest, there)
