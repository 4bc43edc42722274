"""A role that is no superuser dumps everything, or it is refused and told what to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import pytest
from psycopg import sql

from backups.catalog import read_manifest
from backups.client_holes import warnings_of
from backups.drill import drill
from backups.dump import dump
from backups.dump_archive import warnings_in
from backups.sealing import new_key
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import RefusedError
from casedb.tools import PostgresTools
from tests.cli.conftest import Casedb


@pytest.fixture
def plain(small: Conninfo) -> Iterator[Conninfo]:
    """The conninfo of the small database for a role like case_backup."""
    name = sql.Identifier(small.dbname)
    with connect(small, purpose="test") as connection:
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO sample_backup").format(name))
        connection.execute(
            "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far"
        )
    yield small.replace(user="sample_backup")
    with connect(small, purpose="test") as connection:
        connection.execute(
            "DO $$ BEGIN IF EXISTS (SELECT FROM pg_subscription WHERE subname = 'news') THEN"
            " ALTER SUBSCRIPTION news SET (slot_name = NONE); DROP SUBSCRIPTION news;"
            " END IF; END $$"
        )


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "CREATE SUBSCRIPTION news CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)",
            "subscription news",
        ),
        (
            "CREATE USER MAPPING FOR sample_reader SERVER away OPTIONS (password 'hush-hush')",
            "the options of sample_reader's user mapping for server away",
        ),
        (
            "CREATE USER MAPPING FOR PUBLIC SERVER away OPTIONS (password 'hush-hush')",
            "the options of public's user mapping for server away",
        ),
    ],
)
def test_what_pg_dump_would_leave_out_in_silence_is_refused(
    small: Conninfo,
    plain: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    statement: LiteralString,
    named: str,
) -> None:
    with connect(small, purpose="test") as connection:
        connection.execute(statement)

    with pytest.raises(RefusedError, match="only a superuser's dump") as caught:
        dump(plain, LocalStore(tmp_path), tools=tools)

    assert caught.value.detail == f"pg_dump would leave out: {named}."
    assert "dump_user" in (caught.value.hint or "")
    assert "hush" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_superuser_dumps_it_all(
    small: Conninfo, plain: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    with connect(small, purpose="test") as connection:
        connection.execute(
            "CREATE SUBSCRIPTION news CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)"
        )
        connection.execute(
            "CREATE USER MAPPING FOR sample_reader SERVER away OPTIONS (password 'x')"
        )
    store = LocalStore(tmp_path)

    manifest = dump(small, store, tools=tools)

    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"


def test_a_user_mapping_without_options_has_nothing_to_hide(
    small: Conninfo, plain: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    with connect(small, purpose="test") as connection:
        connection.execute("CREATE USER MAPPING FOR sample_reader SERVER away")

    assert dump(plain, LocalStore(tmp_path), tools=tools).warnings == warnings_of(tools.version)


def test_where_nobody_can_tell_whether_a_user_mapping_has_options_it_is_refused(
    small: Conninfo, plain: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """Without pg_read_all_data the catalog itself is closed."""
    with connect(small, purpose="test") as connection:
        connection.execute("CREATE USER MAPPING FOR sample_reader SERVER away")
        connection.execute("REVOKE pg_read_all_data FROM sample_backup")
        try:
            with pytest.raises(RefusedError, match="only a superuser's dump"):
                dump(plain, LocalStore(tmp_path), tools=tools)
        finally:
            connection.execute("GRANT pg_read_all_data TO sample_backup")


def test_a_subscription_of_another_database_is_none_of_this_dump(
    small: Conninfo, plain: Conninfo, cluster: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    with connect(cluster, purpose="test") as connection:
        connection.execute(
            "CREATE SUBSCRIPTION news CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)"
        )
        try:
            manifest = dump(plain, LocalStore(tmp_path), tools=tools)
        finally:
            connection.execute("ALTER SUBSCRIPTION news SET (slot_name = NONE)")
            connection.execute("DROP SUBSCRIPTION news")

    assert manifest.warnings == warnings_of(tools.version)


def test_a_large_object_without_a_grant_is_refused_and_the_grant_is_named(
    small: Conninfo, plain: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    with connect(small, purpose="test") as connection:
        # To everybody, to a group of the role's, and to nobody.
        connection.execute(
            "SELECT lo_from_bytea(n, 'x') FROM generate_series(4711, 4713) AS n;"
            "GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC; CREATE ROLE dumpers;"
            "GRANT dumpers TO sample_backup; GRANT SELECT ON LARGE OBJECT 4712 TO dumpers"
        )
        try:
            with pytest.raises(RefusedError, match="large objects are closed to it") as caught:
                dump(plain, store, tools=tools)
            connection.execute("GRANT SELECT ON LARGE OBJECT 4713 TO sample_backup")
            assert dump(plain, store, tools=tools).large_objects.count == 3
        finally:
            connection.execute("DROP OWNED BY dumpers; DROP ROLE dumpers")

    assert "1 of them, such as 4713" in (caught.value.detail or "")
    assert "GRANT SELECT ON LARGE OBJECT 4713 TO sample_backup;" in (caught.value.hint or "")


def test_what_pg_dump_and_pg_dumpall_warn_of_is_in_the_manifest_and_told(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """The server warns every session of this database of a setting without sense."""
    with connect(small, purpose="test") as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_tablespace = 'nowhere'").format(
                sql.Identifier(small.dbname)
            )
        )
    store = LocalStore(tmp_path / "store")

    (tmp_path / "casedb.toml").touch()
    words = ("--conninfo", small.dsn, "--store", str(tmp_path / "other"))
    printed = Casedb(tmp_path, tools)("dump", *words)
    clear = dump(small, store, tools=tools)
    sealed = dump(small, store, tools=tools, recipients=(new_key(tmp_path / "key"),))

    assert printed.code == 0, printed.err
    assert 'warning: pg_dump: WARNING: invalid value for parameter "default_tab' in printed.err
    for manifest in (clear, sealed, read_manifest(store, small.dbname, clear.label)):
        for program in ("pg_dump", "pg_dumpall"):
            assert any(
                line.startswith(f"{program}: ") and 'Tablespace "nowhere" does not exist.' in line
                for line in manifest.warnings
            )
    assert read_manifest(store, small.dbname, sealed.label).warnings == warnings_of(tools.version)


def test_a_warning_keeps_the_lines_that_explain_it() -> None:
    printed = "pg_dump: warning: one\npg_dump: hint: why\n\nWARNING:  two\nDETAIL:  so\n"

    assert warnings_in(printed, "pg_dump") == (
        "pg_dump: warning: one; hint: why",
        "pg_dump: WARNING: two; DETAIL: so",
    )
