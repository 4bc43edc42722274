"""Every field of a manifest is what the server, the programs and the files say themselves."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from backups.client_holes import warnings_of
from backups.dump import dump
from backups.manifest import MANIFEST, Manifest
from backups.progress import Progress
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.sqlfiles import folder
from casedb.tools import PostgresTools

pytestmark = pytest.mark.full_server
NAME = "facts of it"
SETUP = f"""
ALTER DATABASE "{NAME}" SET work_mem = '5MB';
ALTER DATABASE "{NAME}" CONNECTION LIMIT 7;
COMMENT ON DATABASE "{NAME}" IS 'It''s a fact';
ALTER ROLE sample_reader IN DATABASE "{NAME}" SET search_path = app, public;
ALTER DATABASE "{NAME}" OWNER TO sample_owner;
REVOKE ALL ON DATABASE "{NAME}" FROM PUBLIC;
GRANT CONNECT ON DATABASE "{NAME}" TO sample_reader WITH GRANT OPTION;
GRANT CONNECT ON DATABASE "{NAME}" TO case_backup;
CREATE SCHEMA app;
-- Not the version that a server installs by itself.
CREATE EXTENSION hstore VERSION '1.7';
CREATE COLLATION app.loose (provider = icu, locale = 'und-u-ks-level1');
CREATE TABLE app.numbered (n int GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 5), t text);
INSERT INTO app.numbered (t) SELECT 'text ' || i FROM generate_series(1, 12) AS i;
CREATE MATERIALIZED VIEW app.counted AS SELECT count(*) FROM app.numbered;
CREATE SEQUENCE app.unused MINVALUE 3;
SELECT lo_from_bytea(4711, 'one'), lo_from_bytea(4712, 'two');
"""


class Dumped:
    """The second of two dumps of a database, and what was seen meanwhile."""

    def __init__(self, target: Conninfo, tools: PostgresTools, root: Path) -> None:
        self.target, self.tools, self.store = target, tools, LocalStore(root / "store")
        self.first = dump(target, self.store, tools=tools, chain=root / "chain").label
        (self.size_bytes,) = self.ask("SELECT pg_database_size(current_database())")
        self.moments: list[tuple[datetime, str]] = [(datetime.now(UTC), "before")]
        self.exported: set[str] = set()
        self.label = dump(
            target, self.store, tools=tools, chain=root / "chain", on_progress=self.see
        ).label
        self.moments.append((datetime.now(UTC), "after"))
        # As it lies there: a restore has nothing else, and no model of ours is between.
        self.manifest = json.loads(self.path(self.label, MANIFEST).read_bytes())

    def see(self, progress: Progress) -> None:
        self.moments.append((datetime.now(UTC), progress.phase))
        if progress.phase == "proving the tables":
            self.exported |= set(self.ask("SELECT pg_ls_dir('pg_snapshots')"))

    def path(self, label: str, name: str) -> Path:
        return self.store.root / NAME / label / name

    def ask(self, query: str) -> list[Any]:
        """Return the rows, those of one column without it around them."""
        with connect(self.target, purpose="test") as connection:
            rows = connection.execute(query.encode()).fetchall()
        return [row[0] if len(row) == 1 else row for row in rows]

    def first_moment(self, phase: str) -> datetime:
        return next(at for at, seen in self.moments if seen == phase)


@pytest.fixture(scope="module")
def dumped(
    cluster: Conninfo,
    template: str,
    roles: None,
    tools: PostgresTools,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Dumped]:
    target = cluster.replace(dbname=NAME)
    ours, theirs = (sql.Identifier(name) for name in (NAME, template))
    with connect(cluster, purpose="test") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(ours, theirs))
    try:
        with connect(target, purpose="test") as connection:
            connection.execute(SETUP.encode())
        yield Dumped(target, tools, tmp_path_factory.mktemp("facts"))
    finally:
        with connect(cluster, purpose="test") as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(ours))


def versions(dumped: Dumped) -> dict[str, Any]:
    pg_dump = subprocess.check_output([dumped.tools["pg_dump"], "--version"], text=True)
    (number,) = dumped.ask("SHOW server_version_num")
    return {
        "schema_version": 1,
        "tool_version": metadata.version("casedb"),
        # "PostgreSQL 15.1 (Debian 15.1-1) on ..." and "pg_dump (PostgreSQL) 15.1 (Debian 15.1-1)"
        "server_version": dumped.ask("SELECT version()")[0].split()[1],
        "server_major": int(number) // 10000,
        "client_version": pg_dump.split()[2],
        "bootstrap_superuser": dumped.ask("SELECT 10::regrole::text")[0],
    }


def the_database(dumped: Dumped) -> dict[str, Any]:
    ((collate, ctype, version),) = dumped.ask(
        "SELECT datcollate, datctype, datcollversion FROM pg_database"
        " WHERE datname = current_database()"
    )

    def grant(grantee: str, privilege: str, *, grantable: bool = False) -> dict[str, Any]:
        return {"grantee": grantee, "privilege": privilege, "grantable": grantable}

    def setting(role: str | None, name: str, value: str) -> dict[str, Any]:
        return {"role": role, "name": name, "value": value}

    return {
        "database": NAME,
        "properties": {
            "owner": "sample_owner",
            "encoding": "UTF8",
            "locale_provider": "libc",
            "collate": collate,
            "ctype": ctype,
            "locale": None,
            "icu_rules": None,
            "collation_version": version,
            "connection_limit": 7,
            "comment": "It's a fact",
            "grants": [
                grant("case_backup", "CONNECT"),
                *(grant("sample_owner", what) for what in ("CONNECT", "CREATE", "TEMPORARY")),
                grant("sample_reader", "CONNECT", grantable=True),
            ],
            "settings": [
                setting(None, "work_mem", "5MB"),
                setting("sample_reader", "search_path", "app, public"),
            ],
        },
    }


def what_it_needs(dumped: Dumped) -> dict[str, Any]:
    roles = dumped.ask(
        "SELECT json_build_object('name', rolname, 'can_login', rolcanlogin,"
        " 'inherits', rolinherit, 'create_role', rolcreaterole, 'create_db', rolcreatedb,"
        " 'bypass_rls', rolbypassrls, 'replication', rolreplication, 'superuser', rolsuper,"
        " 'member_of', coalesce((SELECT json_agg(DISTINCT roleid::regrole::text)"
        " FROM pg_auth_members WHERE member = r.oid), '[]')) FROM pg_roles AS r"
        " WHERE rolname ~ '^case_' OR rolname IN"
        " ('sample_owner', 'sample_reader', 'sample_plain', 'sample_group')"
        ' ORDER BY rolname COLLATE "C"'
    )
    (loose,) = dumped.ask("SELECT collversion FROM pg_collation WHERE collname = 'loose'")
    assert loose
    return {
        "roles": roles,
        "extensions": [
            {"name": "hstore", "version": "1.7"},
            {"name": "plpgsql", "version": "1.0"},
        ],
        "collations": [
            {
                "name": "app.loose",
                "provider": "icu",
                "locale": "und-u-ks-level1",
                "version": loose,
                "actual_version": loose,
            }
        ],
    }


def what_it_holds(dumped: Dumped) -> dict[str, Any]:
    (objects,) = dumped.ask(
        "SELECT json_build_object('count', 2, 'hash_sum', sum(h)::text, 'hash_xor',"
        " bit_xor(h)::text) FROM (SELECT hash_record_extended(ROW(oid, lo_get(oid)), 0) AS h"
        " FROM pg_largeobject_metadata) AS o"
    )
    sequences = dumped.ask(
        "SELECT json_build_object('schema_name', schemaname, 'name', sequencename,"
        " 'last_value', coalesce(last_value, start_value), 'is_called', last_value IS NOT NULL,"
        " 'increment', increment_by) FROM pg_sequences"
        ' ORDER BY schemaname COLLATE "C", sequencename COLLATE "C"'
    )
    numbered = {"schema_name": "app", "name": "numbered_n_seq", "last_value": 60}
    unused = {"schema_name": "app", "name": "unused", "last_value": 3}
    assert {**numbered, "is_called": True, "increment": 5} in sequences
    assert {**unused, "is_called": False, "increment": 1} in sequences
    return {
        "large_objects": objects,
        "sequences": sequences,
        "lc_monetary": "C",
        "catalog_sha256": sha256(dumped.path(dumped.label, "catalog.json").read_bytes()),
    }


def where_it_stands(dumped: Dumped) -> dict[str, Any]:
    migrations = {
        path.stem: path.with_name(f"{path.stem}.rollback.sql").read_bytes()
        for path in sorted(folder("migrations").glob("*.sql"))
        if not path.stem.endswith(".rollback")
    }
    return {
        "migration_head": max(migrations),
        "migration_checksums": {
            name: sha256(b"%d %d\n%b\n%b" % (len(up), len(down), up, down))
            for name, down in migrations.items()
            for up in [folder("migrations").joinpath(f"{name}.sql").read_bytes()]
        },
        "label": dumped.label,
        "previous": {
            "label": dumped.first,
            "manifest_sha256": sha256(dumped.path(dumped.first, MANIFEST).read_bytes()),
            "stores": [f"file://{dumped.store.root}"],
        },
        # pg_dump and pg_dumpall have nothing to say.
        "warnings": list(warnings_of(dumped.tools.version)),
        "recipients": [],
    }


EXPECTED = (versions, the_database, what_it_needs, what_it_holds, where_it_stands)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("expected", EXPECTED)
def test_a_field_is_what_was_found_in_another_way(
    dumped: Dumped, expected: Callable[[Dumped], dict[str, Any]]
) -> None:
    wanted = expected(dumped)

    assert {name: dumped.manifest[name] for name in wanted} == wanted


def test_no_field_is_held_to_nothing(dumped: Dumped) -> None:
    here = {name for expected in EXPECTED for name in expected(dumped)}
    by_others = {"tables", "files", "started_at", "ended_at", "snapshot", "database_size_bytes"}

    assert here | by_others | {"own_sha256"} == set(Manifest.model_fields)


def test_its_times_are_those_of_the_snapshot_and_of_its_end(dumped: Dumped) -> None:
    started, ended = (dumped.manifest[name] for name in ("started_at", "ended_at"))
    assert started.endswith("Z")
    assert ended.endswith("Z")
    moments = [
        dumped.first_moment("writing the roles"),
        datetime.fromisoformat(started),
        dumped.first_moment("proving the tables"),
        dumped.first_moment("reading the archive back"),
        datetime.fromisoformat(ended),
        dumped.first_moment("after"),
    ]

    assert all(one < other for one, other in pairwise(moments)), moments
    # Of the moment when it began, in UTC; two dumps within a second wait for the next one.
    labelled = datetime.strptime(dumped.label, f"{NAME}-%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert dumped.first_moment("before") - timedelta(seconds=1) < labelled <= moments[1]


def test_its_snapshot_is_the_one_that_the_server_had_exported(dumped: Dumped) -> None:
    assert {dumped.manifest["snapshot"]} == dumped.exported


def test_its_sizes_and_checksums_are_those_of_the_files(dumped: Dumped) -> None:
    home = dumped.path(dumped.label, "")
    found = {}
    for path in home.iterdir():
        data = path.read_bytes()
        packed = path.suffix == ".zst"
        raw = len(subprocess.check_output(["zstd", "-dc", path])) if packed else None
        found[path.name] = {"size_bytes": len(data), "sha256": sha256(data), "raw_size_bytes": raw}
    del found[MANIFEST]
    own = dumped.manifest["own_sha256"]
    blank = (home / MANIFEST).read_text().replace(own, "")

    assert dumped.manifest["files"] == found
    assert own == sha256(blank.encode())
    # What PostgreSQL itself keeps in the database's folder comes and goes.
    assert dumped.manifest["database_size_bytes"] == pytest.approx(dumped.size_bytes, rel=0.05)


def test_its_tables_are_all_there_with_their_rows(dumped: Dumped) -> None:
    names = dumped.ask(
        "SELECT schemaname, tablename, 'table' FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') UNION ALL"
        " SELECT schemaname, matviewname, 'matview' FROM pg_matviews"
    )
    found = {
        (schema, name, kind): dumped.ask(f'SELECT count(*) FROM "{schema}"."{name}"')[0]
        for schema, name, kind in names
    }
    ((rows, total, xor),) = dumped.ask(
        "SELECT count(*), sum(h)::text, bit_xor(h)::text FROM"
        ' (SELECT hash_record_extended(ROW(n, t COLLATE "C"), 0) AS h FROM app.numbered) AS r'
    )
    numbered = {"schema_name": "app", "name": "numbered", "kind": "table", "rows": rows}

    tables = dumped.manifest["tables"]
    assert {(t["schema_name"], t["name"], t["kind"]): t["rows"] for t in tables} == found
    assert {**numbered, "hash_sum": total, "hash_xor": xor} in tables
