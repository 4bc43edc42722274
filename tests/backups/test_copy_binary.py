"""Large tables whose rows are written in COPY's binary format, where that is smaller."""

from pathlib import Path

import pytest

from backups import large_tables
from backups.archive_form import ArchiveForm
from backups.archive_stream import ArchiveStream
from backups.dump import dump
from backups.large_tables import SAMPLE_BYTES, in_its_format, read_large_tables
from backups.stores import LocalStore
from backups.streams import Piece, compressed
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ToolFailedError
from casedb.tools import PostgresTools
from tests.backups.binary_tables import (
    BINARY,
    OTHERS,
    PLAIN,
    REPEATED,
    TYPES,
    archive_of,
    columns_of,
    fill,
    in_binary,
)
from tests.backups.test_large_tables import only_so_many_sessions

pytestmark = pytest.mark.usefixtures("ordered")


@pytest.fixture
def filled(small: Conninfo) -> Conninfo:
    return fill(small)


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_those_that_are_smaller_in_binary_are(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path, small_ranges: None, jobs: int
) -> None:
    assert in_binary(archive_of(filled, tools, tmp_path, jobs)) == BINARY


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

    def remember(data: bytes, **_: object) -> bytes:
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
        if not ended and self.meter.done_bytes > 3 << 20:
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


@pytest.mark.parametrize(("larger", "expected"), [(-0.5, set()), (0.5, BINARY)])
def test_rows_in_binary_are_compressed_faster_if_they_are_not_much_larger(
    filled: Conninfo, monkeypatch: pytest.MonkeyPatch, larger: float, expected: set[str]
) -> None:
    """Not those in text, which are half as large again."""
    monkeypatch.setattr(large_tables, "WORTH_ACCELERATION", larger)
    with connect(filled, purpose="test") as connection:
        tables = [in_its_format(connection, each) for each in read_large_tables(connection, 0)]

    assert {table.name for table in tables if table.is_accelerated} == expected
