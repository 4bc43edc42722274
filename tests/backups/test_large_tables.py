"""Large tables are read by several sessions, and the archive is as pg_dump would write it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg import sql

from backups import snapshot, toc
from backups.archive_form import ArchiveForm
from backups.archive_stream import archive_stream
from backups.copy_binary import fields_of
from backups.drill import drill
from backups.dump import dump
from backups.large_tables import LargeTable, conditions, read_large_tables
from backups.manifest import DUMP, Manifest
from backups.stores import LocalStore
from backups.streams import decompressed
from backups.toc_rows import UnfitHeadError, with_rows
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ToolFailedError
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools

SMALL_RANGES = 64 << 10
TABLES = r"""
CREATE SCHEMA "odd ""names'";
CREATE TABLE "odd ""names'"."a table; \ of.all :rows FROM stdin" (
    id int, "a ""column'" text, gone int, computed int GENERATED ALWAYS AS (1) STORED
);
ALTER TABLE "odd ""names'"."a table; \ of.all :rows FROM stdin" DROP COLUMN gone;
INSERT INTO "odd ""names'"."a table; \ of.all :rows FROM stdin"
    SELECT i, E'\\.\n\\.\x01\n\x01\n\t\r\b' || i || E'\x01' FROM generate_series(1, 9000) AS i;
CREATE TABLE marks (t text);
INSERT INTO marks SELECT E'\\.\x01' FROM generate_series(1, 5000);
INSERT INTO marks VALUES (NULL), (''), (E'\x01'), (E'\n'), (E'\\.');
CREATE TABLE nothing_in_it (id int);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE emptied AS SELECT i FROM generate_series(1, 20000) AS i;
DELETE FROM emptied WHERE i < 15000;
CREATE UNLOGGED TABLE unlogged AS SELECT i FROM generate_series(1, 5000) AS i;
CREATE TABLE long_rows (id int, t text, raw bytea);
INSERT INTO long_rows
    SELECT i, string_agg(md5(i || '-' || j), ''), decode(repeat('00ff', i), 'hex')
    FROM generate_series(1, 40) AS i, generate_series(1, 4000) AS j GROUP BY i;
CREATE TABLE parent (id int, t text);
CREATE TABLE child (more int) INHERITS (parent);
INSERT INTO parent SELECT i, 'p' FROM generate_series(1, 3000) AS i;
INSERT INTO child SELECT i, 'c', i FROM generate_series(1, 3000) AS i;
CREATE TABLE parted (id int PRIMARY KEY, at timestamptz, took interval, part float8)
    PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (5000);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES FROM (5000) TO (10000);
INSERT INTO parted
    SELECT i, timestamptz '2026-01-02 03:04:05.678+00' + i * interval '1 day',
           i * interval '1 day 2 hours', i / 3::float8
    FROM generate_series(0, 9999) AS i;
CREATE TYPE kind AS ENUM ('one', 'two');
CREATE TABLE by_kind (kind kind) PARTITION BY HASH (kind);
CREATE TABLE kinds PARTITION OF by_kind FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO by_kind VALUES ('one'), ('two');
CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM parted;
CREATE TABLE referring (id int REFERENCES parted);
INSERT INTO referring SELECT i FROM generate_series(1, 3000) AS i;
"""
RANGED = {
    "a table; \\ of.all :rows FROM stdin",
    "child",
    "emptied",
    "long_rows",
    "marks",
    "nothing_in_it",
    "parent",
    "part_1",
    "part_2",
    "referring",
    "unlogged",
}


@pytest.fixture
def filled(small: Conninfo) -> Conninfo:
    """A database with all kinds of tables, whose sessions print values in their own way."""
    with connect(small, purpose="test") as connection:
        connection.execute("DROP TABLE one, two")
        connection.execute(TABLES.encode())
        for setting in ("TimeZone = 'Asia/Kathmandu'", "DateStyle = 'German'", "jit = on"):
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {}").format(
                    sql.Identifier(small.dbname),
                    sql.SQL(setting),
                )
            )
    return small


def archive_of(store: LocalStore, manifest: Manifest) -> bytes:
    with store.open(manifest.database, manifest.label, DUMP) as file:
        return b"".join(decompressed(file))


def by_pg_dump(target: Conninfo, tools: PostgresTools) -> bytes:
    argv = [tools["pg_dump"], "--format=custom", "--compress=0"]
    environment = programs.child_environment(target)
    return subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=True).stdout


def parsed(archive: bytes) -> tuple[dict[tuple[object, ...], bytes], list[str]]:
    """The archive's data by what its entry says, and the order of the entries that have some."""
    head = toc.read_head(archive)
    assert head
    known = {entry.dump_id: entry for entry in head.entries}
    found: dict[tuple[object, ...], bytes] = {}
    order = []
    at = head.size_bytes

    def number() -> int:
        nonlocal at
        at += 1 + head.int_bytes
        return int.from_bytes(archive[at - head.int_bytes : at], "little")

    while at < len(archive):
        at += 1
        entry = known[number()]
        pieces = []
        while length := number():
            pieces.append(archive[at : at + length])
            at += length
        order.append(entry.name.decode())
        # Of what it says all but its own number, and where in the head that is.
        ends_at = entry.position_at + 1 + head.position_bytes
        said = archive[entry.begins_at + 1 + head.int_bytes : ends_at]
        found[said,] = b"".join(pieces)
    assert order == [entry.name.decode() for entry in head.entries if entry.has_data]
    return found, order


def test_it_is_what_pg_dump_would_have_written(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path, small_ranges: None
) -> None:
    store = LocalStore(tmp_path)

    manifest = dump(
        filled, store, tools=tools, form=ArchiveForm(jobs=3, binary=False, large_from_bytes=0)
    )

    found, order = parsed(archive_of(store, manifest))
    expected, order_of_pg_dump = parsed(by_pg_dump(filled, tools))
    assert found == expected
    assert set(order) == set(order_of_pg_dump)
    assert set(order[-len(RANGED) :]) == RANGED
    assert order != order_of_pg_dump


def test_pg_restore_reads_it_from_a_pipe(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path, small_ranges: None
) -> None:
    """As RESTORE.txt has it: from a pipe it cannot go back to rows that came too early."""
    store = LocalStore(tmp_path)
    manifest = dump(
        filled, store, tools=tools, form=ArchiveForm(jobs=2, binary=False, large_from_bytes=0)
    )

    ours, expected = (
        subprocess.run(
            [tools["pg_restore"], "--file=-"], input=archive, stdout=subprocess.PIPE, check=True
        ).stdout
        for archive in (archive_of(store, manifest), by_pg_dump(filled, tools))
    )

    assert len(ours) > 1 << 20
    assert sorted(without_key(ours)) == sorted(without_key(expected))


def without_key(script: bytes) -> list[bytes]:
    """The script's lines without numbers of entries, and what is made up anew each time."""
    return [
        line
        for line in script.split(b"\n")
        if b"restrict " not in line and not line.startswith((b"-- Data for Name:", b"-- TOC entry"))
    ]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("through_a_pipe", [False, True])
def test_a_drill_finds_it_equal(
    filled: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    small_ranges: None,
    monkeypatch: pytest.MonkeyPatch,
    through_a_pipe: bool,
    binary: bool,
) -> None:
    store = LocalStore(tmp_path)
    if through_a_pipe:
        monkeypatch.setattr("backups.load.jobs_for", lambda _cores: 1)
    manifest = dump(
        filled, store, tools=tools, form=ArchiveForm(jobs=2, binary=binary, large_from_bytes=0)
    )

    report = drill(store, manifest.label, tools=tools, with_access=False)

    assert report.differences == ()


def test_while_rows_are_written_and_moved_it_is_the_snapshot(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, small_ranges: None
) -> None:
    """Ranges are of pages, and what others write meanwhile changes what lies in them."""
    with connect(small, purpose="test") as connection:
        connection.execute("INSERT INTO two SELECT i::text FROM generate_series(1, 20000) AS i")
    store = LocalStore(tmp_path)
    changes = iter(
        [
            "UPDATE two SET t = 'later ' || t",
            "DELETE FROM two WHERE t LIKE '%7'",
            "INSERT INTO two SELECT 'new' FROM generate_series(1, 20000)",
        ]
    )

    def meanwhile(_: object) -> None:
        for statement in changes:
            with connect(small, purpose="other") as other:
                other.execute(statement.encode())
            return

    manifest = dump(
        small,
        store,
        tools=tools,
        form=ArchiveForm(jobs=2, large_from_bytes=0),
        on_progress=meanwhile,
    )

    assert next(changes, None) is None
    report = drill(store, manifest.label, tools=tools, with_access=False)
    assert report.differences == ()


def test_names_beyond_ascii_are_left_to_pg_dump(filled: Conninfo) -> None:
    with connect(filled, purpose="test") as connection:
        connection.execute('CREATE TABLE "Fälle" (id int); CREATE TABLE cases_ (fällig date)')
        found = read_large_tables(connection, 0)

    assert {table.name for table in found} == RANGED


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="needs Linux")
def test_the_programs_of_a_dump_are_batch_jobs(filled: Conninfo, tools: PostgresTools) -> None:
    with (
        connect(filled, purpose="test") as connection,
        snapshot.hold(connection, lock_wait_s=5) as held,
        archive_stream(
            connection,
            filled,
            tools=tools,
            snapshot=held.identifier,
            form=ArchiveForm(jobs=2),
            lock_wait_ms=5000,
        ) as stream,
    ):
        policy = os.sched_getscheduler(stream.pg_dump.process.pid)

    assert policy == os.SCHED_BATCH


def test_only_large_tables_are_read_in_ranges(filled: Conninfo) -> None:
    with connect(filled, purpose="test") as connection:
        found = read_large_tables(connection, 2 << 20)

    assert [table.name for table in found] == ["long_rows"]


@contextmanager
def only_so_many_sessions(target: Conninfo, count: int) -> Iterator[Conninfo]:
    """A role that may have no more than so many sessions."""
    name = sql.Identifier("narrow")
    with connect(target, purpose="test") as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN BYPASSRLS CONNECTION LIMIT {}").format(name, count)
        )
        connection.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(name))
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                sql.Identifier(target.dbname), name
            )
        )
    try:
        yield target.replace(user="narrow")
    finally:
        with connect(target, purpose="test") as connection:
            connection.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


@pytest.mark.parametrize(("count", "ranged"), [(3, False), (4, True), (6, True)])
def test_where_the_server_lets_fewer_in_it_does_with_fewer(
    filled: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    small_ranges: None,
    count: int,
    ranged: bool,
) -> None:
    store = LocalStore(tmp_path)
    with only_so_many_sessions(filled, count) as target:
        manifest = dump(
            target, store, tools=tools, form=ArchiveForm(jobs=4, binary=False, large_from_bytes=0)
        )

    _, order = parsed(archive_of(store, manifest))
    assert (set(order[-len(RANGED) :]) == RANGED) is ranged
    assert drill(store, manifest.label, tools=tools, with_access=False).differences == ()


def test_a_reader_that_is_ended_fails_the_dump(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    ended: list[int] = []

    def end_one(table: LargeTable) -> Iterator[str]:
        if not ended and table.name == "marks":
            with connect(filled, purpose="test") as other:
                ended.extend(
                    pid
                    for (pid,) in other.execute(
                        "SELECT pid FROM pg_stat_activity WHERE query = 'LOCK TABLE x'"
                        " OR query LIKE 'COPY (SELECT%' AND pg_terminate_backend(pid) LIMIT 1"
                    )
                )
        return conditions(table, SMALL_RANGES)

    monkeypatch.setattr("backups.readers.conditions", end_one)
    with pytest.raises(ToolFailedError, match=r"psql failed") as caught:
        dump(filled, store, tools=tools, form=ArchiveForm(jobs=2, large_from_bytes=0))

    assert len(ended) == 1
    assert "terminat" in (caught.value.detail or "")
    assert store.labels(filled.dbname) == []


def test_an_archive_that_is_not_as_expected_is_refused(
    filled: Conninfo, tools: PostgresTools
) -> None:
    archive = by_pg_dump(filled, tools)
    copy = "COPY public.marks (t) FROM stdin;\n"

    with pytest.raises(UnfitHeadError, match=r"rows of public\.marks already"):
        with_rows(archive, {("public", "marks"): copy})
    with pytest.raises(UnfitHeadError, match=r"makes public\.unknown 0 times"):
        with_rows(archive, {("public", "unknown"): copy})
    with pytest.raises(UnfitHeadError, match="no end"):
        with_rows(archive[:500], {("public", "marks"): copy})


def test_ranges_are_all_pages_once() -> None:
    table = LargeTable("s", "t", 10, 10 * 8192, "s.t", ("c",))

    assert list(conditions(table, 4 * 8192)) == [
        ">= '(0,0)' AND ctid < '(4,0)'",
        ">= '(4,0)' AND ctid < '(8,0)'",
        ">= '(8,0)'",
    ]
    empty = LargeTable("s", "t", 0, 0, "s.t", ("c",))
    assert list(conditions(empty)) == [">= '(0,0)'"]
    # Whose rows lie in its TOAST table.
    assert len(list(conditions(LargeTable("s", "t", 2, 100 << 20, "s.t", ("c",))))) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_come_in_the_order_of_their_pages_whoever_else_reads(
    tools: PostgresTools, tmp_path: Path, jobs: int
) -> None:
    """A scan of a table beyond a quarter of shared_buffers may begin where another one is."""
    with throwaway_cluster(tools, settings={"shared_buffers": "1MB"}) as admin:
        with connect(admin, purpose="test") as connection:
            connection.execute("CREATE TABLE counted AS SELECT generate_series(1, 100000) AS i")
        with connect(admin, purpose="test") as other, other.transaction():
            other.execute("DECLARE half CURSOR FOR SELECT FROM counted")
            other.execute("MOVE 50000 IN half")
            store = LocalStore(tmp_path)
            form = ArchiveForm(jobs=jobs, large_from_bytes=1 << 20)
            manifest = dump(admin, store, tools=tools, form=form)

        (rows,) = parsed(archive_of(store, manifest))[0].values()
        found = [int.from_bytes(field[4:]) for (field,) in fields_of(rows)]
    assert found == list(range(1, 100_001))
