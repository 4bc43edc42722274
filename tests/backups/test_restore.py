"""A restore makes a new database, whole and compared, or changes nothing."""

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from backups.attempt import Wish
from backups.compare import compare
from backups.manifest import DUMP, Manifest
from backups.progress import Progress
from backups.restore import restore
from backups.verify import read_catalog
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import (
    BackupDamagedError,
    ConfigurationError,
    DifferenceError,
    RefusedError,
    TerminatedError,
)
from casedb.marks import Mark, is_marked, read_mark
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, wheel_tools
from tests.backups.conftest import Made
from tests.backups.test_drill import forge, rewrite


@pytest.fixture
def other_server(tools: PostgresTools) -> Iterator[Conninfo]:
    """The superuser's conninfo of another server, which has no roles of ours."""
    with throwaway_cluster(tools) as admin:
        yield admin


@pytest.fixture
def name(cluster: Conninfo) -> Iterator[str]:
    """A name for a restored database, which is gone afterwards."""
    yield "restored db"
    with connect(cluster, purpose="test") as connection:
        connection.execute('DROP DATABASE IF EXISTS "restored db" WITH (FORCE)')


def databases(server: Conninfo) -> list[str]:
    with connect(server, purpose="test") as connection:
        rows = connection.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
    return [row[0] for row in rows]


def test_what_is_restored_is_what_was_dumped_with_owner_grants_and_settings(
    made: Made, cluster: Conninfo, tools: PostgresTools, name: str
) -> None:
    report = restore(made.store, Wish(made.label, name, mark=Mark.STAGING), cluster, tools=tools)

    assert report.rows == made.manifest.rows
    assert set(report.phases_s) == {"verify", "restore", "analyze", "compare"}
    with connect(cluster.replace(dbname=name), purpose="test") as connection:
        catalog = read_catalog(made.store, made.manifest)
        found = compare(connection, made.manifest, catalog, with_roles=True)
        assert found.differences == ()
        assert read_mark(connection) is Mark.STAGING
        path = scalar(connection, "SELECT setting FROM pg_settings WHERE name = 'work_mem'")
        assert path
    with connect(cluster.replace(dbname=name, user="sample_reader"), purpose="test") as reader:
        assert scalar(reader, "SHOW work_mem") == "5MB"
        assert scalar(reader, "SHOW search_path") == '"$user", app, public'


def test_the_sources_mark_never_comes_along(
    made: Made, cluster: Conninfo, tools: PostgresTools, name: str
) -> None:
    """The sample is marked production; what a copy is for is not the copy's to say."""
    restore(made.store, Wish(made.label, name), cluster, tools=tools)

    with connect(cluster.replace(dbname=name), purpose="test") as connection:
        assert not is_marked(connection)


def test_an_existing_database_is_refused_and_not_touched(
    made: Made, small: Conninfo, cluster: Conninfo, tools: PostgresTools
) -> None:
    before = databases(cluster)

    with pytest.raises(RefusedError, match="exists already"):
        restore(made.store, Wish(made.label, small.dbname), cluster, tools=tools)

    assert databases(cluster) == before
    with connect(small, purpose="test") as connection:
        assert scalar(connection, "SELECT count(*) FROM one") == 1000


def test_a_database_that_appears_meanwhile_is_not_touched_either(
    made: Made, cluster: Conninfo, tools: PostgresTools, name: str
) -> None:
    def appear(progress: Progress) -> None:
        if progress.phase == "comparing with the manifest":
            with connect(cluster, purpose="test") as connection:
                connection.execute('CREATE DATABASE "restored db"')

    with pytest.raises(RefusedError, match="exists already"):
        restore(made.store, Wish(made.label, name), cluster, tools=tools, on_progress=appear)

    assert not [found for found in databases(cluster) if "_restoring_" in found]
    with connect(cluster.replace(dbname=name), purpose="test") as connection:
        assert scalar(connection, "SELECT to_regnamespace('app')") is None


def test_missing_roles_are_listed_and_nothing_is_changed(
    made: Made, other_server: Conninfo, tools: PostgresTools
) -> None:
    before = databases(other_server)

    with pytest.raises(RefusedError, match="lacks roles") as caught:
        restore(made.store, Wish(made.label, "new"), other_server, tools=tools)

    assert "sample_owner, sample_plain, sample_reader" in (caught.value.detail or "")
    assert "--create-roles" in (caught.value.hint or "")
    assert databases(other_server) == before


def test_missing_roles_are_made_without_login_when_asked(
    made: Made, other_server: Conninfo, tools: PostgresTools
) -> None:
    report = restore(
        made.store, Wish(made.label, "new", create_roles=True), other_server, tools=tools
    )

    assert set(report.created_roles) == {role.name for role in made.manifest.roles}
    with connect(other_server, purpose="test") as connection:
        rows = connection.execute(
            "SELECT rolname, rolcanlogin, rolsuper, rolbypassrls FROM pg_roles"
            " WHERE rolname ~ '^sample_'"
        ).fetchall()
        member = scalar(connection, "SELECT pg_has_role('sample_plain', 'sample_owner', 'MEMBER')")
    assert {row[0] for row in rows if row[1] or row[2]} == set()
    assert {row[0] for row in rows if row[3]} == {"sample_backup"}
    assert member


def test_roles_that_were_made_are_named_when_the_restore_fails(
    copied: Made, other_server: Conninfo, tools: PostgresTools
) -> None:
    forge(copied, b"case 77\t", b"case 7X\t")
    wish = Wish(copied.label, "new", create_roles=True)

    with pytest.raises(DifferenceError) as caught:
        restore(copied.store, wish, other_server, tools=tools)

    hint = caught.value.hint or ""
    assert "Created without login, and still there" in hint
    drop = f"DROP ROLE {hint.partition('DROP ROLE ')[2]}"
    with connect(other_server, purpose="test") as connection:
        connection.execute(drop.encode())
        left = scalar(connection, "SELECT count(*) FROM pg_roles WHERE rolname ~ '^sample_'")
    assert left == 0


def test_a_restore_that_differs_is_dropped_again(
    copied: Made, cluster: Conninfo, tools: PostgresTools
) -> None:
    before = databases(cluster)
    forge(copied, b"case 77\t", b"case 7X\t")

    with pytest.raises(DifferenceError, match="did not restore"):
        restore(copied.store, Wish(copied.label, "new"), cluster, tools=tools)

    assert databases(cluster) == before


def test_a_damaged_backup_is_refused_before_anything_is_made(
    copied: Made, cluster: Conninfo, tools: PostgresTools
) -> None:
    path = copied.folder / DUMP
    path.write_bytes(path.read_bytes()[:-5])
    before = databases(cluster)

    with pytest.raises(BackupDamagedError):
        restore(copied.store, Wish(copied.label, "new"), cluster, tools=tools)

    assert databases(cluster) == before


def test_an_interrupted_restore_leaves_nothing(
    made: Made, cluster: Conninfo, tools: PostgresTools
) -> None:
    before = databases(cluster)

    def interrupt(progress: Progress) -> None:
        if progress.phase == "comparing the tables":
            raise TerminatedError

    with pytest.raises(TerminatedError):
        restore(made.store, Wish(made.label, "new"), cluster, tools=tools, on_progress=interrupt)

    assert databases(cluster) == before


def test_the_unfinished_database_of_a_killed_restore_is_removed_and_told_of(
    made: Made, cluster: Conninfo, tools: PostgresTools, name: str
) -> None:
    left = sql.Identifier("restored db_restoring_abcdef")
    with connect(cluster, purpose="test") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(left))
    report = restore(made.store, Wish(made.label, name), cluster, tools=tools)

    assert 'removed "restored db_restoring_abcdef"' in report.notes[0]
    assert "restored db_restoring_abcdef" not in databases(cluster)


def test_nobody_but_a_superuser_and_no_other_programs(
    made: Made, cluster: Conninfo, tools: PostgresTools
) -> None:
    plain = cluster.replace(user="sample_plain")
    with pytest.raises(RefusedError, match="only a superuser"):
        restore(made.store, Wish(made.label, "new"), plain, tools=tools)
    other = wheel_tools(18 if tools.major != 18 else 16)
    with pytest.raises(ConfigurationError, match="does not fit"):
        restore(made.store, Wish(made.label, "new"), cluster, tools=other)


def test_a_backup_of_a_newer_server_is_refused(
    copied: Made, cluster: Conninfo, tools: PostgresTools
) -> None:
    update = {"server_major": 99, "server_version": "99.1"}
    rewrite(copied, Manifest.model_validate({**copied.manifest.model_dump(), **update}))

    with pytest.raises(RefusedError, match="newer PostgreSQL"):
        restore(copied.store, Wish(copied.label, "new"), cluster, tools=tools)


def test_a_name_that_postgresql_would_cut_is_refused(
    made: Made, cluster: Conninfo, tools: PostgresTools
) -> None:
    with pytest.raises(ConfigurationError, match="at most 63 bytes"):
        restore(made.store, Wish(made.label, "ä" * 40), cluster, tools=tools)


def test_the_longest_name_is_not(made: Made, cluster: Conninfo, tools: PostgresTools) -> None:
    longest = "ä" * 31
    restore(made.store, Wish(made.label, longest), cluster, tools=tools)
    try:
        assert longest in databases(cluster)
    finally:
        with connect(cluster, purpose="test") as connection:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(longest)))


def run_all(commands: list[str], folder: Path, server: Conninfo, tools: PostgresTools) -> None:
    environment = {
        **os.environ,
        **server.replace(dbname=None).libpq_env(),
        "PATH": f"{tools.bindir}:{os.environ['PATH']}",
        "PAGER": "cat",
        "KEY": str(folder.parent / "key"),
    }
    for command in commands:
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
        )


def test_the_instructions_restore_the_backup_without_casedb(
    made: Made, other_server: Conninfo, tools: PostgresTools
) -> None:
    """Every indented line of RESTORE.txt is run as it stands there."""
    if shutil.which("zstd") is None:
        pytest.skip("there is no zstd program")
    text = (made.folder / "RESTORE.txt").read_text()
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert len(commands) > 10
    run_all(commands, made.folder, other_server, tools)

    restored = other_server.replace(dbname="sample_db_restored")
    with connect(restored, purpose="test") as connection:
        found = compare(
            connection,
            made.manifest,
            read_catalog(made.store, made.manifest),
            with_roles=True,
        )
    assert found.differences == ()


def test_the_instructions_name_every_checksum(made: Made) -> None:
    text = (made.folder / "RESTORE.txt").read_text()

    for name in ("database.dump.zst", "globals.sql", "catalog.json"):
        digest = hashlib.sha256((made.folder / name).read_bytes()).hexdigest()
        assert shlex.quote(f"{digest}  {name}") in text


def test_a_backup_is_not_rotated_away_while_it_is_restored(
    made: Made, cluster: Conninfo, tools: PostgresTools, name: str, tmp_path: Path
) -> None:
    copy = made.copy(tmp_path / "store")
    seen: list[str] = []

    def rotate(progress: Progress) -> None:
        if progress.phase == "restoring":
            with copy.store.lock("sample db"):
                try:
                    copy.store.delete("sample db", copy.label, b"")
                except Exception as error:
                    seen.append(type(error).__name__)

    restore(copy.store, Wish(copy.label, name), cluster, tools=tools, on_progress=rotate)

    assert set(seen) == {"LockedError"}
