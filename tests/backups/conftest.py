"""One sample database with everything in it, one dump of it and one drill, shared by the run."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import sql

from backups.drill import drill
from backups.dump import dump
from backups.manifest import Manifest
from backups.records import DrillReport
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.tools import PostgresTools

SAMPLE = "sample db"


@dataclass(frozen=True)
class Made:
    """A store with one backup in it; whoever changes it takes a copy."""

    store: LocalStore
    manifest: Manifest

    @property
    def label(self) -> str:
        return self.manifest.label

    @property
    def folder(self) -> Path:
        return self.store.root / "sample db" / self.label

    def copy(self, root: Path) -> "Made":
        shutil.copytree(self.store.root, root)
        return Made(LocalStore(root), self.manifest)


@pytest.fixture(scope="session")
def roles(cluster: Conninfo) -> None:
    """The sample's roles, which belong to the whole server."""
    with connect(cluster, purpose="test") as connection:
        connection.execute(
            "CREATE ROLE sample_owner NOLOGIN; CREATE ROLE sample_reader LOGIN;"
            "CREATE ROLE sample_backup LOGIN BYPASSRLS; CREATE ROLE sample_plain LOGIN;"
            "CREATE ROLE sample_group; GRANT sample_group TO sample_reader WITH ADMIN OPTION;"
            "GRANT pg_read_all_data, pg_read_all_stats TO sample_backup;"
            "GRANT sample_owner TO sample_plain;"
            "ALTER ROLE sample_reader SET statement_timeout = '7s'"
        )


@pytest.fixture(scope="session")
def sample(cluster: Conninfo, roles: None) -> Conninfo:
    """The superuser's conninfo of the sample database; only read."""
    with connect(cluster, purpose="test") as connection:
        name = sql.Identifier(SAMPLE)
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 OWNER sample_owner").format(name)
        )
        for statement in (
            "REVOKE ALL ON DATABASE {} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {} TO sample_reader WITH GRANT OPTION",
            "GRANT CONNECT ON DATABASE {} TO sample_backup",
            'ALTER DATABASE {} SET search_path = "$user", app, public',
            "ALTER DATABASE {} SET casedb.mark = 'production'",
            "ALTER ROLE sample_reader IN DATABASE {} SET work_mem = '5MB'",
            "COMMENT ON DATABASE {} IS 'It''s a sample'",
        ):
            connection.execute(sql.SQL(statement).format(name))
    target = cluster.replace(dbname=SAMPLE)
    with connect(target, purpose="test") as connection:
        statements = Path(__file__).with_name("sample.sql").read_text()
        connection.execute(statements.encode())
        # pg_read_all_data does not reach large objects.
        for (number,) in connection.execute("SELECT oid FROM pg_largeobject_metadata").fetchall():
            connection.execute(
                sql.SQL("GRANT SELECT ON LARGE OBJECT {} TO sample_backup").format(number)
            )
    return target


@pytest.fixture(scope="session")
def made(sample: Conninfo, tools: PostgresTools, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One dump of the sample, taken by a role like case_backup."""
    store = LocalStore(tmp_path_factory.mktemp("shared") / "store")
    return Made(store, dump(sample.replace(user="sample_backup"), store, tools=tools))


@pytest.fixture(scope="session")
def drilled(
    made: Made, tools: PostgresTools, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Made, DrillReport]:
    """A copy of that store after a drill, and the drill's report."""
    copy = made.copy(tmp_path_factory.mktemp("drilled") / "store")
    return copy, drill(copy.store, copy.label, tools=tools, with_access=False)


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Made:
    """A copy of the store to break."""
    return made.copy(tmp_path / "store")


@pytest.fixture
def small(empty_database: Conninfo, roles: None) -> Conninfo:
    """The superuser's conninfo of a database with two small tables."""
    with connect(empty_database, purpose="test") as connection:
        connection.execute(
            "CREATE TABLE one AS SELECT i FROM generate_series(1, 1000) AS i;"
            "CREATE TABLE two AS SELECT i::text AS t FROM generate_series(1, 1000) AS i"
        )
    return empty_database
