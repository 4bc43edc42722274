"""A server that can be killed, the applier that is killed, and the table of what came of it.

Runs only when this folder is named: `make kill-matrix`. KILL_REPEATS=20 repeats the races.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql
from psycopg.rows import TupleRow

from casedb import cluster as server_cluster
from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ToolFailedError
from casedb.roles import apply_roles
from casedb.tools import PostgresTools
from casedb.unprivileged import Launcher, launcher

ROWS = pytest.StashKey[list[tuple[str, ...]]]()
NOTES = pytest.StashKey[list[str]]()
HEADINGS = ("kind", "killed when", "fault", "proven by", "left behind", "retry")
ROOT = Path(__file__).parents[2]
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

# The real front door; only the progress it shows is replaced, by one that stops at a step.
APPLIER = """
import contextlib, sys, time
from pathlib import Path
from casedb.cli import migrate
from casedb.cli.main import main

stop_at, marker = sys.argv[1], Path(sys.argv[2])

@contextlib.contextmanager
def progress(what):
    def tell(step):
        if step == stop_at:
            marker.touch()
            while marker.exists():
                time.sleep(0.02)
    yield tell

migrate.progress = progress
main(sys.argv[3:])
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if any(
        Path(arg.partition("::")[0]).resolve() in (here, *here.iterdir()) for arg in config.args
    ):
        return
    ours = [item for item in items if here in item.path.parents]
    if ours:
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if here not in item.path.parents]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    unsorted: list[tuple[str, ...]] = terminalreporter.config.stash.get(ROWS, [])
    rows = sorted(unsorted)
    notes = terminalreporter.config.stash.get(NOTES, [])
    if not rows and not notes:
        return
    table = [HEADINGS, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADINGS))]
    terminalreporter.section("kill matrix")
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        terminalreporter.line("  ".join(cells).rstrip())
    for note in notes:
        terminalreporter.line(note)


@pytest.fixture
def rows_key() -> pytest.StashKey[list[tuple[str, ...]]]:
    """Where a cell leaves its row of the table."""
    return ROWS


@pytest.fixture
def notes_key() -> pytest.StashKey[list[str]]:
    """Where a measurement leaves its line below the table."""
    return NOTES


@dataclass
class Server:
    """A cluster of its own, which survives being killed."""

    tools: PostgresTools
    home: Path
    launcher: Launcher
    admin: Conninfo = field(init=False)

    def __post_init__(self) -> None:
        self.admin = Conninfo(
            {"host": str(self.home), "port": "5432", "dbname": "postgres", "user": "postgres"}
        )

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    def start(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                server_cluster.start(
                    self.tools, self.data_dir, log=self.home / "server.log", launcher=self.launcher
                )
                return
            except ToolFailedError:
                # The killed server's own processes still hold its memory for a moment.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def kill(self) -> int:
        """Kill the server, no shutdown, no checkpoint; return the pid that is gone."""
        found = server_cluster.postmaster(self.data_dir)
        assert found
        server_cluster.stop(self.data_dir, how=signal.SIGKILL)
        # A zombie still answers kill(pid, 0), by which the next server would take it for alive.
        with suppress(ChildProcessError):
            os.waitpid(found.pid, 0)
        assert server_cluster.postmaster(self.data_dir) is None
        return found.pid


@pytest.fixture(scope="session")
def server(tools: PostgresTools) -> Iterator[Server]:
    """A running server that a test may kill; it has to leave it running."""
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        home = Path(name)
        run_as = launcher()
        run_as.give(home)
        usable = run_as.reachable_tools(tools, home)
        made = Server(usable, home, run_as)
        server_cluster.create(
            usable,
            made.data_dir,
            launcher=run_as,
            superuser="postgres",
            password=None,
            durable=False,
        )
        settings = server_cluster.Settings(
            home, 5432, "", {"fsync": "off", "autovacuum": "off", "max_connections": "60"}
        )
        server_cluster.configure(made.data_dir, settings, launcher=run_as)
        made.start()
        try:
            yield made
        finally:
            server_cluster.stop(made.data_dir, how=signal.SIGQUIT)


@pytest.fixture(scope="session")
def kill_template(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
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

    server: Server
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
        return self._start(["-c", APPLIER, stop_at, str(self.marker), *self.command(*words)])

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
def site(server: Server, kill_template: str, tmp_path: Path) -> Iterator[Site]:
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
