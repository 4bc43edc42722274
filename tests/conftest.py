"""Shared fixtures: one throwaway cluster a run, one template database, a clone of it per test.

pytest                                          the embedded PostgreSQL 16
pytest --pg-bin /usr/lib/postgresql/15/bin      another one
"""

import os
import signal
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from casedb import migrations
from casedb.conninfo import Conninfo, libpq_variables
from casedb.database import connect
from casedb.marks import Mark, set_mark
from casedb.roles import apply_roles
from casedb.sqlfiles import folder
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, wheel_tools
from tests.majors import tools_at

# Under nohup, or in the background of a script, these are ignored, and a child that a test wants to
# interrupt would inherit that.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        _is_interrupt = _number == signal.SIGINT
        signal.signal(_number, signal.default_int_handler if _is_interrupt else signal.SIG_DFL)

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("casedb", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("casedb")

TEMPLATE = "case_management"
_IN_CI = os.environ.get("CI") == "true"
_numbers = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pg-bin", help="Folder of the PostgreSQL programs to test with.")


def pytest_report_header(config: pytest.Config) -> str:
    tools = _tools(config)
    return f"postgresql: {tools.version} from {tools.source} ({tools.bindir})"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tools = _tools(config)
    left_out = [
        item
        for item in items
        if (tools.source == "wheel" and item.get_closest_marker("full_server"))
        or (tools.major < 16 and item.get_closest_marker("since_16"))
        or (tools.major < 17 and item.get_closest_marker("since_17"))
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skip is a failure: there, what a test needs has been installed."""
    report = yield
    if _IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


def _tools(config: pytest.Config) -> PostgresTools:
    chosen = config.getoption("--pg-bin")
    return tools_at(Path(chosen)) if chosen else wheel_tools(16)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the server or the settings of whoever runs it."""
    for name in list(os.environ):
        if name in libpq_variables() or name.startswith("CASEDB_"):
            monkeypatch.delenv(name)
    for name in ("DATABASE_URL", "PG_BIN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def tools(request: pytest.FixtureRequest) -> PostgresTools:
    """The PostgreSQL programs under test."""
    return _tools(request.config)


@pytest.fixture(scope="session")
def cluster(tools: PostgresTools) -> Iterator[Conninfo]:
    """The superuser's conninfo on a throwaway server."""
    with throwaway_cluster(tools) as admin:
        yield admin


@pytest.fixture(scope="session")
def template(cluster: Conninfo) -> str:
    """The name of a database with roles and all migrations, marked development; only cloned."""
    with connect(cluster, purpose="test template") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        set_mark(connection, TEMPLATE, Mark.DEVELOPMENT)
    admin = cluster.replace(dbname=TEMPLATE)
    apply_roles(admin)
    migrations.apply(admin.replace(user="case_migrator"), source=folder("migrations"))
    return TEMPLATE


@pytest.fixture
def database(cluster: Conninfo, template: str) -> Iterator[Conninfo]:
    """The superuser's conninfo of a fresh clone of the template, gone after the test."""
    yield from _new_database(cluster, template)


@pytest.fixture
def empty_database(cluster: Conninfo) -> Iterator[Conninfo]:
    """The superuser's conninfo of a new, empty database, gone after the test."""
    yield from _new_database(cluster, None)


def _new_database(cluster: Conninfo, template: str | None) -> Iterator[Conninfo]:
    name = f"test_{next(_numbers)}"
    with connect(cluster, purpose="test") as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template or "template0")
            )
        )
        if template:
            # A clone brings the tables along, but not what belongs to the database itself.
            set_mark(connection, name, Mark.DEVELOPMENT)
            apply_roles(cluster.replace(dbname=name))
    yield cluster.replace(dbname=name)
    with connect(cluster, purpose="test") as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def as_pruner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process do everything with a bucket."""
    # Not for every run of a single test: it brings boto3.
    from benchmarks.ceph import PRUNER

    for name, value in PRUNER.items():
        monkeypatch.setenv(name, value)
