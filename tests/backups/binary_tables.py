"""Tables with a value of each type, and what an archive has of them."""

from pathlib import Path

from psycopg import sql

from backups.archive_form import ArchiveForm
from backups.dump import dump
from backups.manifest import DUMP
from backups.stores import LocalStore
from backups.streams import decompressed
from backups.toc import read_head
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.tools import PostgresTools

PLAIN = {
    "bool": "i % 2 = 0",
    "bytea": "sha512(i::text::bytea) || sha512((-i)::text::bytea)",
    "char(40)": "md5('c' || i)",
    "text": "CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE E'\\t\\n\\\\.' || i END",
    "varchar(9)": "i::text",
    "json": """'{"a":  1, "a": 2}'""",
    "jsonb": "jsonb_build_object('n', i / 7.0, 't', E'\u00e4\\n')",
    "uuid": "md5(i::text)::uuid",
    "bit(5)": "(i % 32)::bit(5)",
    "varbit": "i::bit(20)::varbit",
    "smallint": "i % 30000",
    "int": "-i",
    "bigint": "i * 4000000000",
    "real": "CASE i % 4 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE i / 3.0 END::real",
    "float8": "CASE i % 4 WHEN 0 THEN '-0' ELSE i / 3.0 END::float8",
    "numeric": "CASE i % 5 WHEN 0 THEN 'NaN' WHEN 1 THEN '1.500' ELSE i / 7.0 END::numeric",
    "numeric(12, 2)": "i / 7.0",
    "cidr": "'10.0.0.0/8'",
    "inet": "('10.0.0.' || i % 250)::inet",
    "macaddr": "'08:00:2b:01:02:03'",
    "macaddr8": "'08:00:2b:01:02:03:04:05'",
    "date": "CASE i % 3 WHEN 0 THEN 'infinity' WHEN 1 THEN '9-1-1 BC' ELSE '2026-02-28' END::date",
    "time(3)": "'23:59:59.999'",
    "timetz": "'23:59:59.999+05:45'",
    "timestamp": "timestamp '2026-01-02' + i * interval '1.000001 s'",
    "timestamptz(3)": "timestamptz '2026-01-02' + i * interval '1.001 s'",
    "interval": "i * interval '1 month -2 days 3.000004 s'",
    "of_enum": "CASE i % 2 WHEN 0 THEN 'one' ELSE 'two' END::of_enum",
    "of_domain": "i::text",
    "of_domains_domain": "i::text",
}
TYPES = """
CREATE TYPE of_enum AS ENUM ('two', 'one');
CREATE DOMAIN of_domain AS text CHECK (VALUE <> '');
CREATE DOMAIN of_domains_domain AS of_domain NOT NULL;
CREATE TYPE of_row AS (one int, two text);
CREATE DOMAIN of_array AS int[];
"""
OTHERS = {
    "money": "i::money",
    "int[]": "ARRAY[i]",
    "of_enum[]": "ARRAY['one']::of_enum[]",
    "of_row": "ROW(i, 'x')::of_row",
    "of_array": "ARRAY[i]",
    "regclass": "'pg_class'::regclass",
    "oid": "i",
    "tsvector": "i::text::tsvector",
    "int4range": "int4range(i, i + 1)",
    "name": "i::text",
    '"char"': "'x'",
}
COLUMNS = ", ".join(f"c{at} {name}" for at, name in enumerate(PLAIN))
VALUES = ", ".join(PLAIN.values())
TABLES = f"""
{TYPES}
CREATE TABLE one_of_each ({COLUMNS}, gone int, computed int GENERATED ALWAYS AS (7) STORED);
ALTER TABLE one_of_each DROP COLUMN gone;
INSERT INTO one_of_each SELECT {VALUES} FROM generate_series(1, 9000) AS i;
CREATE TABLE hashes (id int PRIMARY KEY, hash bytea NOT NULL);
INSERT INTO hashes SELECT i, sha256(i::text::bytea) FROM generate_series(1, 20000) AS i;
CREATE TABLE repeated (id uuid, note text, key text, kind text);
INSERT INTO repeated
    SELECT id,
        (ARRAY[NULL, '', E'\\t', E'a\\nb', E'\\\\.', E'\\\\N'])[1 + get_byte(uuid_send(id), 0) % 6],
        'a/' || id, 'k'
    FROM (SELECT gen_random_uuid() FROM generate_series(1, 5000)) AS s (id);
CREATE TABLE listed (numbers int[]);
INSERT INTO listed SELECT ARRAY[i, i + 1] FROM generate_series(1, 5000) AS i;
CREATE TABLE empty (hash bytea);
CREATE TABLE odd (":rows" bytea, "bytes 0" int, s int);
INSERT INTO odd SELECT sha256(i::text::bytea), i, i FROM generate_series(1, 5000) AS i;
"""
BINARY = {"one_of_each", "hashes", "odd"}
REPEATED = ["id", "note", "key", "kind"]


def fill(target: Conninfo) -> Conninfo:
    """Put these tables into `target`, and nothing else."""
    with connect(target, purpose="test") as connection:
        connection.execute("DROP TABLE one, two")
        connection.execute(TABLES.encode())
    return target


def archive_of(target: Conninfo, tools: PostgresTools, place: Path, jobs: int) -> bytes:
    store = LocalStore(place / "store")
    manifest = dump(target, store, tools=tools, form=ArchiveForm(jobs=jobs, large_from_bytes=0))
    with store.open(manifest.database, manifest.label, DUMP) as file:
        return b"".join(decompressed(file))


def in_binary(archive: bytes) -> set[str]:
    """The tables whose rows the archive has in binary."""
    head = read_head(archive)
    assert head
    return {
        entry.name.decode()
        for entry in head.entries
        if archive[slice(*entry.copy)].endswith(b" FROM stdin WITH (FORMAT binary);\n")
    }


def columns_of(archive: bytes, table: str) -> list[str]:
    """The columns of the table in the order in which the archive has them."""
    head = read_head(archive)
    assert head
    (copy,) = (
        archive[slice(*entry.copy)].decode("ascii", "replace")
        for entry in head.entries
        if entry.has_data and entry.name == table.encode()
    )
    # The bytes before are how long it is, and can look like anything.
    copy = copy[copy.index("COPY ") :]
    return copy[copy.index("(") + 1 : copy.index(")")].split(", ")


def contents(target: Conninfo, tables: set[str]) -> dict[str, list[tuple[object, ...]]]:
    """All values as text, which tells 1.5 from 1.500 and -0 from 0."""
    query = sql.SQL('SELECT t::text COLLATE "C" FROM public.{} AS t ORDER BY 1')
    with connect(target, purpose="test") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return {
            table: connection.execute(query.format(sql.Identifier(table))).fetchall()
            for table in sorted(tables)
        }
