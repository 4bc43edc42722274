"""What the dumping role has set for itself changes nothing in a backup's proof."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from backups import fingerprint
from backups.content import SETTINGS, read_columns, read_content
from backups.drill import drill
from backups.dump import dump
from backups.snapshot import prepare_session, read_relations
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.tools import PostgresTools

STRANGE = {
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "search_path": "app",
    "TimeZone": "Asia/Kathmandu",
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "xmloption": "document",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "default_text_search_config": "pg_catalog.german",
    "lc_monetary": "C.UTF-8",
    "lc_numeric": "C.UTF-8",
    "lc_time": "C.UTF-8",
    "client_encoding": "SQL_ASCII",
    "default_toast_compression": "pglz",
    "synchronize_seqscans": "off",
}


@pytest.fixture
def telling(small: Conninfo) -> Iterator[Conninfo]:
    """The superuser's conninfo of a database whose definitions and values print in many ways."""
    name = sql.Identifier(small.dbname)
    with connect(small, purpose="test") as connection:
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO sample_backup").format(name))
        connection.execute(r"""
            CREATE SCHEMA app;
            CREATE TABLE app.paths (
                path text DEFAULT 'C:\temp' CHECK (path ~ '^\w:\\' AND path <> 'ß'),
                owner regclass DEFAULT 'app.paths',
                at timestamptz DEFAULT '2026-01-02 03:04+00',
                born date CHECK (born < '2026-03-04'),
                took interval CHECK (took < '1 day 02:03'),
                part float8 DEFAULT 0.1,
                raw bytea DEFAULT '\x00ff',
                words tsvector DEFAULT 'one two',
                price money DEFAULT 1234.5,
                many text[] DEFAULT '{a,NULL,"NULL"}',
                seen timestamptz[] DEFAULT '{2026-01-02 03:04+00}',
                spans interval[] DEFAULT '{1 day 02:03}',
                raws bytea[] DEFAULT ARRAY['\x00ff'::bytea]
            );
            INSERT INTO app.paths DEFAULT VALUES;
            CREATE VIEW app.seen AS SELECT path, at > '2026-01-02' AS late FROM app.paths;
            COMMENT ON VIEW app.seen IS 'Größe C:\temp'
        """)
    yield small
    with connect(small, purpose="test") as connection:
        connection.execute(
            sql.SQL("ALTER ROLE sample_backup IN DATABASE {} RESET ALL").format(name)
        )


def set_for_role(target: Conninfo, name: str, value: str) -> None:
    with connect(target, purpose="test") as connection:
        connection.execute(
            sql.SQL("ALTER ROLE sample_backup IN DATABASE {} SET {} = {}").format(
                sql.Identifier(target.dbname), sql.Identifier(name), sql.Literal(value)
            )
        )


def proof_of(target: Conninfo) -> object:
    with connect(target.replace(user="sample_backup"), purpose="test") as connection:
        prepare_session(connection, SETTINGS)
        relations = read_relations(connection)
        columns = read_columns(connection, relations)
        tables = [read_content(connection, one, columns[one.oid]) for one in relations]
        return tables, fingerprint.read_fingerprint(connection, ())


@pytest.mark.parametrize("name", STRANGE)
def test_no_setting_of_the_role_changes_the_proof(telling: Conninfo, name: str) -> None:
    before = proof_of(telling)
    set_for_role(telling, name, STRANGE[name])
    with connect(telling.replace(user="sample_backup"), purpose="test") as connection:
        assert scalar(connection, "SELECT source FROM pg_settings WHERE name = %s", name) in (
            "database user",
            # What a connection says itself comes before what its role has set.
            "client",
        )

    assert proof_of(telling) == before


def test_what_a_role_with_all_of_them_dumps_restores_and_is_equal(
    telling: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    for name, value in STRANGE.items():
        set_for_role(telling, name, value)
    store = LocalStore(tmp_path)

    manifest = dump(telling.replace(user="sample_backup"), store, tools=tools)

    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"
