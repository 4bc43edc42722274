"""What RESTORE.txt says works for any name and on any server, and nothing reaches a shell."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from backups import large_tables
from backups.archive_form import ArchiveForm
from backups.dump import dump
from backups.facts import read_properties
from backups.instructions import restored_name
from backups.manifest import Manifest
from backups.sealing import new_key
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.server import SUPERUSER, EmbeddedServer
from casedb.tools import PostgresTools
from tests.backups.test_restore import databases, run_all

# Run by whatever takes a line of it for a command: a shell, a filter for a shell, psql.
TRAP = (
    "x\n-- createdb touch trapped\n    touch trapped\n\\! touch trapped\n"
    "'; \\! touch trapped\n$(touch trapped) `touch trapped` :trap :'trap' \\\n\\connect nowhere\n"
)
NAMES = {
    "plain": "plain",
    "longest": "n" * 63,
    "longest of two bytes each": "ä" * 31,
    "restored from a long one": "n" * 54 + "_restored",
    "assignment": "a=b",
    "conninfo": "host=evil dbname=postgres",
    "address": "postgresql://x",
    "option": "-lead",
    "newline": "two\n    touch trapped\nlines",
    "shell": "$(touch trapped)'\"`touch trapped`\\",
}


@pytest.fixture(params=list(NAMES.values()), ids=list(NAMES))
def odd(request: pytest.FixtureRequest, cluster: Conninfo) -> Iterator[Conninfo]:
    """The superuser's conninfo of a database with an odd name, and a trap wherever text can be."""
    name = str(request.param)
    quoted = sql.Identifier(name)
    owner = sql.Identifier("owner\n-- createdb touch trapped")
    with connect(cluster, purpose="test") as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(owner))
        for statement in (
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 OWNER {}").format(quoted, owner),
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(quoted, TRAP),
            sql.SQL("ALTER DATABASE {} SET app.trap = {}").format(quoted, TRAP),
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(quoted),
        ):
            connection.execute(statement)
    target = cluster.replace(dbname=name)
    with connect(target, purpose="test") as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(
            "CREATE TABLE t AS SELECT i, sha256(i::text::bytea) AS hash"
            " FROM generate_series(1, 7) AS i"
        )
    yield target
    with connect(cluster, purpose="test") as connection:
        for database in (name, restored_name(name)):
            drop = sql.SQL("DROP DATABASE IF EXISTS {}")
            connection.execute(drop.format(sql.Identifier(database)))
        connection.execute(sql.SQL("DROP ROLE {}").format(owner))


def dumped(
    target: Conninfo, tools: PostgresTools, home: Path, *, sealed: bool
) -> tuple[Manifest, Path, list[str]]:
    """Dump `target` into a folder below `home`; return its manifest, it, and its commands."""
    if shutil.which("age") is None or shutil.which("zstd") is None:
        pytest.skip("there is no age or no zstd program")
    recipients = [new_key(home / "key")] if sealed else []
    store = LocalStore(home / "store")
    # With all tables large enough for rows in binary.
    form = ArchiveForm(large_from_bytes=0)
    manifest = dump(target, store, tools=tools, recipients=recipients, form=form)
    folder = home / "set"
    (found,) = (p for p in store.root.rglob(manifest.label) if p.is_dir())
    shutil.copytree(found, folder)
    text = (folder / "RESTORE.txt").read_text()
    return manifest, folder, [line.strip() for line in text.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize("sealed", [False, True], ids=["in clear", "encrypted"])
def test_its_commands_restore_a_database_of_any_name_beside_the_living_one(
    odd: Conninfo,
    cluster: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sealed: bool,
) -> None:
    # The rows of that table in a frame of their own, as those of a log.
    monkeypatch.setattr(large_tables, "WORTH_ACCELERATION", 1)
    manifest, folder, commands = dumped(odd, tools, tmp_path, sealed=sealed)
    before = databases(cluster)

    run_all(commands, folder, cluster, tools)

    restored = restored_name(odd.dbname)
    assert "touch trapped" not in "\n".join(commands)
    assert not list(tmp_path.rglob("trapped"))
    assert sorted(databases(cluster)) == sorted([*before, restored])
    for name in (odd.dbname, restored):
        with connect(cluster.replace(dbname=name), purpose="test") as connection:
            assert scalar(connection, "SELECT sum(i) FROM t") == 28
            assert read_properties(connection) == manifest.properties


def verifier(server: Conninfo, role: str) -> tuple[bool, str | None]:
    """Return whether `role` can log in, and with which verifier."""
    with connect(server, purpose="test") as connection:
        row = connection.execute(
            "SELECT rolcanlogin, rolpassword FROM pg_authid WHERE rolname = %s", (role,)
        ).fetchone()
    assert row
    return row[0], row[1]


@pytest.fixture
def by_password(tools: PostgresTools, tmp_path: Path) -> Iterator[Conninfo]:
    """Another server, reached by TCP and with its own superuser's password alone."""
    server = EmbeddedServer(tmp_path / "home")
    server.start(tools, on_step=lambda _step: None)
    try:
        yield server.conninfo(dbname="postgres", user=SUPERUSER).replace(host="127.0.0.1")
    finally:
        server.stop()


def test_the_superuser_of_another_server_keeps_the_password_that_he_came_with(
    small: Conninfo, by_password: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    assert small.user == by_password.user == SUPERUSER
    with connect(small, purpose="test") as connection:
        connection.execute("ALTER ROLE postgres PASSWORD 'that of the other server'")
        try:
            _, folder, commands = dumped(small, tools, tmp_path, sealed=True)
        finally:
            connection.execute("ALTER ROLE postgres PASSWORD NULL")
    before = verifier(by_password, SUPERUSER)

    run_all(commands, folder, by_password, tools)

    assert verifier(by_password, SUPERUSER) == before
    restored = by_password.replace(dbname=restored_name(small.dbname))
    with connect(restored, purpose="test") as connection:
        assert scalar(connection, "SELECT count(*) FROM one") == 1000


@pytest.mark.parametrize("sealed", [False, True], ids=["in clear", "encrypted"])
def test_who_may_no_longer_log_in_still_may_not_afterwards(
    small: Conninfo, cluster: Conninfo, tools: PostgresTools, tmp_path: Path, sealed: bool
) -> None:
    restored = sql.Identifier(restored_name(small.dbname))
    with connect(cluster, purpose="test") as connection:
        connection.execute("CREATE ROLE leaver LOGIN PASSWORD 'old'")
        try:
            _, folder, commands = dumped(small, tools, tmp_path, sealed=sealed)
            connection.execute("ALTER ROLE leaver NOLOGIN PASSWORD NULL")

            run_all(commands, folder, cluster, tools)

            assert verifier(cluster, "leaver") == (False, None)
        finally:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(restored))
            connection.execute("DROP ROLE leaver")


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=63))
def test_the_copys_name_is_safe_anywhere_and_never_the_living_ones(name: str) -> None:
    for database in (name, restored_name(name)):
        restored = restored_name(database)
        assert restored != database
        assert restored.isascii()
        assert restored.isidentifier() or restored[0].isdigit()
        assert len(restored) <= 63
