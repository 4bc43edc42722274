"""A server that can be killed, the applier that is killed, and the table of what came of it.

Runs only when this folder is named: `make kill-matrix`. KILL_REPEATS=20 repeats the races.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql
from psycopg.rows import TupleRow

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.roles import apply_roles
from casedb.tools import PostgresTools
from tests.matrix.server import KillableServer, killable_server
from tests.matrix.table import only_when_named, print_table

HERE = Path(__file__).parent
HEADINGS = ("kind", "killed when", "fault", "proven by", "left behind", "retry")
ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "tests" / "matrix" / "driver.py"
TEMPLATE = "kill_template"
_numbers = count(1)

# What the migrations under test call to stop at a place; and what stops them before the mark.
PAUSE = """
    CREATE TABLE public.pausing (place text PRIMARY KEY);
    GRANT SELECT ON public.pausing TO PUBLIC;
    CREATE FUNCTION public.pause(place text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_sleep(120) FROM public.pausing AS p WHERE p.place = pause.place;
    END $$;
    GRANT EXECUTE ON FUNCTION public.pause(text) TO PUBLIC;
    CREATE FUNCTION public.pause_before_mark() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM public.pause('mark');
        RETURN new;
    END $$;
    GRANT EXECUTE ON FUNCTION public.pause_before_mark() TO PUBLIC;
    CREATE TRIGGER pause BEFORE INSERT ON ops._yoyo_log
        FOR EACH ROW EXECUTE FUNCTION public.pause_before_mark();
    INSERT INTO public.trees SELECT n, 'oak' FROM generate_series(1, 5000) AS n;
"""
TREES = "CREATE TABLE public.trees (id int PRIMARY KEY, name text);"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    only_when_named(HERE, config, items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    print_table(terminalreporter, "kill matrix", HEADINGS, HERE)


@pytest.fixture(scope="session")
def server(tools: PostgresTools) -> Iterator[KillableServer]:
    """A running server that a test may kill; it has to leave it running."""
    with killable_server(tools) as made:
        yield made


@pytest.fixture(scope="session")
def kill_template(server: KillableServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the roles, one table, and the places to stop at."""
    source = tmp_path_factory.mktemp("template")
    (source / "0001-create-trees.sql").write_text(TREES)
    with connect(server.admin, purpose="test") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    target = server.admin.replace(dbname=TEMPLATE)
    apply_roles(target)
    migrations.apply(target.replace(user="case_migrator"), source=source)
    with connect(target, purpose="test") as connection:
        connection.execute(PAUSE.encode())
        connection.execute("CHECKPOINT")
    return TEMPLATE


@dataclass
class Site:
    """One database, one folder of migrations, and whoever works on them."""

    server: KillableServer
    target: Conninfo
    """As the superuser."""
    source: Path
    marker: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def command(self, *words: str) -> list[str]:
        conninfo = f"host={self.server.home} port=5432"
        return [
            "migrate",
            "apply",
            f"--conninfo={conninfo}",
            f"--database={self.target.dbname}",
            f"--source={self.source}",
            *words,
        ]

    def _start(self, argv: list[str]) -> "subprocess.Popen[str]":
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=ROOT,
            env={**kept, "PG_BIN": str(self.server.tools.bindir)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def start(self, *words: str, stop_at: str = "nowhere") -> "subprocess.Popen[str]":
        """Start an applier that stops at the step `stop_at`."""
        place = f"step:{stop_at}" if stop_at != "nowhere" else stop_at
        return self._start([str(DRIVER), place, str(self.marker), *self.command(*words)])

    def apply(self, *words: str) -> tuple[int, str, float]:
        """Run the plain command; return its exit code, what it printed, and the seconds it took."""
        began = time.monotonic()
        process = self._start(["-m", "casedb", *self.command(*words)])
        out, err = process.communicate(timeout=120)
        return process.returncode, out + err, time.monotonic() - began

    def admin(self) -> Connection[TupleRow]:
        return psycopg.connect(self.target.dsn, autocommit=True, application_name="kill matrix")

    def ask(self, query: str) -> Any:
        with self.admin() as connection:
            row = connection.execute(query.encode()).fetchone()
            return row[0] if row else None

    def execute(self, statement: str) -> None:
        with self.admin() as connection:
            connection.execute(statement.encode())


@pytest.fixture
def site(server: KillableServer, kill_template: str, tmp_path: Path) -> Iterator[Site]:
    """A fresh clone of the template, and its folder of migrations."""
    name = f"kill_{next(_numbers)}"
    with connect(server.admin, purpose="test") as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(kill_template)
            )
        )
    target = server.admin.replace(dbname=name)
    apply_roles(target)
    source = tmp_path / "migrations"
    source.mkdir()
    (source / "0001-create-trees.sql").write_text(TREES)
    made = Site(server, target, source, tmp_path / "stopped")
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
    with connect(server.admin, purpose="test") as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
