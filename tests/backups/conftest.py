"""One sample database with everything in it, one dump of it and one drill, shared by the run."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg import sql

from backups import large_tables
from backups.drill import drill
from backups.dump import dump
from backups.manifest import MANIFEST, Manifest
from backups.reports import DrillReport
from backups.retention import Retention
from backups.stores import LocalStore, Store
from backups.stores.s3 import S3Store
from casedb import s3_streams
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.s3_model import parse_location
from casedb.seed import seed_demo
from casedb.tools import PostgresTools
from tests.s3.servers import SERVERS, Server, s3_server

SAMPLE = "sample db"
NOW = datetime.now(UTC)
EVERYTHING = Retention(keep_within=timedelta(0), keep_last=1)
"""Lets go of all but the newest."""


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


def store_in(server: Server, bucket: str, words: str = "") -> S3Store:
    return S3Store(parse_location(f"s3://{bucket}/some/where?endpoint={server.endpoint}{words}"))


def put_set(store: Store, made: Made, *, days: int = 0, commit: bool = True) -> str:
    """Write a copy of the sample's backup, `days` old."""
    taken_at = NOW - timedelta(days=days)
    label = f"{SAMPLE}-{taken_at:%Y%m%dT%H%M%SZ}"
    manifest = made.manifest.model_copy(update={"label": label, "started_at": taken_at})
    with store.lock(SAMPLE), store.new_set(SAMPLE, label) as new:
        for path in made.folder.iterdir():
            data = manifest.to_bytes() if path.name == MANIFEST else path.read_bytes()
            with new.create(path.name) as file:
                file.write(data)
        if commit:
            new.commit()
    return label


@pytest.fixture
def cases(database: Conninfo, tools: PostgresTools, tmp_path: Path) -> tuple[LocalStore, Manifest]:
    """A backup of the toolkit's own database with its demo data."""
    seed_demo(database.replace(user="case_seed"))
    store = LocalStore(tmp_path)
    return store, dump(database.replace(user="case_backup"), store, tools=tools)


def passed_drill(label: str, at: datetime, *, with_access: bool = True) -> DrillReport:
    """Return what a drill that passed would say, of a backup of nothing."""
    return DrillReport(
        label=label,
        outcome="passed",
        at=at,
        duration_s=1,
        phases_s={},
        tables=0,
        rows=0,
        sequences=0,
        catalog_rows=0,
        large_objects=0,
        tool_version="0",
        server_version="16.1",
        access_probed=with_access,
    )


def keys(store: S3Store) -> list[str]:
    return [v.key for v in store.bucket.listing("some/where/").versions if not v.is_marker]


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


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with s3_server(request.param) as started:
        yield started


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small backups have several."""
    monkeypatch.setattr(s3_streams, "PART_BYTES", 5 << 20)


@pytest.fixture(params=["plain", "versions", "lock"])
def store(server: Server, request: pytest.FixtureRequest) -> S3Store:
    kind = request.param
    return store_in(server, server.new_bucket(versions=kind == "versions", lock=kind == "lock"))


@pytest.fixture
def versioned(server: Server) -> S3Store:
    return store_in(server, server.new_bucket(versions=True))


@pytest.fixture
def aged(store: S3Store, made: Made, as_pruner: None) -> tuple[str, str]:
    """Two backups, of nine days ago and of today; EVERYTHING lets the first one go."""
    return put_set(store, made, days=9), put_set(store, made)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges of a few pages, so that small tables have several."""
    monkeypatch.setattr(large_tables.conditions, "__defaults__", (64 << 10,))


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns of small tables are put in order as well."""
    monkeypatch.setattr(large_tables, "ORDERED_FROM_BYTES", 0)
