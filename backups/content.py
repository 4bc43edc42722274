"""The content of a table as two numbers, equal before a dump and after its restore.

Each row becomes a 64-bit hash, computed by the server over its columns; the hashes are added up,
and xor-ed. No order of rows matters, and no sorting is needed. The sum and the number of rows are
there because xor alone cancels what is there twice.

PostgreSQL's own hash of a value is three times cheaper than that of its text, but is the same after
a restore only where the value's bytes are: an enum or a regclass hashes its OID, which is new in
every database. So only the types below are hashed as they are, and all others as their text, under
settings that are the same in every session (SETTINGS).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from psycopg import Connection, sql

from backups.manifest import LargeObjects, TableFacts
from backups.snapshot import Relation
from casedb.sqlfiles import read_sql

SETTINGS: Mapping[str, str] = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    # Row security would leave rows out in silence; with this, PostgreSQL reports an error instead.
    "row_security": "off",
    # Names in definitions and in texts of regclass and its like are printed in full.
    "search_path": "",
    "quote_all_identifiers": "off",
    # Otherwise backslashes in definitions are printed twice.
    "standard_conforming_strings": "on",
    # Compiling takes longer than it saves: nearly all of the work is inside of the functions.
    "jit": "off",
}
"""What the hashes and the fingerprint depend on; set in every session that computes them."""

# By OID, which is the same in every server for a type that initdb makes (pg_type.dat).
_HASHED_AS_THEY_ARE = {
    16: "bool",
    17: "bytea",
    20: "int8",
    21: "int2",
    23: "int4",
    1082: "date",
    1083: "time",
    1114: "timestamp",
    1184: "timestamptz",
    2950: "uuid",
    3802: "jsonb",
}
_TEXTS = {25: "text", 1043: "varchar"}


@dataclass(frozen=True)
class Column:
    """A live column: its name, and the type below its domains."""

    name: str
    base_type: int
    is_domain: bool


def rows_of(schema: str, table: str, condition: str = "") -> sql.Composed:
    """Return what to select from for the rows that pg_dump takes of a table, as it reads them.

    A table's children are left out, but not where an extension has set a condition.
    """
    if condition:
        # It comes from the catalog, and pg_dump puts it behind the table's name as well.
        return sql.SQL("(SELECT * FROM {} {}) AS configured").format(
            sql.Identifier(schema, table), sql.SQL(condition)
        )
    return sql.SQL("ONLY {}").format(sql.Identifier(schema, table))


def content_query(
    schema: str, table: str, columns: Sequence[Column], condition: str = ""
) -> sql.Composed:
    """Return the SELECT of (rows, sum, xor) of one table; `condition` as in `rows_of`.

    pg_is_in_recovery() costs nothing and is volatile, so the planner leaves the subquery alone;
    it would otherwise compute each row's hash twice, once for each aggregate that it is in. (OFFSET
    0 does that too, and keeps the workers of a parallel scan from adding up.)
    """
    row = sql.SQL(", ").join(_hashable(column) for column in columns)
    return sql.SQL(
        "SELECT count(*), coalesce(sum(h), 0)::text, coalesce(bit_xor(h), 0)::text"
        " FROM (SELECT hash_record_extended(ROW({}), 0) AS h, pg_is_in_recovery() FROM {})"
        " AS hashed"
    ).format(row, rows_of(schema, table, condition))


def row_query(relation: Relation, key: Sequence[str], columns: Sequence[Column]) -> sql.Composed:
    """Return the SELECT of each row's `key`, as texts, and the hash of its columns, by key."""
    keys = [
        sql.SQL('{}::pg_catalog.text COLLATE pg_catalog."C"').format(sql.Identifier(name))
        for name in key
    ]
    return sql.SQL("SELECT {}, hash_record_extended(ROW({}), 0) FROM {} ORDER BY {}").format(
        sql.SQL(", ").join(keys),
        sql.SQL(", ").join(_hashable(column) for column in columns),
        rows_of(relation.schema_name, relation.name, relation.condition),
        sql.SQL(", ").join(sql.SQL(str(n)) for n in range(1, len(keys) + 1)),
    )


def read_columns(
    connection: Connection[Any], relations: Iterable[Relation]
) -> dict[int, list[Column]]:
    """Return the columns of each table, by its OID."""
    found: dict[int, list[Column]] = {relation.oid: [] for relation in relations}
    query = read_sql("catalog/backup-columns.sql")
    for oid, name, base_type, is_domain in connection.execute(query, (list(found),)):
        found[oid].append(Column(name, base_type, is_domain))
    return found


def read_content(
    connection: Connection[Any], relation: Relation, columns: Sequence[Column]
) -> TableFacts:
    """Return what one table holds in the connection's snapshot.

    The session must have SETTINGS.
    """
    if relation.extension:
        # An upgrade of it adds columns at the end; its script for a new database may have them
        # elsewhere.
        columns = sorted(columns, key=attrgetter("name"))
    query = content_query(relation.schema_name, relation.name, columns, relation.condition)
    rows, hash_sum, hash_xor = (
        # A materialized view without data cannot be read at all.
        connection.execute(query).fetchone() or (0, "0", "0")
        if relation.is_populated
        else (0, "0", "0")
    )
    return TableFacts(
        schema_name=relation.schema_name,
        name=relation.name,
        kind="matview" if relation.kind == "m" else "table",
        rows=rows,
        hash_sum=hash_sum,
        hash_xor=hash_xor,
        extension=relation.extension,
    )


def read_moving(connection: Connection[Any]) -> dict[str, tuple[str, str]]:
    """Return the partitions between which a restore may move rows, by their full names.

    Each has schema and name of the table below which its rows stay.
    """
    rows = connection.execute(read_sql("catalog/backup-moving-partitions.sql"))
    return {f"{schema}.{name}": (*root,) for schema, name, *root in rows}


def pooled(tables: Iterable[TableFacts], moving: Mapping[str, tuple[str, str]]) -> list[TableFacts]:
    """Return `tables` with those that are `moving` added up to the table that they are below."""
    found: dict[str, TableFacts] = {}
    for table in tables:
        if root := moving.get(table.full_name):
            table = table.model_copy(update=dict(zip(("schema_name", "name"), root, strict=True)))
        one = found.get(table.full_name)
        found[table.full_name] = _added(one, table) if one else table
    return list(found.values())


def read_large_objects(connection: Connection[Any]) -> LargeObjects:
    """Return the large objects; one beyond 1 GB is more than PostgreSQL reads at once."""
    row = connection.execute(read_sql("catalog/backup-large-objects.sql")).fetchone()
    count, hash_sum, hash_xor = row or (0, "0", "0")
    return LargeObjects(count=count, hash_sum=hash_sum, hash_xor=hash_xor)


def _added(one: TableFacts, other: TableFacts) -> TableFacts:
    return one.model_copy(
        update={
            "rows": one.rows + other.rows,
            "hash_sum": str(int(one.hash_sum) + int(other.hash_sum)),
            "hash_xor": str(int(one.hash_xor) ^ int(other.hash_xor)),
        }
    )


def _hashable(column: Column) -> sql.Composed:
    name = sql.Identifier(column.name)
    if column.base_type in _TEXTS:
        # The database's own collation could be another one, or one whose equals are not equal.
        return sql.SQL('{}::pg_catalog.text COLLATE pg_catalog."C"').format(name)
    if (type_name := _HASHED_AS_THEY_ARE.get(column.base_type)) is None:
        return sql.SQL('{}::pg_catalog.text COLLATE pg_catalog."C"').format(name)
    if column.is_domain:
        return sql.SQL("{}::{}").format(name, sql.Identifier("pg_catalog", type_name))
    return sql.Composed([name])
