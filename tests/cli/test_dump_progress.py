"""What a terminal shows of a dump while it goes on."""

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from casedb.database import open_connection
from tests.cli.conftest import Casedb

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
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.mark.parametrize("words", [(), ("--copy-format", "text")], ids=["default", "text"])
def test_a_terminal_shows_rate_and_time_left_while_tables_are_read(
    brought_up: Casedb, tmp_path: Path, words: tuple[str, ...]
) -> None:
    admin = brought_up.server.conninfo(dbname="case_management", user="postgres")
    master, terminal = pty.openpty()
    with open_connection(admin, purpose="holder") as holder:
        holder.execute(TABLES.encode())
        process = subprocess.Popen(
            brought_up.argv("dump", "--store", str(tmp_path), *words),
            cwd=brought_up.folder,
            env=brought_up.environ(TERM="xterm", COLUMNS="100"),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        try:
            read_until(master, AMOUNTS + ELAPSED)
            holder.execute("SELECT pg_advisory_unlock(4711)")
            read_until(master, AMOUNTS + ELAPSED + LEFT)
            holder.execute("SELECT pg_advisory_unlock(4712)")
            read_until(master, r"case_management-\w+: \d+ tables")
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
            os.close(master)
            holder.execute("SELECT pg_advisory_unlock_all()")
            holder.execute("DROP SCHEMA zz CASCADE")


def read_until(master: int, wanted: str) -> None:
    """Read what the terminal is sent until there is what the pattern `wanted` says."""
    seen = ""
    deadline = time.monotonic() + 120
    while not re.search(wanted, ESCAPES.sub("", seen)):
        assert time.monotonic() < deadline, seen[-2000:]
        if select.select([master], [], [], 1)[0]:
            seen += os.read(master, 4096).decode(errors="replace")
