"""Databases of others drill as well: what they dropped, and what they forbid, is no difference."""

from pathlib import Path

import pytest

from backups.attempt import Wish
from backups.compare import compare_tables
from backups.content import SETTINGS, pooled, read_columns, read_content, read_moving
from backups.drill import drill
from backups.dump import dump
from backups.load import load_archive
from backups.manifest import Manifest
from backups.reports import DrillReport
from backups.restore import restore
from backups.snapshot import prepare_session, read_relations
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.tools import PostgresTools


def changed(target: Conninfo, statements: str) -> Conninfo:
    """Return `target` after it has carried out `statements`."""
    with connect(target, purpose="test") as connection:
        connection.execute(statements.encode())
    return target


def drilled(source: Conninfo, root: Path, tools: PostgresTools) -> tuple[Manifest, DrillReport]:
    """Return a dump of `source` and the report of its drill, which has passed."""
    store = LocalStore(root)
    manifest = dump(source, store, tools=tools)
    return manifest, drill(store, manifest.label, tools=tools, with_access=False)


def restored_beside(source: Conninfo, root: Path, tools: PostgresTools) -> None:
    """Restore the newest dump of `source` into a database beside it, and drop that one again."""
    store = LocalStore(root)
    label = store.labels(source.dbname)[-1]
    into = f"{source.dbname}_copy"
    restore(store, Wish(label, into), source.replace(dbname="postgres"), tools=tools)
    changed(source.replace(dbname="postgres"), f"DROP DATABASE {into} WITH (FORCE)")


@pytest.mark.parametrize("dropped", ["SCHEMA public", "EXTENSION plpgsql"])
def test_what_was_dropped_does_not_come_back_with_a_new_database(
    empty_database: Conninfo, tools: PostgresTools, tmp_path: Path, dropped: str
) -> None:
    changed(empty_database, f"DROP {dropped}; CREATE SCHEMA app; CREATE TABLE app.t (a int)")

    _, report = drilled(empty_database, tmp_path, tools)

    assert report.outcome == "passed"
    restored_beside(empty_database, tmp_path, tools)


def test_columns_that_a_restore_moves_to_the_front_have_the_same_content(
    empty_database: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """What a parent gets later comes last in its children, and first when they are made anew."""
    changed(
        empty_database,
        "CREATE TABLE p (a int); CREATE TABLE q (x text);"
        "CREATE TABLE c (b int) INHERITS (q, p); CREATE TABLE d (e int) INHERITS (c);"
        "ALTER TABLE p ADD z int, ADD c text; ALTER TABLE d ADD f text;"
        "INSERT INTO c VALUES ('q', 1, 2, 3, 'c');"
        "INSERT INTO d VALUES ('q', 1, 2, 3, 4, 'c', 'f');"
        "CREATE TABLE joined (own int, a int, z int, c text); ALTER TABLE joined INHERIT p;"
        "INSERT INTO joined VALUES (1, 2, 3, 'four')",
    )
    store = LocalStore(tmp_path)
    manifest = dump(empty_database, store, tools=tools)
    # The columns' numbers are those of a restore as well.
    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"
    changed(empty_database, "DROP TABLE p, q CASCADE")

    load_archive(store, manifest, empty_database, tools)

    with connect(empty_database, purpose="test") as connection:
        prepare_session(connection, SETTINGS)
        relations = read_relations(connection)
        columns = read_columns(connection, relations)
        found = tuple(read_content(connection, r, columns[r.oid]) for r in relations)
    assert [c.name for c in columns[relations[1].oid]] == ["x", "a", "z", "c", "b", "e", "f"]
    assert found == manifest.tables


def test_a_partition_with_another_order_of_columns_keeps_it(
    empty_database: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    changed(
        empty_database,
        "CREATE TABLE t (a int, b text) PARTITION BY RANGE (a); CREATE TABLE t1 (b text, a int);"
        "ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (0) TO (10);"
        "INSERT INTO t VALUES (1, 'one'), (2, 'two')",
    )

    _, report = drilled(empty_database, tmp_path, tools)

    assert report.outcome == "passed"


def test_an_expression_that_is_printed_in_another_way_when_read_back_is_the_same(
    empty_database: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    conditions = (
        "v IN ('a', 'b')",
        "v IN ('a', upper('b'))",
        "v IN ('a, (b', NULL)",
        "v = ANY (ARRAY['a', 'b']::varchar(5)[])",
        "(ARRAY[ARRAY[v, w], ARRAY['a', 'b']])::text[] = ARRAY[ARRAY[v::text]]",
        "v IN (w, lower(v), 'x' || w) OR v NOT IN (w, lower(v), 'x' || w)",
    )
    checks = "".join(f"ALTER TABLE t ADD CHECK ({condition});" for condition in conditions)
    policies = "".join(
        f"CREATE POLICY p{number} ON t USING ({condition});"
        for number, condition in enumerate(conditions)
    )
    changed(
        empty_database,
        f"CREATE TABLE t (v varchar(9), w varchar); {checks} {policies}"
        f"CREATE VIEW filtered AS SELECT v FROM t WHERE {' OR '.join(conditions)};"
        f"CREATE INDEX part ON t (v) WHERE {' AND '.join(conditions)}",
    )

    _, report = drilled(empty_database, tmp_path, tools)

    assert report.outcome == "passed"


def test_rows_that_a_restore_puts_into_another_partition_are_not_lost(
    empty_database: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """A hash of an enum is that of its OID, which is another one in every database."""
    colours = [f"c{number}" for number in range(40)]
    labels = ", ".join(f"'{colour}'" for colour in colours)
    changed(
        empty_database,
        f"CREATE TYPE colour AS ENUM ({labels});"
        "CREATE TABLE t (n int, c colour, d int) PARTITION BY LIST (n);"
        "CREATE TABLE even PARTITION OF t FOR VALUES IN (0) PARTITION BY HASH (d, c);"
        "CREATE TABLE odd PARTITION OF t FOR VALUES IN (1);"
        "CREATE TABLE even0 PARTITION OF even FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE even1 PARTITION OF even FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
        " PARTITION BY HASH (c);"
        "CREATE TABLE deep PARTITION OF even1 FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        f"INSERT INTO t SELECT i % 2, colour, i FROM unnest(ARRAY[{labels}]::colour[])"
        " WITH ORDINALITY AS u (colour, i)",
    )

    manifest, report = drilled(empty_database, tmp_path, tools)

    assert report.outcome == "passed"
    with connect(empty_database, purpose="test") as connection:
        moving = read_moving(connection)
    assert moving == {"public.even0": ("public", "even"), "public.deep": ("public", "even")}
    even, odd = pooled(manifest.tables, moving)
    assert (even.full_name, even.rows) == ("public.even", 20)
    assert (odd.full_name, odd.rows) == ("public.odd", 20)
    lost = [table.model_copy(update={"rows": table.rows - 1}) for table in manifest.tables]
    differences, _ = compare_tables([even], pooled(lost, moving)[:1])
    assert differences == ["table public.even had 20 rows and has 18"]


def test_what_a_database_forbids_everybody_does_not_bind_a_drill_or_restore_of_it(
    database: Conninfo, cluster: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    name = database.dbname
    changed(
        database,
        f"CREATE ROLE nobody_yet LOGIN CONNECTION LIMIT 0; GRANT CONNECT ON DATABASE {name} TO"
        " nobody_yet; CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql"
        " AS 'BEGIN RAISE ''no ddl''; END'; CREATE EVENT TRIGGER no_ddl ON ddl_command_start"
        " EXECUTE FUNCTION no_ddl(); ALTER EVENT TRIGGER no_ddl ENABLE ALWAYS;"
        f"ALTER DATABASE {name} SET default_transaction_read_only = on;"
        f"ALTER DATABASE {name} SET role = 'case_app'; ALTER DATABASE {name} CONNECTION LIMIT 3",
    )
    try:
        store = LocalStore(tmp_path)
        manifest = dump(database.replace(user="case_backup"), store, tools=tools)

        assert drill(store, manifest.label, tools=tools).outcome == "passed"
        restored_beside(database, tmp_path, tools)
    finally:
        changed(cluster, f"REVOKE ALL ON DATABASE {name} FROM nobody_yet; DROP ROLE nobody_yet")
