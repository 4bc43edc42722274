"""A manifest has every collation that its database relies on; where another sorts, that is told."""

import json
from pathlib import Path

import pytest

from backups.attempt import Wish, plan_restore
from backups.catalog import read_backup, read_manifest
from backups.drill import drill
from backups.dump import dump
from backups.manifest import MANIFEST, CollationFacts, Manifest, parse_manifest
from backups.restore import restore
from backups.sealing import new_key
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import UnverifiedError
from casedb.tools import PostgresTools
from tests.backups.test_locales import Make, make, run

__all__ = ["make"]
pytestmark = pytest.mark.full_server
LIBC = "LOCALE 'C.UTF-8'"
USED = (
    "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1')",
    'CREATE TABLE plain (w text PRIMARY KEY, c text COLLATE "C", n name)',
    'CREATE TABLE by_column (w text COLLATE "de-x-icu")',
    'CREATE INDEX by_index ON plain (w COLLATE "fr-x-icu")',
    'CREATE DOMAIN by_domain AS text COLLATE "da-x-icu"',
    "ALTER TABLE plain ADD CHECK (w < 'zz' COLLATE \"sv-x-icu\")",
    'CREATE TABLE by_partition (w text) PARTITION BY RANGE (w COLLATE "nb-x-icu")',
    'CREATE TYPE by_range AS RANGE (subtype = text, collation = "it-x-icu")',
    'CREATE VIEW by_view AS SELECT w FROM plain ORDER BY w COLLATE "es-x-icu"',
    "CREATE FUNCTION by_function(text) RETURNS boolean LANGUAGE sql"
    " BEGIN ATOMIC SELECT $1 < 'x' COLLATE \"fi-x-icu\"; END",
)
NAMES = {f'"{name}-x-icu"' for name in ("de", "fr", "da", "sv", "nb", "it", "es", "fi")}


class Site:
    """A backup of a database, and the server that it is of."""

    def __init__(self, target: Conninfo, tools: PostgresTools, root: Path) -> None:
        self.admin, self.tools = target.replace(dbname="postgres"), tools
        self.store = LocalStore(root / "store")
        self.manifest = dump(target.replace(user="sample_backup"), self.store, tools=tools)
        self.wish = Wish(self.manifest.label, f"{target.dbname}_copy")

    @property
    def path(self) -> Path:
        return self.store.root / self.manifest.database / self.manifest.label / MANIFEST

    def change(self, **update: object) -> None:
        """Let the backup be of a server that was another in this."""
        self.path.write_bytes(self.manifest.model_copy(update=update).to_bytes())

    def plan_notes(self) -> str:
        plan = plan_restore(self.store, self.wish, self.admin, tools=self.tools)
        assert plan.refusals == ()
        return "\n".join(plan.notes)

    def drill_notes(self) -> str:
        label = self.manifest.label
        report = drill(self.store, label, tools=self.tools, with_access=False)
        assert report.outcome == "passed"
        return "\n".join(report.notes)

    def restore_notes(self) -> str:
        return "\n".join(restore(self.store, self.wish, self.admin, tools=self.tools).notes)


def used(make: Make, tools: PostgresTools, root: Path) -> Site:
    """Return a site whose database relies on collations of each kind."""
    target = make(LIBC)
    run(target, *USED)
    return Site(target, tools, root)


def of_another_version(collation: CollationFacts) -> CollationFacts:
    return collation.model_copy(update={"version": "1.2", "actual_version": "1.2"})


def test_every_collation_that_something_relies_on_is_recorded(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    target = make(LIBC)
    run(target, *USED)
    with connect(target, purpose="test") as connection:
        version = scalar(
            connection, "SELECT collversion FROM pg_collation WHERE collname = 'de-x-icu'"
        )
    site = Site(target, tools, tmp_path)

    found = {
        c.name: c for c in read_manifest(site.store, target.dbname, site.wish.label).collations
    }
    assert set(found) == NAMES | {"public.loose"}
    assert found['"de-x-icu"'] == CollationFacts(
        name='"de-x-icu"', provider="icu", version=version, actual_version=version
    )
    assert found["public.loose"].locale == "und-u-ks-level1"


@pytest.mark.since_16
def test_so_is_one_that_postgresql_pins(make: Make, tools: PostgresTools, tmp_path: Path) -> None:
    target = make(LIBC)
    run(target, "CREATE TABLE t (w text COLLATE unicode PRIMARY KEY, b text COLLATE ucs_basic)")

    found = Site(target, tools, tmp_path).manifest.collations

    assert [(c.name, c.provider) for c in found] == [("unicode", "icu")]
    assert found[0].version


def test_where_all_have_the_same_version_nothing_is_said(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    target = make("LOCALE_PROVIDER icu ICU_LOCALE 'de-DE-u-co-phonebk' LOCALE 'C.UTF-8'")
    run(target, *USED)
    site = Site(target, tools, tmp_path)

    for notes in (site.plan_notes(), site.drill_notes(), site.restore_notes()):
        assert "sorted" not in notes
        assert "not on this server" not in notes


def test_another_version_is_noted_by_the_plan_the_restore_and_the_drill(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    target = make("LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LOCALE 'C.UTF-8'")
    run(
        target,
        *USED,
        # As if an older library had made them, and nobody had refreshed them.
        "UPDATE pg_collation SET collversion = '1.2' WHERE collname IN ('de-x-icu', 'loose')",
        f"UPDATE pg_database SET datcollversion = '1.1' WHERE datname = '{target.dbname}'",
    )
    site = Site(target, tools, tmp_path)
    with connect(target, purpose="test") as connection:
        query = "SELECT pg_collation_actual_version('public.loose'::regcollation)"
        here = scalar(connection, query)
        (now,) = connection.execute(
            "SELECT pg_database_collation_actual_version(oid) FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchone() or (None,)

    for notes in (site.plan_notes(), site.drill_notes(), site.restore_notes()):
        assert f"the database's collation (de-DE) had version 1.1, here it has {now}" in notes
        assert f"collation public.loose had version 1.2 ({here} where it was dumped)" in notes
        assert 'collation "de-x-icu" had version 1.2' in notes
        assert "fr-x-icu" not in notes
        assert "need neither REINDEX nor REFRESH VERSION" in notes


def test_what_is_not_there_is_named_by_the_plan(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    site = used(make, tools, tmp_path)
    gone = CollationFacts(name='"xx_XX.utf8"', provider="libc", version="2.1")
    made = CollationFacts(name="a.b", provider="libc", locale="xx_XX.utf8", version="2.1")
    properties = site.manifest.properties.model_copy(update={"collate": "yy_YY.utf8"})
    site.change(collations=(*site.manifest.collations, gone, made), properties=properties)

    (notes,) = (note for note in site.plan_notes().splitlines() if "not on this server" in note)

    assert "the database's collation (yy_YY.utf8), " in notes
    assert 'collation "xx_XX.utf8", collation a.b. ' in notes
    assert "x-icu" not in notes
    with connect(site.admin, purpose="test") as connection:
        left = connection.execute("SELECT FROM pg_collation WHERE collname ~ 'casedb'").fetchall()
    assert left == []


def test_in_another_encoding_only_what_is_known_is_told(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    """A server that was made without a locale has its own databases in SQL_ASCII."""
    site = used(make, tools, tmp_path)
    gone = CollationFacts(name='"xx_XX.utf8"', provider="libc", version="2.1")
    others = tuple(of_another_version(c) for c in site.manifest.collations)
    site.change(collations=(*others, gone))
    run(site.admin, "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    admin, site.admin = site.admin, site.admin.replace(dbname="ascii")

    notes = site.plan_notes()

    run(admin, "DROP DATABASE ascii")
    assert 'collation "de-x-icu" had version 1.2' in notes
    assert 'cannot be restored: collation "xx_XX.utf8". ' in notes
    # What is made of a locale cannot be tried from there.
    assert "public.loose" not in notes


def test_a_manifest_of_before_is_read_and_compared(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    site = used(make, tools, tmp_path)
    older = json.loads(site.path.read_bytes())
    older["collations"] = [{"name": "public.loose", "version": "1.2"}]
    site.path.write_bytes(Manifest.model_validate_json(json.dumps(older)).to_bytes())

    manifest = parse_manifest(site.path.read_bytes(), label=site.manifest.label)

    assert manifest.collations == (CollationFacts(name="public.loose", version="1.2"),)
    # What it is made of was not recorded: only where it was restored it can be told.
    assert "sorted" not in site.plan_notes()
    assert "collation public.loose had version 1.2, here" in site.drill_notes()


def test_those_of_an_encrypted_backup_are_not_in_clear(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    target = make(LIBC)
    run(target, *USED)
    store = LocalStore(tmp_path / "store")
    public = new_key(tmp_path / "key")

    manifest = dump(target, store, tools=tools, recipients=[public])

    assert {c.name for c in manifest.collations} == NAMES | {"public.loose"}
    assert read_manifest(store, target.dbname, manifest.label).collations == ()


def test_a_machine_without_the_collation_cannot_drill_and_that_is_no_fault_of_the_backup(
    make: Make, tools: PostgresTools, tmp_path: Path
) -> None:
    target = make(LIBC)
    run(
        target,
        # As pg_import_system_collations() makes them: pg_dump takes them for the server's own.
        "CREATE COLLATION pg_catalog.\"de_DE\" (provider = icu, locale = 'de-DE')",
        'CREATE TABLE t (w text COLLATE "de_DE")',
    )
    site = Site(target, tools, tmp_path)

    assert 'collation "de_DE"' in site.plan_notes()
    with pytest.raises(UnverifiedError, match="a collation of the backup is not installed here"):
        drill(site.store, site.manifest.label, tools=tools, with_access=False)
    assert read_backup(site.store, target.dbname, site.manifest.label).drilled is None
