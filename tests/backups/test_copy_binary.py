"""Large tables whose rows are written in COPY's binary format, where that is smaller."""

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from backups import large_tables
from backups.archive_form import ArchiveForm
from backups.archive_stream import ArchiveStream
from backups.attempt import Wish
from backups.drill import drill
from backups.dump import dump
from backups.large_tables import SAMPLE_BYTES, in_its_format, read_large_tables
from backups.manifest import DUMP
from backups.restore import restore
from backups.stores import LocalStore
from backups.streams import Piece, compressed, decompressed
from backups.toc import read_head
from backups.toc_completed import CompletedArchive
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ToolFailedError
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, wheel_tools
from tests.backups.test_large_tables import only_so_many_sessions

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


@pytest.fixture
def filled(small: Conninfo) -> Conninfo:
    with connect(small, purpose="test") as connection:
        connection.execute("DROP TABLE one, two")
        connection.execute(TABLES.encode())
    return small


@pytest.fixture(autouse=True)
def ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns of small tables are put in order as well."""
    monkeypatch.setattr(large_tables, "ORDERED_FROM_BYTES", 0)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of a few pages, so that small tables have several."""
    monkeypatch.setattr(large_tables.conditions, "__defaults__", (64 << 10,))


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


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_those_that_are_smaller_in_binary_are(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path, small_ranges: None, jobs: int
) -> None:
    assert in_binary(archive_of(filled, tools, tmp_path, jobs)) == BINARY


@pytest.fixture
def loaded(cluster: Conninfo) -> Iterator[Conninfo]:
    """Where a test may put a database, which is gone afterwards."""
    yield cluster.replace(dbname="binary_loaded")
    with connect(cluster, purpose="test") as connection:
        connection.execute("DROP DATABASE IF EXISTS binary_loaded WITH (FORCE)")


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("words", [(), ("--jobs=2", "archive")], ids=["pipe", "file"])
def test_every_value_comes_back(
    filled: Conninfo,
    loaded: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    small_ranges: None,
    jobs: int,
    words: tuple[str, ...],
) -> None:
    archive = archive_of(filled, tools, tmp_path, jobs)
    (tmp_path / "archive").write_bytes(archive)
    with connect(loaded.replace(dbname="postgres"), purpose="test") as connection:
        connection.execute("CREATE DATABASE binary_loaded")
    argv = [tools["pg_restore"], "--exit-on-error", "--no-owner", "--dbname=binary_loaded"]

    subprocess.run(
        [*argv, *words],
        env=programs.child_environment(loaded),
        cwd=tmp_path,
        input=archive,
        check=True,
    )

    tables = {*BINARY, "repeated", "listed", "empty"}
    assert contents(loaded, tables) == contents(filled, tables)


def test_later_major_versions_read_it(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """And the same one. No pg_restore reads what a newer pg_dump has written."""
    archive = archive_of(filled, tools, tmp_path, 1)
    expected = contents(filled, BINARY)
    for newer in [wheel_tools(major) for major in (16, 18) if major >= tools.major]:
        argv = [newer["pg_restore"], "--exit-on-error", "--no-owner", "--dbname=postgres"]
        with throwaway_cluster(newer) as admin:
            subprocess.run(argv, env=programs.child_environment(admin), input=archive, check=True)
            assert contents(admin.replace(dbname="postgres"), BINARY) == expected


@pytest.mark.parametrize("jobs", [1, 3])
def test_it_is_restored_with_frozen_rows_and_drilled(
    filled: Conninfo,
    cluster: Conninfo,
    loaded: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    small_ranges: None,
    jobs: int,
) -> None:
    store = LocalStore(tmp_path)
    manifest = dump(filled, store, tools=tools, form=ArchiveForm(jobs=jobs, large_from_bytes=0))

    assert drill(store, manifest.label, tools=tools, with_access=False).differences == ()
    restore(store, Wish(manifest.label, loaded.dbname), cluster, tools=tools)

    tables = BINARY | {"repeated"}
    assert contents(loaded, tables) == contents(filled, tables)
    with connect(loaded, purpose="test") as connection:
        pages = connection.execute(
            "SELECT relallvisible, (SELECT count(DISTINCT (ctid::text::point)[0]) FROM hashes)"
            " FROM pg_class WHERE relname = 'hashes'"
        ).fetchone()
    assert pages
    assert pages[0] == pages[1] > 20


@pytest.mark.parametrize("jobs", [1, 3])
def test_columns_are_in_the_order_that_is_smallest(
    filled: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    small_ranges: None,
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
) -> None:
    """Of large tables alone: to find it takes as long for a small one."""
    found = archive_of(filled, tools, tmp_path / "1", jobs)
    monkeypatch.setattr(large_tables, "ORDERED_FROM_BYTES", 64 << 20)
    as_it_is = archive_of(filled, tools, tmp_path / "2", jobs)

    names = [f"c{at}" for at in range(len(PLAIN))]
    assert columns_of(as_it_is, "one_of_each") == names
    assert columns_of(found, "one_of_each") != names
    assert sorted(columns_of(found, "one_of_each")) == sorted(names)
    # In text it is as good: this one repeats its id.
    assert columns_of(as_it_is, "repeated") == REPEATED
    assert columns_of(found, "repeated") != REPEATED
    assert sorted(columns_of(found, "repeated")) == sorted(REPEATED)
    assert in_binary(found) == in_binary(as_it_is) == BINARY
    # What may not be in binary is not tried.
    assert columns_of(found, "listed") == ["numbers"]
    assert len(compressed(found)) < len(compressed(as_it_is))


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("pieces", [1 << 20, 4096, 7])
def test_where_its_rows_begin_is_found(
    filled: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    small_ranges: None,
    jobs: int,
    pieces: int,
) -> None:
    """With several jobs, tables in text lie between those in binary."""
    archive = archive_of(filled, tools, tmp_path, jobs)
    file = io.BytesIO()
    writer = CompletedArchive(file)
    for at in range(0, len(archive), pieces):
        writer.write(archive[at : at + pieces])
    writer.finish()

    found = file.getvalue()
    head = read_head(found)
    assert head
    rows = [entry for entry in head.entries if entry.has_data]
    assert len(rows) == 6
    for entry in rows:
        at = entry.position_at + 1
        position = int.from_bytes(found[at : at + head.position_bytes], "little")
        assert found[position] == 1
        number = found[position + 2 : position + 2 + head.int_bytes]
        assert int.from_bytes(number, "little") == entry.dump_id
    assert found.count(b" FROM stdin WITH (FORMAT binary, FREEZE);\n") == len(BINARY)


def test_as_text_pg_restore_prints_it(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    manifest = dump(filled, store, tools=tools, form=ArchiveForm(binary=False, large_from_bytes=0))

    with store.open(manifest.database, manifest.label, DUMP) as file:
        archive = b"".join(decompressed(file))

    assert in_binary(archive) == set()
    assert columns_of(archive, "repeated") == REPEATED
    assert b"9\t\\\\x19581e27de7ced00" in archive  # printf 9 | sha256sum


def test_of_what_types_it_can_be(small: Conninfo) -> None:
    """A type that is not known to be the same everywhere keeps its table in text."""
    columns = {**dict.fromkeys(PLAIN, True), **dict.fromkeys(OTHERS, False)}
    values = {**PLAIN, **OTHERS}
    with connect(small, purpose="test") as connection:
        connection.execute(TYPES.encode())
        for at, name in enumerate(columns):
            connection.execute(
                f"CREATE TABLE t{at} (c {name}); INSERT INTO t{at}"
                f" SELECT {values[name]} FROM generate_series(1, 500) AS i".encode()
            )
        tables = read_large_tables(connection, 0)
        others = [table for table in tables if not table.is_plain]
        as_they_were = [in_its_format(connection, table) for table in others]

    found = {table.name: table.is_plain for table in tables}
    assert as_they_were == others
    assert {name: found[f"t{at}"] for at, name in enumerate(columns)} == columns


def test_a_database_that_is_not_in_utf_8_stays_in_text(
    cluster: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """What is not valid in it would stop the session that tries both formats."""
    with connect(cluster, purpose="test") as connection:
        connection.execute("CREATE DATABASE old TEMPLATE template0 ENCODING 'WIN1252' LOCALE 'C'")
    target = cluster.replace(dbname="old")
    try:
        with connect(target, purpose="test") as connection:
            connection.execute(
                "CREATE TABLE t AS SELECT sha256(i::text::bytea) AS hash, chr(129) AS t"
                " FROM generate_series(1, 500) AS i"
            )
        assert in_binary(archive_of(target, tools, tmp_path, 1)) == set()
    finally:
        with connect(cluster, purpose="test") as connection:
            connection.execute("DROP DATABASE old WITH (FORCE)")


def test_the_sample_is_small_however_large_the_rows_are(
    small: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[int] = []

    def remember(data: bytes) -> bytes:
        sampled.append(len(data))
        return data

    monkeypatch.setattr("backups.large_tables.compressed", remember)
    with connect(small, purpose="test") as connection:
        connection.execute("CREATE TABLE large (raw bytea)")
        connection.execute("ALTER TABLE large ALTER raw SET STORAGE EXTERNAL")
        connection.execute(
            "INSERT INTO large SELECT decode(repeat('0f', 200000), 'hex')"
            " FROM generate_series(1, 100)"
        )
        (large,) = [table for table in read_large_tables(connection, 0) if table.name == "large"]
        found = in_its_format(connection, large)

    assert found.is_binary
    assert 0 < max(sampled) < 3 * SAMPLE_BYTES


@pytest.mark.parametrize(("sessions", "binary"), [(2, set()), (3, BINARY), (4, BINARY)])
def test_where_the_server_lets_fewer_in_pg_dump_alone_writes_text(
    filled: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    sessions: int,
    binary: set[str],
) -> None:
    with only_so_many_sessions(filled, sessions) as target:
        assert in_binary(archive_of(target, tools, tmp_path, 2)) == binary


def test_a_pg_dump_that_is_not_known_writes_text(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backups.toc.KNOWN_MAJORS", range(9, 15))

    assert in_binary(archive_of(filled, tools, tmp_path, 1)) == set()


def test_a_reader_that_is_ended_fails_the_dump(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the one statement that reads a whole table."""
    with connect(filled, purpose="test") as connection:
        connection.execute(
            "INSERT INTO hashes SELECT i, sha256(i::text::bytea)"
            " FROM generate_series(20001, 400000) AS i"
        )
    ended: list[object] = []
    read = ArchiveStream.read

    def end_it(self: ArchiveStream, size: int = -1) -> Piece:
        if not ended and self.size_bytes > 3 << 20:
            with connect(filled, purpose="test") as other:
                ended.extend(
                    other.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE query LIKE 'COPY public.hashes%' AND state = 'active'"
                    )
                )
        return read(self, size)

    monkeypatch.setattr(ArchiveStream, "read", end_it)
    store = LocalStore(tmp_path)
    with pytest.raises(ToolFailedError, match="psql failed") as caught:
        dump(filled, store, tools=tools, form=ArchiveForm(large_from_bytes=0))

    assert ended == [(True,)]
    assert "terminat" in (caught.value.detail or "")
    assert store.labels(filled.dbname) == []
