"""What a terminal shows of a dump while it goes on."""

from pathlib import Path

import pytest

from casedb.database import open_connection
from tests.cli.conftest import Casedb
from tests.cli.terminal import on_a_terminal

# The proof takes tables in the order of their names. With the first and the third it waits until a
# lock is given back, and not for the lock itself: a dump's patience with those is short. pg_dump,
# which casts nothing, does not wait.
TABLES = """
CREATE SCHEMA zz;
CREATE TYPE zz.slow AS (n int);
CREATE FUNCTION zz.waits(s zz.slow) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN
        WHILE EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objid = s.n)
            LOOP PERFORM pg_catalog.pg_sleep(0.05); END LOOP;
        RETURN 'slow';
    END $$;
CREATE CAST (zz.slow AS text) WITH FUNCTION zz.waits(zz.slow);
CREATE TABLE zz.a AS SELECT ROW(4711)::zz.slow AS s;
CREATE TABLE zz.b AS SELECT md5(i::text) AS t FROM generate_series(1, 20000) AS i;
CREATE TABLE zz.c AS SELECT ROW(4712)::zz.slow AS s;
CREATE TABLE zz.d AS SELECT md5(i::text) AS t FROM generate_series(1, 20000) AS i;
SELECT pg_advisory_lock(4711), pg_advisory_lock(4712);
"""
AMOUNTS = r"dump: proving the tables +\d+% of [\d.]+ [KM]iB, [\d.]+ [KM]iB/s "
ELAPSED, LEFT = r"\d:\d\d:\d\d ", r"\d:\d\d:\d\d"


@pytest.mark.parametrize("words", [(), ("--copy-format", "text")], ids=["default", "text"])
def test_a_terminal_shows_rate_and_time_left_while_tables_are_read(
    brought_up: Casedb, tmp_path: Path, words: tuple[str, ...]
) -> None:
    admin = brought_up.server.conninfo(dbname="case_management", user="postgres")
    with open_connection(admin, purpose="holder") as holder:
        holder.execute(TABLES.encode())
        try:
            with on_a_terminal(
                brought_up, "dump", "--store", str(tmp_path), *words, TERM="xterm", COLUMNS="100"
            ) as shown:
                shown.read_until(AMOUNTS + ELAPSED)
                holder.execute("SELECT pg_advisory_unlock(4711)")
                shown.read_until(AMOUNTS + ELAPSED + LEFT)
                holder.execute("SELECT pg_advisory_unlock(4712)")
                shown.read_until(r"case_management-\w+: \d+ tables")
                assert shown.process.wait(60) == 0
        finally:
            holder.execute("SELECT pg_advisory_unlock_all()")
            holder.execute("DROP SCHEMA zz CASCADE")
