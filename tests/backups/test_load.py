"""An archive that comes through a pipe: the rows with one job, what follows them with several."""

import io
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from psycopg import sql

from backups import pg_restore, piped
from backups.streams import compress
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ToolFailedError
from casedb.tools import PostgresTools

OBJECTS = """
CREATE SCHEMA desk;
COMMENT ON SCHEMA desk IS 'a desk';
CREATE FUNCTION desk.stamp() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN NEW.at := 1; RETURN NEW; END';
CREATE FUNCTION desk.heed() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE TABLE desk.papers (id int PRIMARY KEY, at int, about text CHECK (about <> ''));
CREATE TABLE desk.notes (id int GENERATED ALWAYS AS IDENTITY, paper int REFERENCES desk.papers);
CREATE INDEX by_subject ON desk.papers (lower(about));
COMMENT ON INDEX desk.by_subject IS 'an index';
CREATE TRIGGER stamped BEFORE INSERT ON desk.papers FOR EACH ROW EXECUTE FUNCTION desk.stamp();
COMMENT ON TRIGGER stamped ON desk.papers IS 'a trigger';
INSERT INTO desk.papers SELECT i, 0, 'paper ' || i FROM generate_series(1, 3000) AS i;
INSERT INTO desk.notes (paper) SELECT i FROM generate_series(1, 3000) AS i;
ALTER TABLE desk.papers ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON desk.papers USING (id > 0);
GRANT SELECT ON desk.papers TO pg_monitor;
GRANT EXECUTE ON FUNCTION desk.stamp TO pg_monitor;
ALTER DEFAULT PRIVILEGES IN SCHEMA desk GRANT SELECT ON TABLES TO pg_monitor;
CREATE STATISTICS desk.both ON id, at FROM desk.papers;
CREATE MATERIALIZED VIEW desk.counted AS SELECT count(*) FROM desk.papers;
CREATE UNIQUE INDEX ON desk.counted (count);
CREATE TABLE desk.parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE desk.part_1 PARTITION OF desk.parted FOR VALUES FROM (0) TO (100);
INSERT INTO desk.parted SELECT generate_series(0, 99);
CREATE TYPE desk.kind AS ENUM ('one', 'two');
CREATE TABLE desk.by_kind (kind desk.kind) PARTITION BY HASH (kind);
CREATE TABLE desk.kinds PARTITION OF desk.by_kind FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO desk.by_kind VALUES ('one'), ('two');
CREATE RULE nothing AS ON DELETE TO desk.parted DO INSTEAD NOTHING;
SELECT lo_from_bytea(4711, '\\x00010203');
COMMENT ON LARGE OBJECT 4711 IS 'a large object';
CREATE PUBLICATION papers FOR TABLE desk.papers;
CREATE EVENT TRIGGER heeded ON ddl_command_end EXECUTE FUNCTION desk.heed();
"""


@pytest.fixture
def filled(empty_database: Conninfo) -> Iterator[Conninfo]:
    with connect(empty_database, purpose="test") as connection:
        connection.execute(OBJECTS.encode())
    yield empty_database
    with connect(empty_database, purpose="test") as connection:
        connection.execute("DROP EVENT TRIGGER heeded")


@pytest.fixture
def empty(cluster: Conninfo) -> Iterator[Conninfo]:
    name = sql.Identifier("loaded_through_a_pipe")
    with connect(cluster, purpose="test") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        yield cluster.replace(dbname="loaded_through_a_pipe")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The words of each pg_restore."""
    seen: list[Sequence[str]] = []
    run = pg_restore.run

    def see(argv: Sequence[str], **how: Any) -> None:
        seen.append(argv)
        run(argv, **how)

    monkeypatch.setattr(pg_restore, "run", see)
    return seen


def dumped(target: Conninfo, tools: PostgresTools, *words: str) -> bytes:
    argv = [tools["pg_dump"], *words]
    environment = programs.child_environment(target)
    return subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=True).stdout


def packed(raw: bytes) -> io.BytesIO:
    sink = io.BytesIO()
    compress(io.BytesIO(raw), sink)
    return io.BytesIO(sink.getvalue())


def in_words(target: Conninfo, tools: PostgresTools) -> list[str]:
    """All that a database holds, without what pg_dump makes up anew each time it is called."""
    lines = dumped(target, tools).decode().splitlines()
    return [line for line in lines if "restrict " not in line]


def load(raw: bytes, target: Conninfo, tools: PostgresTools, jobs: int | None = 2) -> None:
    argv = programs.pg_restore_argv(tools, dbname=target.dbname or "")
    piped.load(packed(raw), target, argv, jobs=jobs)


@pytest.mark.parametrize("jobs", [None, 1, 2, 4])
def test_all_is_there_however_many_load_it(
    filled: Conninfo,
    empty: Conninfo,
    tools: PostgresTools,
    ran: list[Sequence[str]],
    jobs: int | None,
) -> None:
    load(dumped(filled, tools, "--format=custom", "--compress=0"), empty, tools, jobs)

    assert in_words(empty, tools) == in_words(filled, tools)
    several = jobs is not None and jobs > 1
    assert len(ran) == (2 if several else 1)
    assert (f"--jobs={jobs}" in ran[-1]) == several


@pytest.mark.parametrize(("jobs", "visible"), [(None, False), (1, True), (2, True)])
def test_the_rows_come_frozen(
    filled: Conninfo, empty: Conninfo, tools: PostgresTools, jobs: int | None, visible: bool
) -> None:
    """What is frozen is known to be visible to all, which else a VACUUM finds out."""
    load(dumped(filled, tools, "--format=custom", "--compress=0"), empty, tools, jobs)

    with connect(empty, purpose="test") as connection:
        connection.execute("ANALYZE")
        found = connection.execute(
            "SELECT relname, relallvisible, pages FROM pg_class JOIN ("
            "  SELECT tableoid AS oid, count(DISTINCT (ctid::text::point)[0]) AS pages FROM ("
            "    SELECT tableoid, ctid FROM desk.papers UNION ALL"
            "    SELECT tableoid, ctid FROM desk.notes UNION ALL"
            "    SELECT tableoid, ctid FROM desk.parted) AS every GROUP BY 1) AS filled USING (oid)"
        ).fetchall()
    assert {name for name, _, _ in found} == {"papers", "notes", "part_1"}
    assert [name for name, seen, pages in found if seen != (pages if visible else 0)] == []


def test_what_was_compressed_by_pg_dump_is_loaded_in_two_as_well(
    filled: Conninfo, empty: Conninfo, tools: PostgresTools, ran: list[Sequence[str]]
) -> None:
    load(dumped(filled, tools, "--format=custom", "--compress=1"), empty, tools)

    assert in_words(empty, tools) == in_words(filled, tools)
    assert len(ran) == 2


def test_what_is_not_known_here_is_left_to_pg_restore(
    filled: Conninfo, empty: Conninfo, tools: PostgresTools, ran: list[Sequence[str]]
) -> None:
    """A tar has another layout, and pg_restore reads it from a pipe all the same."""
    load(dumped(filled, tools, "--format=tar", "--schema-only"), empty, tools)

    assert len(ran) == 1
    with connect(empty, purpose="test") as connection:
        (found,) = connection.execute("SELECT 'desk.papers'::regclass::text").fetchall()
    assert found == ("desk.papers",)


@pytest.mark.parametrize(
    ("row", "calls"),
    [
        # A row that nothing refers to, so that the foreign key cannot be added.
        (b"3000\t9999\n", 2),
        # One that is no row: what follows the rows is not begun.
        (b"3000\tnine\n", 1),
    ],
)
def test_what_fails_in_either_half_is_told(
    filled: Conninfo,
    empty: Conninfo,
    tools: PostgresTools,
    ran: list[Sequence[str]],
    row: bytes,
    calls: int,
) -> None:
    raw = dumped(filled, tools, "--format=custom", "--compress=0")
    broken = raw.replace(b"3000\t3000\n", row)
    assert broken != raw

    with pytest.raises(ToolFailedError, match="pg_restore") as caught:
        load(broken, empty, tools)

    assert row.split()[1].decode() in str(caught.value)
    assert len(ran) == calls
