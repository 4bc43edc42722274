"""What few databases have is in the fingerprint, and what was granted on the server's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backups import fingerprint
from backups.content import SETTINGS
from backups.drill import drill
from backups.dump import dump
from backups.manifest import CATALOG, GLOBALS, MANIFEST
from backups.snapshot import prepare_session
from backups.stores import LocalStore
from backups.streams import HashingWriter
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import DifferenceError
from casedb.tools import PostgresTools
from tests.backups.conftest import Made

RARE = "rare"

CHANGES = [
    ("ALTER DOMAIN app.codes SET DEFAULT '{a}'", "array domain app.codes"),
    ("DROP DOMAIN app.codes", "array domain app.codes is missing"),
    ("DROP CAST (app.pair AS text)", "cast (app.pair AS pg_catalog.text) is missing"),
    (
        "ALTER OPERATOR app.=~ (int, int) SET (RESTRICT = eqsel)",
        "operator app.=~(integer,integer)",
    ),
    ("ALTER OPERATOR CLASS app.backwards USING btree OWNER TO rare_reader", "operator class"),
    (
        "ALTER OPERATOR FAMILY app.backwards USING btree ADD FUNCTION 1 (int8, int4) btint84cmp",
        "operator family app.backwards USING btree",
    ),
    ("ALTER COLLATION app.bytes OWNER TO rare_reader", "collation app.bytes"),
    ("ALTER CONVERSION app.latin OWNER TO rare_reader", "conversion app.latin"),
    ("ALTER TEXT SEARCH DICTIONARY app.plain (accept = true)", "text search dictionary app.plain"),
    (
        "ALTER TEXT SEARCH CONFIGURATION app.words DROP MAPPING FOR asciiword",
        "text search configuration app.words",
    ),
    ("DROP ACCESS METHOD heap_too", "access method heap_too is missing"),
    (
        "ALTER FOREIGN DATA WRAPPER elsewhere OPTIONS (SET debug 'yes')",
        "foreign-data wrapper elsewhere",
    ),
    ("ALTER SERVER afar OPTIONS (SET host 'other')", "server afar"),
    ("ALTER SERVER afar OWNER TO rare_reader", "server afar"),
    ("REVOKE USAGE ON FOREIGN SERVER afar FROM rare_reader", "grant server afar"),
    ("DROP USER MAPPING FOR rare_reader SERVER afar", "user mapping rare_reader on server afar"),
    (
        "ALTER FOREIGN TABLE app.remote OPTIONS (SET table_name 'x')",
        "foreign table options app.remote",
    ),
    (
        "ALTER FOREIGN TABLE app.remote ALTER a OPTIONS (SET name 'x')",
        "foreign table options app.remote",
    ),
    ("ALTER PUBLICATION told SET (publish = 'delete')", "publication details told"),
    ("ALTER PUBLICATION retold DROP TABLES IN SCHEMA app", "publication details retold"),
    (
        "ALTER PUBLICATION told SET TABLE app.cases (id) WHERE (id > 3)",
        "publication details told",
    ),
    ("ALTER PUBLICATION told SET TABLE app.cases (id, title)", "publication details told"),
    ("ALTER SUBSCRIPTION heard OWNER TO rare_super", "subscription heard"),
    ("ALTER TABLE app.cases ALTER title SET STATISTICS 100", "column statistics app.cases.title"),
    ("ALTER LARGE OBJECT 4711 OWNER TO rare_reader", "large objects owner rare_reader"),
    ("REVOKE SELECT ON LARGE OBJECT 4711 FROM rare_reader", "large objects owner postgres"),
    ("SELECT lo_unlink(4712)", "large objects owner postgres"),
    (
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) TO PUBLIC",
        "grant function pg_catalog.pg_sleep(double precision) is missing",
    ),
    (
        "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep_for(interval) FROM PUBLIC",
        "grant function pg_catalog.pg_sleep_for(interval) is not in the backup",
    ),
    (
        "GRANT SELECT ON pg_catalog.pg_authid TO rare_reader",
        "grant table pg_catalog.pg_authid is not in the backup",
    ),
    (
        "REVOKE SELECT (rolpassword) ON pg_catalog.pg_authid FROM rare_reader",
        "grant table column pg_catalog.pg_authid.rolpassword is missing",
    ),
    ("GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC", "grant language plpgsql is missing"),
    ("GRANT CREATE ON SCHEMA pg_catalog TO rare_reader", "grant schema pg_catalog"),
]


@pytest.fixture(scope="session")
def rare(cluster: Conninfo) -> Iterator[Conninfo]:
    """The superuser's conninfo of a database of rare things; only read."""
    with connect(cluster, purpose="test") as connection:
        connection.execute("CREATE ROLE rare_reader; CREATE ROLE rare_super SUPERUSER")
        connection.execute("CREATE DATABASE rare")
    target = cluster.replace(dbname=RARE)
    with connect(target, purpose="test") as connection:
        connection.execute(Path(__file__).with_name("rare.sql").read_bytes())
    yield target
    with connect(target, purpose="test") as connection:
        # A subscription holds its database, and the roles those of all tests on the server.
        connection.execute("ALTER SUBSCRIPTION heard SET (slot_name = NONE)")
        connection.execute("DROP SUBSCRIPTION heard")
    with connect(cluster, purpose="test") as connection:
        connection.execute("DROP DATABASE rare WITH (FORCE)")
        connection.execute("DROP ROLE rare_reader, rare_super")


@pytest.fixture(scope="session")
def rare_made(
    rare: Conninfo, tools: PostgresTools, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    store = LocalStore(tmp_path_factory.mktemp("rare") / "store")
    return Made(store, dump(rare, store, tools=tools))


@pytest.fixture
def rare_copy(rare_made: Made, tmp_path: Path) -> Path:
    rare_made.copy(tmp_path / "store")
    return tmp_path / "store" / RARE / rare_made.label


def with_content(folder: Path, made: Made, name: str, data: bytes) -> None:
    """Put a file into a set, and every checksum right."""
    with (folder / name).open("wb") as file:
        written = HashingWriter(file)
        written.write(data)
    changed: dict[str, object] = {"files": {**made.manifest.files, name: written.facts()}}
    if name == CATALOG:
        changed["catalog_sha256"] = fingerprint.sha256(fingerprint.from_bytes(data))
    (folder / MANIFEST).write_bytes(made.manifest.model_copy(update=changed).to_bytes())


def drill_of(folder: Path, made: Made, tools: PostgresTools) -> tuple[str, ...]:
    store = LocalStore(folder.parents[1])
    return drill(store, made.label, tools=tools, with_access=False).differences


@pytest.mark.parametrize(("change", "named"), CHANGES)
def test_a_change_is_a_difference(rare: Conninfo, change: str, named: str) -> None:
    with connect(rare, purpose="test") as connection, connection.transaction(force_rollback=True):
        prepare_session(connection, SETTINGS)
        before = fingerprint.read_fingerprint(connection, ())
        connection.execute(change.encode())
        prepare_session(connection, SETTINGS)
        after = fingerprint.read_fingerprint(connection, ())

    found = fingerprint.differences(before, after)
    assert any(named in line for line in found), found


def test_every_kind_of_the_second_part_is_known_to_be_of_it(rare: Conninfo) -> None:
    with connect(rare, purpose="test") as connection:
        prepare_session(connection, SETTINGS)
        seen = {fact.kind for fact in fingerprint.read_fingerprint(connection, ())}

    first = {"schema", "table", "column", "constraint", "index", "function", "type", "domain"}
    first |= {"view", "sequence", "sequence values", "foreign table", "extension", "publication"}
    assert seen - first - {"comment"} <= fingerprint.SECOND_PART
    # These are not to be had without a library.
    assert fingerprint.SECOND_PART - seen == {
        "language",
        "security label",
        "text search parser",
        "text search template",
        "transform",
    }


def test_all_of_it_is_restored(rare_made: Made, rare_copy: Path, tools: PostgresTools) -> None:
    assert drill_of(rare_copy, rare_made, tools) == ()


def test_a_backup_of_before_is_compared_as_far_as_it_tells(
    rare_made: Made, rare_copy: Path, tools: PostgresTools
) -> None:
    facts = fingerprint.from_bytes((rare_copy / CATALOG).read_bytes())
    before = [fact for fact in facts if fact.kind not in fingerprint.SECOND_PART]
    with_content(rare_copy, rare_made, CATALOG, fingerprint.to_bytes(before))

    assert drill_of(rare_copy, rare_made, tools) == ()


def test_who_was_made_a_member_after_the_dump_fails_the_drill(
    rare_made: Made, rare_copy: Path, tools: PostgresTools
) -> None:
    added = "CREATE ROLE backdoor LOGIN; GRANT rare_reader TO backdoor;\n"
    data = (rare_copy / GLOBALS).read_bytes() + added.encode()
    with_content(rare_copy, rare_made, GLOBALS, data)

    with pytest.raises(DifferenceError) as caught:
        drill_of(rare_copy, rare_made, tools)

    named = "membership backdoor in rare_reader is not in the backup"
    assert named in (caught.value.detail or "")


def test_roles_are_made_and_nothing_is_run_on_the_machine(
    rare_made: Made, rare_copy: Path, tools: PostgresTools, tmp_path: Path
) -> None:
    """psql would take a line that begins with a backslash for a command of its own."""
    data = (rare_copy / GLOBALS).read_bytes() + f"\\! touch {tmp_path}/run\n".encode()
    with_content(rare_copy, rare_made, GLOBALS, data)

    with pytest.raises(DifferenceError, match="does not restore") as caught:
        drill_of(rare_copy, rare_made, tools)

    assert "syntax error" in (caught.value.detail or "")
    assert not (tmp_path / "run").exists()
