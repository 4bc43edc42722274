"""A dump tells how far it is within a table, in bytes of what all tables take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backups import snapshot
from backups.archive_form import ArchiveForm
from backups.archive_stream import archive_stream
from backups.dump import dump
from backups.dump_progress import Gauge, Meter, read_sizes
from backups.manifest import DUMP
from backups.progress import Progress
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect, open_connection, scalar
from casedb.errors import TerminatedError
from casedb.tools import PostgresTools
from tests.backups.conftest import store_in
from tests.backups.test_dump import leftovers
from tests.backups.test_dump_interrupted import sessions
from tests.s3.servers import Server

LARGE = 48 << 20
WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event = 'PgSleep'"
)
SLOW_PROOF = """
CREATE TYPE slow AS (n int);
CREATE FUNCTION waits(s slow) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN
        WHILE EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objid = 4711)
            LOOP PERFORM pg_catalog.pg_sleep(0.05); END LOOP;
        RETURN 'slow';
    END $$;
CREATE CAST (slow AS text) WITH FUNCTION waits(slow);
CREATE TABLE slow_to_prove AS SELECT ROW(1)::slow AS s;
"""
"""Its proof casts to text, which waits until a lock is given back; pg_dump casts nothing."""


@pytest.fixture
def told_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is told of as often as anybody looks, and that is often."""
    monkeypatch.setattr("backups.progress.TOLD_EVERY_S", 0)
    monkeypatch.setattr("backups.meanwhile._LOOK_EVERY_S", 0.001)
    monkeypatch.setattr("backups.dump_archive._POLL_S", 0.001)


def fill(target: Conninfo, statements: str) -> None:
    with connect(target, purpose="test") as connection:
        connection.execute(statements.encode())


@pytest.mark.parametrize(
    "form",
    [ArchiveForm(), ArchiveForm(jobs=2), ArchiveForm(binary=False)],
    ids=["default", "two jobs", "text"],
)
def test_bytes_grow_within_a_large_table_and_come_to_their_total(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, told_of_all: None, form: ArchiveForm
) -> None:
    fill(
        small,
        "CREATE TABLE large AS SELECT i, repeat(md5(i::text), 10) AS t"
        " FROM generate_series(1, 140000) AS i",
    )
    with connect(small, purpose="test") as connection:
        assert scalar(connection, "SELECT pg_table_size('large')") > LARGE
        in_all = scalar(
            connection,
            "SELECT sum(pg_table_size(t))::bigint FROM unnest("
            "'{one,two,large,pg_catalog.pg_largeobject}'::regclass[]) AS t",
        )
    told: list[Progress] = []

    dump(small, LocalStore(tmp_path), tools=tools, form=form, on_progress=told.append)

    sizes = [step for step in told if step.unit == "bytes"]
    assert {step.total for step in sizes} == {in_all}
    done = [step.done for step in sizes]
    assert done == sorted(done)
    assert done[0] == 0
    assert in_all * 0.8 < done[-1] <= in_all
    within = {n for n in done if in_all - LARGE < n < in_all}
    assert len(within) > 5


KINDS = {
    "narrow": "SELECT i FROM generate_series(1, 200000) AS i",
    "wide": "SELECT i, repeat(md5(i::text), 10) AS t FROM generate_series(1, 20000) AS i",
    "compressed": "SELECT i, repeat(md5(i::text), 200) AS t FROM generate_series(1, 30000) AS i",
    "not plain": "SELECT ROW(i, md5(i::text)) AS r FROM generate_series(1, 60000) AS i",
    "aside": "SELECT i, array_agg(md5(j::text)) AS t FROM generate_series(1, 150) AS i,"
    " generate_series(1, 2000) AS j GROUP BY i",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("jobs", "binary"), [(1, True), (1, False), (2, True)])
def test_what_comes_of_a_table_is_measured_by_what_it_takes(
    small: Conninfo, tools: PostgresTools, kind: str, jobs: int, binary: bool
) -> None:
    """Just before its end, where the meter does not know yet that this is the end."""
    columns = KINDS[kind]
    if kind == "not plain":
        fill(small, "CREATE TYPE pair AS (n int, t text)")
        columns = columns.replace(" AS r", "::pair AS r")
    fill(small, f"CREATE TABLE large AS {columns}")
    if kind != "aside":
        # A third of the rows is gone, and their room is not.
        fill(small, "DELETE FROM large WHERE ctid::text ~ '[258].$'")

    before_the_end = read_through(
        small, tools, ArchiveForm(jobs=jobs, binary=binary, large_from_bytes=1 << 20)
    )

    assert before_the_end == pytest.approx(1, abs=0.2)


def read_through(target: Conninfo, tools: PostgresTools, form: ArchiveForm) -> float:
    """What part of the tables has come before the archive's end, not cut off at all of them."""
    with (
        connect(target, purpose="test") as connection,
        snapshot.hold(connection, lock_wait_s=5) as held,
    ):
        total = sum(read_sizes(connection, held.relations).values())
        with archive_stream(
            connection,
            target,
            tools=tools,
            snapshot=held.identifier,
            form=form,
            lock_wait_ms=5000,
            tables_bytes=total,
        ) as stream:
            at = stream.meter._at
            while stream.read():
                at = stream.meter._at
            assert stream.meter.done_bytes == total
    return (at.before_bytes + at.came_bytes / at.ratio) / total


def test_it_is_as_far_as_the_one_that_is_behind() -> None:
    told: list[int] = []
    meter = Meter()
    gauge = Gauge(lambda step: told.append(step.done), meter, {1: 100, 2: 300})
    meter.begin(400, 2)

    gauge.tell("nothing proven")
    gauge.begin_proof(1)
    meter.add(150)
    gauge.tell("in the first table")
    meter.add(300)
    gauge.tell("the archive is in the second")
    gauge.begin_proof(2)
    gauge.tell("both are")
    meter.end()
    gauge.tell("all is written")

    assert told == [0, 75, 100, 225, 400]


@contextmanager
def slow_proof(target: Conninfo) -> Iterator[Callable[[], None]]:
    """The proof of a table goes on when the function is called, or with the end of the block."""
    fill(target, SLOW_PROOF)
    with open_connection(target, purpose="holder") as holder:
        holder.execute("SELECT pg_advisory_lock(4711)")

        def let_go() -> None:
            holder.execute("SELECT pg_advisory_unlock_all()")

        try:
            yield let_go
        finally:
            let_go()


def test_it_is_told_while_the_proof_of_a_table_takes_long(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, told_of_all: None
) -> None:
    told: list[Progress] = []
    with slow_proof(small) as let_go, open_connection(small, purpose="test") as other:
        fill(small, "CREATE TABLE two_more AS SELECT generate_series(1, 9000) AS i")

        def tell(step: Progress) -> None:
            told.append(step)
            if scalar(other, WAITING) and (step.total or 0) > step.done > 0:
                let_go()

        manifest = dump(small, LocalStore(tmp_path), tools=tools, on_progress=tell)

    assert "slow_to_prove" in [table.name for table in manifest.tables]
    proving = [step.done for step in told if step.phase == "proving the tables"]
    assert any(0 < n < max(proving) for n in proving)


def test_a_proof_that_takes_long_is_ended_by_an_interrupt(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, told_of_all: None
) -> None:
    store = LocalStore(tmp_path)
    with slow_proof(small), open_connection(small, purpose="test") as other:

        def interrupt(_step: Progress) -> None:
            if scalar(other, WAITING):
                raise TerminatedError

        with pytest.raises(TerminatedError):
            dump(small, store, tools=tools, on_progress=interrupt)

        # While the lock is still held that it waited for.
        deadline = time.monotonic() + 60
        while "casedb dump" in sessions(small):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert leftovers(store, small) == []


@pytest.mark.usefixtures("as_pruner")
def test_how_much_of_a_bucket_s_archive_is_read_back_is_told(
    server: Server, small: Conninfo, tools: PostgresTools, told_of_all: None
) -> None:
    fill(small, "CREATE TABLE random AS SELECT gen_random_uuid() FROM generate_series(1, 200000)")
    told: list[Progress] = []

    manifest = dump(
        small, store_in(server, server.new_bucket()), tools=tools, on_progress=told.append
    )

    size = manifest.files[DUMP].size_bytes
    reading = [step for step in told if step.phase == "reading the archive back"]
    assert (reading[0].done, reading[0].total) == (0, None)
    assert {step.total for step in reading[1:]} == {size}
    done = [step.done for step in reading[1:]]
    assert len(set(done)) > 2
    assert done == sorted(done)
    assert done[-1] == size
