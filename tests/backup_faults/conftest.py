"""A database to back up, a store with one good backup, and a disk that can be filled.

Runs only when this folder is named: `make fault-matrix`. A run of all of it also compares its cells
and what came of each with the table in docs/backups.md; FAULT_MATRIX_UPDATE=1 writes that.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from backups.dump import dump
from backups.stores import LocalStore
from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.marks import Mark, set_mark
from casedb.roles import apply_roles
from casedb.seed import seed_demo
from casedb.sqlfiles import folder
from casedb.tools import PostgresTools
from tests.backup_faults import page
from tests.backup_faults.bucket import Bucketful, with_bucket
from tests.backup_faults.site import DATABASE, First, Site, end, make_site
from tests.matrix.disk import SmallDisk, small_disk
from tests.matrix.server import KillableServer, killable_server
from tests.matrix.table import only_when_named, print_table, rows_left
from tests.s3.servers import Server, ceph, why_no_ceph

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "backups.md"
HEADINGS = ("verb", "phase", "fault", "proven by", "outcome", "next run")
# Random, so that it takes as much room compressed as it should, and time to be written: one by a
# reader of large tables, two by pg_dump, which alone writes arrays.
PADDING = """
    CREATE SCHEMA padding;
    CREATE TABLE padding.one AS
        SELECT n, decode(string_agg(md5(random()::text || n || k), ''), 'hex') AS noise
        FROM generate_series(1, 400) AS n, generate_series(1, 3000) AS k GROUP BY n;
    CREATE TABLE padding.two AS
        SELECT n, ARRAY[noise] AS noise FROM padding.one WHERE n <= 200;
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    only_when_named(HERE, config, items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    print_table(terminalreporter, "fault matrix", HEADINGS, HERE)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Make a run of the whole matrix fail when the docs show other cells, or other outcomes."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    chosen = [Path(arg).resolve() for arg in session.config.args]
    narrowed = session.config.option.keyword or chosen != [HERE]
    # A worker has no reporter of its own, and what did not pass left no row.
    if (
        reporter is None
        or narrowed
        or {"failed", "error", "skipped", "deselected"} & reporter.stats.keys()
    ):
        return
    rows, text = rows_left(reporter, HERE), PAGE.read_text()
    if os.environ.get("FAULT_MATRIX_UPDATE"):
        PAGE.write_text(page.written(text, rows))
    elif differ := page.cells_of(rows) ^ page.cells_in(text):
        reporter.write_line(
            "docs/backups.md shows another matrix (FAULT_MATRIX_UPDATE=1 make fault-matrix writes "
            f"it); in one of them only: {sorted(differ)}",
            red=True,
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def server(tools: PostgresTools) -> Iterator[KillableServer]:
    """A running server that a test may kill; it has to leave it running."""
    with killable_server(tools) as made:
        yield made


@pytest.fixture(scope="session")
def source(server: KillableServer) -> Conninfo:
    """The superuser's conninfo of a database with all migrations, the demo, and some megabytes."""
    target = server.admin.replace(dbname=DATABASE)
    with connect(server.admin, purpose="test") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        set_mark(connection, DATABASE, Mark.DEVELOPMENT)
    apply_roles(target)
    migrations.apply(target.replace(user="case_migrator"), source=folder("migrations"))
    seed_demo(target.replace(user="case_seed"))
    with connect(target, purpose="test") as connection:
        connection.execute(PADDING.encode())
        connection.execute("CHECKPOINT")
    return target


@pytest.fixture(scope="session")
def first(
    source: Conninfo, server: KillableServer, tmp_path_factory: pytest.TempPathFactory
) -> First:
    home = tmp_path_factory.mktemp("first")
    made = dump(
        source.replace(user="case_backup"),
        LocalStore(home / "store"),
        tools=server.tools,
        chain=home / "chain",
    )
    return First(home / "store", home / "chain", made.label)


@pytest.fixture
def site(server: KillableServer, source: Conninfo, first: First, tmp_path: Path) -> Iterator[Site]:
    """A store in a folder."""
    made = make_site(server, source, first, tmp_path, tmp_path / "store")
    yield made
    end(made)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system that holds a few backups."""
    with small_disk(tmp_path / "disk", 192) as made:
        yield made


@pytest.fixture
def site_on_disk(
    server: KillableServer, source: Conninfo, first: First, tmp_path: Path, disk: SmallDisk
) -> Iterator[Site]:
    """A store on that file system."""
    made = make_site(server, source, first, tmp_path, disk.path / "store")
    yield made
    end(made)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """A real S3 server; a test that kills it has to leave it running."""
    if reason := why_no_ceph():
        pytest.skip(reason)
    with ceph() as started:
        yield started


@pytest.fixture
def bucketful(site: Site, s3_server: Server, as_pruner: None) -> Iterator[Bucketful]:
    """A store in a bucket; a folder beside it has the same first backup."""
    with with_bucket(site, s3_server) as made:
        yield made


@pytest.fixture
def bucketful_on_disk(
    site_on_disk: Site, s3_server: Server, as_pruner: None
) -> Iterator[Bucketful]:
    """The same, where the folder is on that file system."""
    with with_bucket(site_on_disk, s3_server) as made:
        yield made
