"""A database in an encoding other than UTF-8 is dumped and restored as it is."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from psycopg import sql

from backups.attempt import Wish
from backups.drill import drill
from backups.dump import dump
from backups.facts import read_properties
from backups.restore import restore
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect, open_connection
from casedb.errors import RefusedError
from casedb.tools import PostgresTools

Make = Callable[[str], Conninfo]
_numbers = count(1)


@pytest.fixture
def make(cluster: Conninfo, roles: None) -> Iterator[Make]:
    """Make an empty database in an encoding; the superuser's conninfo of it."""
    made: list[str] = []

    def new(encoding: str) -> Conninfo:
        made.append(f"in_{encoding.lower()}_{next(_numbers)}")
        with connect(cluster, purpose="test") as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'").format(
                    sql.Identifier(made[-1]), encoding
                )
            )
        return cluster.replace(dbname=made[-1])

    yield new
    with connect(cluster, purpose="test") as connection:
        for name in made:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


def run(target: Conninfo, statement: bytes) -> None:
    """Run a statement whose bytes are the database's own."""
    with open_connection(target, purpose="test") as connection:
        connection.execute(
            sql.SQL("SET client_encoding = {}").format(
                "SQL_ASCII" if b"SQL_ASCII" in statement else "UTF8"
            )
        )
        connection.execute(statement)


def test_sql_ascii_with_bytes_of_any_encoding_in_its_values(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    target = make("SQL_ASCII")
    run(
        target,
        b"CREATE TABLE words (w text, many text[]) /* SQL_ASCII */;"
        b"INSERT INTO words VALUES ('plain', '{a,b}'), ('Gr\xc3\xb6\xc3\x9fe', NULL),"
        b" ('Gr\xf6\xdfe', '{Gr\xf6\xdfe}');"
        b"COMMENT ON TABLE words IS 'Gr\xc3\xb6\xc3\x9fe'",
    )
    store = LocalStore(tmp_path)

    manifest = dump(target, store, tools=tools)

    assert manifest.database == target.dbname
    assert manifest.properties.encoding == "SQL_ASCII"
    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"


@pytest.mark.parametrize(
    "statement",
    [
        b"COMMENT ON TABLE words IS 'Gr\xf6\xdfe'",
        b'CREATE TABLE "Gr\xf6\xdfe" (i int)',
        b"ALTER TABLE words ALTER w SET DEFAULT 'Gr\xf6\xdfe'",
    ],
)
def test_sql_ascii_with_other_bytes_in_its_catalog_is_refused(
    make: Make, tools: PostgresTools, tmp_path: Path, statement: bytes
) -> None:
    target = make("SQL_ASCII")
    run(target, b"CREATE TABLE words (w text) /* SQL_ASCII */;" + statement)
    store = LocalStore(tmp_path)

    with pytest.raises(RefusedError, match="not UTF-8") as caught:
        dump(target, store, tools=tools)

    assert "0xf6" in (caught.value.detail or "")
    assert store.labels(target.dbname) == []


def test_a_comment_that_another_database_s_encoding_made_unreadable_is_refused(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    """Databases' comments are the server's, in the bytes of where they were written."""
    target, other = make("UTF8"), make("LATIN1")
    run(other, f"COMMENT ON DATABASE {target.dbname} IS 'Größe'".encode())

    with pytest.raises(RefusedError, match="not UTF-8") as caught:
        dump(target, LocalStore(tmp_path), tools=tools)

    assert "COMMENT ON DATABASE" in (caught.value.hint or "")


def test_latin1_with_letters_beyond_ascii(make: Make, tools: PostgresTools, tmp_path: Path) -> None:
    target = make("LATIN1")
    run(
        target,
        "CREATE TABLE größe (straße text DEFAULT 'ß'); INSERT INTO größe VALUES ('é');"
        f"COMMENT ON TABLE größe IS 'Größe'; COMMENT ON DATABASE {target.dbname} IS 'Größe'"
        "".encode(),
    )
    store = LocalStore(tmp_path)

    manifest = dump(target, store, tools=tools)

    assert [table.name for table in manifest.tables] == ["größe"]
    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"


def test_a_restore_that_takes_the_name_keeps_the_comment(
    make: Make, cluster: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    target = make("LATIN1")
    run(target, f"COMMENT ON DATABASE {target.dbname} IS 'Größe'".encode())
    store = LocalStore(tmp_path)
    manifest = dump(target, store, tools=tools)

    report = restore(store, Wish(manifest.label, target.dbname, replace=True), cluster, tools=tools)

    assert report.swap
    with connect(cluster, purpose="test") as connection:
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(report.swap.kept)))
    with connect(target, purpose="test") as connection:
        assert read_properties(connection).comment == "Größe"
