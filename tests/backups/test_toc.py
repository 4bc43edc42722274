"""An archive that came out of a pipe, completed: the same archive, and faster to load."""

import io
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backups import toc
from backups.toc import Head, UnknownLayoutError, begun, read_head
from backups.toc_completed import CompletedArchive, for_one_job
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.tools import PostgresTools

POSITION_KNOWN = 2
ODD = '"odd ""names"."a table; FROM stdin"'
TABLES = f"""
CREATE SCHEMA "odd ""names";
CREATE TABLE {ODD} (id int, t text);
INSERT INTO {ODD}
  SELECT i, E'\\\\.\\n\\n\\n' || i FROM generate_series(1, 5000) AS i;
CREATE TABLE nothing_in_it (id int);
CREATE TABLE first_row_of_64_kib (t text);
INSERT INTO first_row_of_64_kib VALUES (repeat('x', 65535)), (repeat('y', 255));
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES FROM (100) TO (200);
INSERT INTO parted SELECT generate_series(0, 199);
CREATE TABLE numbered (
    id int GENERATED ALWAYS AS IDENTITY, one int GENERATED ALWAYS AS (1) STORED
);
INSERT INTO numbered DEFAULT VALUES;
CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM parted;
"""


@pytest.fixture
def filled(empty_database: Conninfo) -> Conninfo:
    with connect(empty_database, purpose="test") as connection:
        connection.execute(TABLES.encode())
    return empty_database


def dumped(target: Conninfo, tools: PostgresTools, *words: str) -> bytes:
    argv = [tools["pg_dump"], "--format=custom", *(words or ["--compress=0"])]
    environment = programs.child_environment(target)
    return subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=True).stdout


def completed(archive: bytes, *, pieces: int = 1 << 20) -> bytes:
    file = io.BytesIO()
    writer = CompletedArchive(file)
    for at in range(0, len(archive), pieces):
        writer.write(archive[at : at + pieces])
    writer.finish()
    return file.getvalue()


def head_of(archive: bytes) -> Head:
    head = read_head(archive)
    assert head
    return head


def positions(archive: bytes) -> dict[int, int]:
    """Where the head says that data begin, by the number of their entry."""
    head = head_of(archive)
    return {
        entry.dump_id: int.from_bytes(
            archive[entry.position_at + 1 : entry.position_at + 1 + head.position_bytes], "little"
        )
        for entry in head.entries
        if entry.has_data and archive[entry.position_at] == POSITION_KNOWN
    }


def script(tools: PostgresTools, archive: bytes, place: Path) -> str:
    place.write_bytes(archive)
    argv = [tools["pg_restore"], "--file=-", str(place)]
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout


def test_all_rows_are_found_and_nothing_else_changes(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    archive = dumped(filled, tools)

    found = completed(archive)

    data = [entry.dump_id for entry in head_of(archive).entries if entry.has_data]
    assert len(data) == 6
    assert positions(archive) == {}
    assert sorted(positions(found)) == sorted(data)
    for dump_id, at in positions(found).items():
        assert found[at] == 1
        assert int.from_bytes(found[at + 2 : at + 6], "little") == dump_id
    before, after = (script(tools, one, tmp_path / "archive") for one in (archive, found))
    assert after.count("FROM stdin WITH (FREEZE);\n") == len(data)
    assert without_key(after.replace(" FROM stdin WITH (FREEZE);", " FROM stdin;")) == without_key(
        before
    )


def without_key(text: str) -> list[str]:
    """The script without what pg_restore makes up anew each time it is called."""
    return [line for line in text.splitlines() if "restrict " not in line]


@pytest.mark.parametrize("pieces", [1, 7, 4096])
def test_it_does_not_matter_how_it_comes(
    filled: Conninfo, tools: PostgresTools, pieces: int
) -> None:
    archive = dumped(filled, tools)

    assert completed(archive, pieces=pieces) == completed(archive)


def test_several_jobs_load_it_and_its_rows_are_frozen(
    filled: Conninfo, cluster: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    place = tmp_path / "archive"
    place.write_bytes(completed(dumped(filled, tools)))
    with connect(cluster, purpose="test") as connection:
        connection.execute("CREATE DATABASE toc_loaded")
    target = cluster.replace(dbname="toc_loaded")
    try:
        argv = [tools["pg_restore"], "--exit-on-error", "--jobs=2", "--dbname=toc_loaded"]
        programs.run([*argv, str(place)], target=cluster)
        with connect(filled, purpose="test") as before, connect(target, purpose="test") as after:
            for query in (
                f"SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM {ODD} AS t",
                "SELECT md5(string_agg(t, '' ORDER BY t)) FROM first_row_of_64_kib",
                "SELECT tableoid::regclass::text, count(*) FROM parted GROUP BY 1 ORDER BY 1",
                "SELECT * FROM numbered",
                "SELECT * FROM seen",
            ):
                assert after.execute(query).fetchall() == before.execute(query).fetchall()
            after.execute("ANALYZE")
            filled_pages = {
                name: after.execute(
                    f"SELECT count(DISTINCT (ctid::text::point)[0]) FROM {name}".encode()
                ).fetchall()[0][0]
                for name in (ODD, "first_row_of_64_kib", "part_1", "numbered")
            }
            visible_pages = {
                name: after.execute(
                    "SELECT relallvisible FROM pg_class WHERE oid = %s::regclass", (name,)
                ).fetchall()[0][0]
                for name in filled_pages
            }
    finally:
        with connect(cluster, purpose="test") as connection:
            connection.execute("DROP DATABASE toc_loaded WITH (FORCE)")
    assert filled_pages[ODD] > 20
    assert visible_pages == filled_pages


def test_large_objects_are_binary_so_no_rows_are_looked_for(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    with connect(filled, purpose="test") as connection:
        connection.execute("SELECT lo_from_bytea(0, decode(repeat('00', 20) || '0100', 'hex'))")
    archive = dumped(filled, tools)

    found = completed(archive)

    assert positions(found) == {}
    assert "WITH (FREEZE)" in script(tools, found, tmp_path / "archive")


def test_a_table_of_an_extension_is_not_made_by_the_archive_and_not_frozen(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """The server refuses to freeze rows of a table that was not made or emptied just now."""
    with connect(filled, purpose="test") as connection:
        connection.execute("CREATE TABLE configured (id int); INSERT INTO configured VALUES (1)")
        connection.execute(
            "ALTER EXTENSION plpgsql ADD TABLE configured;"
            "UPDATE pg_extension SET extconfig = ARRAY['configured'::regclass::oid],"
            " extcondition = ARRAY[''] WHERE extname = 'plpgsql'"
        )
    text = script(tools, completed(dumped(filled, tools)), tmp_path / "archive")

    (copy,) = [line for line in text.splitlines() if line.startswith("COPY public.configured")]
    assert copy.endswith(" FROM stdin;")
    assert "WITH (FREEZE)" in text


def test_rows_that_come_through_the_root_of_partitions_are_not_frozen(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """Which part they belong to may differ from server to server; pg_dump leaves it to the root."""
    with connect(filled, purpose="test") as connection:
        connection.execute(
            "CREATE TYPE kind AS ENUM ('one', 'two');"
            "CREATE TABLE by_kind (kind kind) PARTITION BY HASH (kind);"
            "CREATE TABLE kinds PARTITION OF by_kind FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
            "INSERT INTO by_kind VALUES ('one'), ('two')"
        )
    text = script(tools, completed(dumped(filled, tools)), tmp_path / "archive")

    (copy,) = [line for line in text.splitlines() if line.startswith("COPY public.by_kind")]
    assert copy.endswith(" FROM stdin;")
    assert "WITH (FREEZE)" in text


def test_for_one_job_the_head_empties_what_it_fills(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    archive = dumped(filled, tools)
    head, rest = begun(iter([archive[:1000], archive[1000:]]))

    text = script(tools, for_one_job(head) + b"".join(rest), tmp_path / "archive")

    assert head == archive[: head_of(archive).size_bytes]
    emptied = [line for line in text.splitlines() if line.startswith("TRUNCATE TABLE ONLY ")]
    assert f"TRUNCATE TABLE ONLY {ODD};" in emptied
    assert len(emptied) == text.count("FROM stdin WITH (FREEZE);\n") == 6
    assert without_key(
        re.sub(r"TRUNCATE TABLE ONLY .*;\n", "", text).replace(" WITH (FREEZE);", ";")
    ) == without_key(script(tools, archive, tmp_path / "archive"))


@pytest.mark.parametrize("begin", [b"", b"PGD", b"no archive at all", bytes(3 << 20)])
def test_what_is_no_archive_comes_as_it_is(begin: bytes) -> None:
    pieces = [begin[at : at + 1000] for at in range(0, len(begin), 1000)]

    head, rest = begun(iter(pieces))

    assert head == b""
    assert b"".join(rest) == begin


def test_of_what_promises_an_endless_head_nothing_is_kept(
    filled: Conninfo, tools: PostgresTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toc, "HEAD_AT_MOST_BYTES", 1 << 20)
    archive = dumped(filled, tools)
    # The first text is the database's name, and its length is now said to be 2 GB.
    begin = archive.index((filled.dbname or "").encode()) - 4
    endless = archive[:begin] + (0x7FFFFFFF).to_bytes(4, "little") + bytes(8 << 20)
    taken: list[int] = []

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(endless), 1 << 16):
            taken.append(at)
            yield endless[at : at + (1 << 16)]

    assert read_head(endless) is None
    found, rest = begun(pieces())
    assert found == b""
    assert len(taken) < 64
    assert b"".join(rest) == endless
    assert completed(endless) == endless


def test_an_archive_compressed_by_pg_dump_is_frozen_and_not_searched(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    found = completed(dumped(filled, tools, "--compress=1"))

    assert positions(found) == {}
    assert "WITH (FREEZE)" in script(tools, found, tmp_path / "archive")


def test_what_is_not_known_is_written_as_it_is(filled: Conninfo, tools: PostgresTools) -> None:
    archive = dumped(filled, tools)
    newer = archive[:6] + bytes([99]) + archive[7:]
    for unknown in (b"", b"PGD", b"CREATE TABLE", newer, archive[: len(archive) // 200]):
        assert completed(unknown) == unknown
        assert completed(unknown, pieces=3) == unknown
    with pytest.raises(UnknownLayoutError, match="version"):
        read_head(newer)


def test_one_that_knows_its_positions_is_left_alone(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    place = tmp_path / "archive"
    dumped(filled, tools, "--compress=0", f"--file={place}")
    archive = place.read_bytes()

    assert positions(archive)
    assert completed(archive) == archive


def test_one_that_ends_too_early_gets_no_positions(filled: Conninfo, tools: PostgresTools) -> None:
    archive = dumped(filled, tools)
    last = max(positions(completed(archive)).values())

    assert positions(completed(archive[: last - 200])) == {}
