"""A table's hash is the same wherever its content is, and another one as soon as that changes."""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import Connection, sql

from backups.content import SETTINGS, Column, content_query, read_columns, read_content
from backups.manifest import TableFacts
from backups.snapshot import prepare_session, read_relations
from casedb.conninfo import Conninfo
from casedb.database import connect

# One value a type, and another one that differs as little as can be.
PAIRS = [
    ("bool", "true", "false"),
    ("smallint", "1", "2"),
    ("integer", "1", "-1"),
    ("bigint", "4611686018427387904", "4611686018427387905"),
    ("numeric", "1.0", "1.00"),
    ("real", "0.1", "0.10000001"),
    ("double precision", "0.1", "0.10000000000000002"),
    ("double precision", "0", "'-0'"),
    ("text", "'a'", "'A'"),
    ("text", "''", "NULL"),
    ("varchar(9)", "'a'", "'a '"),
    ("char(9)", "'a'", "'b'"),
    ("name", "'a'", "'b'"),
    ('"char"', "'a'", "'b'"),
    ("bytea", "'\\x00'", "'\\x0000'"),
    ("date", "'2026-03-29'", "'2026-03-30'"),
    ("time", "'01:02:03.000001'", "'01:02:03.000002'"),
    ("timetz", "'04:00+01'", "'03:00+00'"),
    ("timestamp", "'2026-03-29 02:30'", "'2026-03-29 03:30'"),
    ("timestamptz", "'2026-10-25 02:30+02'", "'2026-10-25 02:30+01'"),
    ("timestamptz", "'infinity'", "'-infinity'"),
    ("interval", "'1 day'", "'24 hours'"),
    ("uuid", "'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'"),
    ("json", """'{"a":1}'""", """'{"a": 1}'"""),
    ("jsonb", """'{"a":1}'""", """'{"a":2}'"""),
    ("jsonb", "'null'", "NULL"),
    ("inet", "'10.0.0.1/8'", "'10.0.0.1/9'"),
    ("bit(3)", "'101'", "'100'"),
    ("int4range", "'[1,5)'", "'[1,5]'"),
    ("int[]", "'{1,2}'", "'{2,1}'"),
    ("int[]", "'{1,2}'", "'{{1,2}}'"),
    ("text[]", "'{a,NULL}'", "'{a,\"NULL\"}'"),
    ("point", "'(1,2)'", "'(2,1)'"),
    ("money", "'1.00'", "'1.01'"),
    ("tsvector", "'one two'", "'one three'"),
    ("pg_lsn", "'0/1'", "'1/0'"),
    ("oid", "1", "2"),
    ("regclass", "'pg_class'", "'pg_proc'"),
    ("colour", "'red'", "'blue'"),
    ("colour[]", "'{red}'", "'{blue}'"),
    ("pair", "'(1,a)'", "'(1,b)'"),
    ("code", "'a'", "'b'"),
    ("small_number", "1", "2"),
]


@pytest.fixture(scope="module")
def types(cluster: Conninfo) -> Iterator[Conninfo]:
    """The conninfo of a database with types of its own."""
    with connect(cluster, purpose="test") as connection:
        connection.execute("CREATE DATABASE content_types TEMPLATE template0")
    target = cluster.replace(dbname="content_types")
    with connect(target, purpose="test") as connection:
        connection.execute(
            "CREATE TYPE colour AS ENUM ('red', 'blue'); CREATE TYPE pair AS (a int, b text);"
            "CREATE DOMAIN code AS text; CREATE DOMAIN small_number AS int CHECK (VALUE < 100)"
        )
    yield target
    with connect(cluster, purpose="test") as connection:
        connection.execute("DROP DATABASE content_types WITH (FORCE)")


def facts_of(connection: Connection[Any], table: str) -> TableFacts:
    relation = next(r for r in read_relations(connection) if r.name == table)
    return read_content(connection, relation, read_columns(connection, [relation])[relation.oid])


def hash_of(connection: Connection[Any], table: str) -> tuple[int, str, str]:
    found = facts_of(connection, table)
    return found.rows, found.hash_sum, found.hash_xor


@pytest.mark.parametrize(("type_name", "value", "other"), PAIRS)
def test_a_value_of_any_type_that_changes_changes_the_hash(
    types: Conninfo, type_name: str, value: str, other: str
) -> None:
    with connect(types, purpose="test") as connection, connection.transaction(force_rollback=True):
        connection.execute(f"CREATE TABLE public.t (v {type_name})".encode())
        connection.execute(f"INSERT INTO public.t VALUES ({value})".encode())
        prepare_session(connection, SETTINGS)
        before = hash_of(connection, "t")
        connection.execute("SET LOCAL search_path = public")
        connection.execute(f"UPDATE public.t SET v = ({other})::{type_name}".encode())
        prepare_session(connection, SETTINGS)

        assert hash_of(connection, "t") != before


def test_the_session_that_reads_does_not_matter(sample: Conninfo) -> None:
    found = []
    strange = {
        "TimeZone": "Asia/Kathmandu",
        "DateStyle": "German",
        "IntervalStyle": "iso_8601",
        "extra_float_digits": "-15",
        "bytea_output": "escape",
        "search_path": "app",
    }
    for settings in ({}, strange):
        with connect(sample, purpose="test", settings=settings) as connection:
            prepare_session(connection, SETTINGS)
            found.append(facts_of(connection, "every_type"))

    assert found[0] == found[1]
    assert found[0].rows == 42


def test_each_row_is_hashed_once_for_both_aggregates(sample: Conninfo) -> None:
    query = content_query("app", "every_type", [Column("id", 23, False)])
    with connect(sample, purpose="test") as connection:
        rows = connection.execute(sql.SQL("EXPLAIN (VERBOSE, COSTS OFF) ") + query).fetchall()

    aggregate = next(line for (line,) in rows if "bit_xor" in line)
    # What was computed further down is printed within parentheses of its own.
    assert "sum((hash_record_extended(" in aggregate
    assert "bit_xor((hash_record_extended(" in aggregate


def test_oids_do_not_matter(empty_database: Conninfo) -> None:
    with connect(empty_database, purpose="test") as connection:
        found = []
        for _ in range(2):
            connection.execute(
                "CREATE TYPE public.colour AS ENUM ('red', 'blue');"
                "CREATE TABLE public.t (c public.colour, r regclass);"
                "INSERT INTO public.t VALUES ('red', 'public.t'), ('blue', 'pg_class')"
            )
            prepare_session(connection, SETTINGS)
            found.append(hash_of(connection, "t"))
            connection.execute("DROP TABLE public.t; DROP TYPE public.colour")

    assert found[0] == found[1]


def test_a_dropped_column_does_not_matter(empty_database: Conninfo) -> None:
    with connect(empty_database, purpose="test") as connection:
        connection.execute(
            "CREATE TABLE public.a (gone int, x int, y text);"
            "INSERT INTO public.a VALUES (1, 2, 'z'); ALTER TABLE public.a DROP COLUMN gone;"
            "CREATE TABLE public.b (x int, y text); INSERT INTO public.b VALUES (2, 'z')"
        )
        prepare_session(connection, SETTINGS)

        assert hash_of(connection, "a") == hash_of(connection, "b")


def test_duplicates_that_become_other_duplicates_are_seen(empty_database: Conninfo) -> None:
    """Xor alone gives 0 for both."""
    with connect(empty_database, purpose="test") as connection:
        connection.execute(
            "CREATE TABLE public.a AS SELECT 'a'::text AS v FROM generate_series(1, 2);"
            "CREATE TABLE public.b AS SELECT 'b'::text AS v FROM generate_series(1, 2)"
        )
        prepare_session(connection, SETTINGS)
        a, b = hash_of(connection, "a"), hash_of(connection, "b")

    assert a[2] == b[2] == "0"
    assert a != b


def test_two_values_that_change_places_are_seen(empty_database: Conninfo) -> None:
    with connect(empty_database, purpose="test") as connection:
        connection.execute(
            "CREATE TABLE public.a AS VALUES (1, 2), (3, 4);"
            "CREATE TABLE public.b AS VALUES (1, 4), (3, 2);"
            "CREATE TABLE public.c AS VALUES (2, 1), (3, 4)"
        )
        prepare_session(connection, SETTINGS)

        assert len({hash_of(connection, table) for table in "abc"}) == 3


def test_the_order_of_rows_does_not_matter(empty_database: Conninfo) -> None:
    with connect(empty_database, purpose="test") as connection:
        connection.execute(
            "CREATE TABLE public.a AS SELECT i FROM generate_series(1, 99) AS i;"
            "CREATE TABLE public.b AS SELECT i FROM generate_series(99, 1, -1) AS i"
        )
        prepare_session(connection, SETTINGS)

        assert hash_of(connection, "a") == hash_of(connection, "b")


def test_a_table_without_columns_is_counted(sample: Conninfo) -> None:
    with connect(sample, purpose="test") as connection:
        prepare_session(connection, SETTINGS)

        assert facts_of(connection, "no_columns").rows == 2


def test_a_changed_generated_column_is_seen(empty_database: Conninfo) -> None:
    """A restore computes it anew, by a function that may have changed meanwhile."""
    with connect(empty_database, purpose="test") as connection:
        found = []
        for factor in (2, 3):
            connection.execute(
                sql.SQL(
                    "CREATE TABLE public.t (x int, y int GENERATED ALWAYS AS (x * {}) STORED);"
                    "INSERT INTO public.t VALUES (7)"
                ).format(factor)
            )
            prepare_session(connection, SETTINGS)
            found.append(hash_of(connection, "t"))
            connection.execute("DROP TABLE public.t")

    assert found[0] != found[1]


def test_rows_are_counted_once_whether_inherited_or_partitioned(sample: Conninfo) -> None:
    with connect(sample, purpose="test") as connection:
        prepare_session(connection, SETTINGS)

        assert facts_of(connection, "parent").rows == 1
        assert facts_of(connection, "child").rows == 1
        halves = [facts_of(connection, name).rows for name in ("events_2025", "events_other")]
    assert halves == [30, 30]


def test_row_security_is_an_error_and_never_fewer_rows(sample: Conninfo) -> None:
    with connect(sample.replace(user="sample_plain"), purpose="test") as connection:
        connection.execute("SET ROLE sample_owner")
        prepare_session(connection, SETTINGS)
        with pytest.raises(Exception, match="row-level security"):
            facts_of(connection, "cases")
