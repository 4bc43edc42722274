"""The project's own migrations: up, down and up again, and yoyo's own command agrees."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.migrations.files import read_folder
from casedb.roles import apply_roles
from casedb.sqlfiles import folder
from casedb.tools import PostgresTools, run

SOURCE = folder("migrations")
IDS = [file.id for file in read_folder(SOURCE)]


def schema(tools: PostgresTools, target: Conninfo) -> str:
    """Return the definition of the tables and of ops, without what differs at every call."""
    argv = [tools["pg_dump"], "--schema-only", "--schema=public", "--schema=ops", "--no-password"]
    argv.append("--schema=audit")
    return re.sub(r"^\\(un)?restrict .*$", "", run(argv, target=target), flags=re.MULTILINE)


@pytest.fixture
def prepared(empty_database: Conninfo) -> Conninfo:
    """case_migrator on an empty database with the roles."""
    apply_roles(empty_database)
    return empty_database.replace(user="case_migrator")


def test_every_migration_can_be_applied_undone_and_applied_again(
    prepared: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    admin = prepared.replace(user="postgres")
    files = read_folder(SOURCE)
    # The runner's own tables, so that the first comparison is about the migration alone.
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    migrations.apply(prepared, source=nothing)
    some = tmp_path / "some"
    some.mkdir()
    for file in files:
        before = schema(tools, admin)
        for path in (file.path, file.rollback_path):
            (some / path.name).write_bytes(path.read_bytes())

        assert migrations.apply(prepared, source=some) == [file.id]
        applied = schema(tools, admin)
        assert applied != before

        assert migrations.rollback(prepared, source=some) == [file.id]
        assert schema(tools, admin) == before

        assert migrations.apply(prepared, source=some) == [file.id]
        assert schema(tools, admin) == applied


def test_all_of_them_can_be_undone_at_once(prepared: Conninfo) -> None:
    migrations.apply(prepared, source=SOURCE)

    assert migrations.rollback(prepared, source=SOURCE, count=99) == IDS[::-1]

    with connect(prepared.replace(user="postgres"), purpose="test") as connection:
        left = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        assert scalar(connection, left) == 0


def test_there_is_exactly_one_head() -> None:
    depended_on = {
        name
        for path in SOURCE.glob("*.sql")
        for line in path.read_text().splitlines()
        if line.startswith("-- depends:")
        for name in line.removeprefix("-- depends:").split()
    }

    assert set(IDS) - depended_on == {IDS[-1]}


def test_every_migration_says_first_what_it_is_for() -> None:
    for path in SOURCE.iterdir():
        first = path.read_text().splitlines()[0]
        assert re.match(r"-- (?!depends)\w", first), path.name


def test_everything_in_the_database_belongs_to_the_owner(database: Conninfo) -> None:
    with connect(database, purpose="test") as connection:
        strangers = connection.execute("""
            SELECT relname, relowner::regrole FROM pg_class
            WHERE relnamespace::regnamespace::text IN ('public', 'ops', 'audit')
              AND relowner <> 'case_owner'::regrole
            UNION ALL SELECT proname, proowner::regrole FROM pg_proc
            WHERE pronamespace::regnamespace::text IN ('public', 'ops', 'audit')
              AND proowner <> CASE WHEN prosecdef THEN 'case_lookup'::regrole ELSE 'case_owner' END
        """).fetchall()

    # Only a superuser can lend out the verifier that a pooler compares.
    assert strangers == [("pooler_login", "postgres")]


@pytest.mark.parametrize("role", ["monitor", "readonly", "backup", "migrator"])
def test_the_status_is_read_without_becoming_the_owner(database: Conninfo, role: str) -> None:
    found = migrations.status(database.replace(user=f"case_{role}"), source=SOURCE)

    assert [migration.id for migration in found.applied] == IDS
    assert found.head == IDS[-1]
    assert (found.pending, found.problems) == ((), ())


def test_the_plain_yoyo_command_agrees(prepared: Conninfo) -> None:
    migrations.apply(prepared, source=SOURCE)
    migrations.rollback(prepared, source=SOURCE)

    yoyo = Path(sys.executable).with_name("yoyo")
    uri = f"postgresql+psycopg:///{prepared.dbname}?schema=ops&options=-c%20role=case_owner"
    argv = [str(yoyo), "list", "--batch", "--no-config-file", "-d", uri, str(SOURCE)]
    # Not into the repository: yoyo writes a configuration file where it is started.
    listed = subprocess.run(
        argv, env=prepared.libpq_env(), capture_output=True, text=True, check=True, cwd="/"
    )

    found = re.findall(r"^([AU])\s+(\d{4}-\S+)", listed.stdout, re.MULTILINE)
    assert [name for state, name in found if state == "A"] == IDS[:-1]
    assert [name for state, name in found if state == "U"] == IDS[-1:]
    # And it leaves nothing that would stop us.
    assert migrations.apply(prepared, source=SOURCE) == IDS[-1:]


def test_what_yoyo_applied_by_itself_is_taken_over(prepared: Conninfo) -> None:
    yoyo = Path(sys.executable).with_name("yoyo")
    uri = f"postgresql+psycopg:///{prepared.dbname}?schema=ops&options=-c%20role=case_owner"
    argv = [str(yoyo), "apply", "--batch", "--no-config-file", "-d", uri, str(SOURCE)]
    subprocess.run(argv, env=prepared.libpq_env(), capture_output=True, check=True, cwd="/")
    steps: list[str] = []

    assert migrations.status(prepared.replace(user="postgres"), source=SOURCE).problems == ()
    assert migrations.apply(prepared, source=SOURCE, on_step=steps.append) == []

    assert len([step for step in steps if "recording its checksum" in step]) == len(IDS)
    with connect(prepared.replace(user="postgres"), purpose="test") as connection:
        assert scalar(connection, "SELECT count(*) FROM ops.casedb_migration") == len(IDS)
