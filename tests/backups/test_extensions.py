"""What pg_dump takes of extensions is locked, counted and compared; of the rest one is told."""

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backups import snapshot
from backups.archive_form import ArchiveForm
from backups.attempt import Wish, plan_restore
from backups.drill import drill
from backups.dump import dump
from backups.extensions import left_out
from backups.manifest import MANIFEST, Manifest, TableFacts
from backups.partial import restore_part
from backups.remembered import Shape, State, as_setting, changes_since
from backups.reports import DrillReport
from backups.restore import restore
from backups.stores import LocalStore
from casedb.cli.main import run
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import DifferenceError
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools
from tests.backups.extended import Extended, extended
from tests.backups.test_snapshot import truncating

FILLED = """
CREATE ROLE sees_all LOGIN BYPASSRLS;
CREATE EXTENSION confy;
CREATE TABLE t AS SELECT 1 AS i;
INSERT INTO jobs VALUES (2, 'a'), (3, 'b');
INSERT INTO "all Of it" VALUES (1), (2), (3);
SELECT setval('job_number', 7);
"""
ALL_ROWS = {"jobs": 2, "all Of it": 3, "t": 1}


@pytest.fixture(scope="module")
def programs(tools: PostgresTools) -> Iterator[Extended]:
    with extended(tools) as found:
        yield found


@pytest.fixture(scope="module")
def server(programs: Extended) -> Iterator[Conninfo]:
    with throwaway_cluster(programs.tools) as admin:
        yield admin


@dataclasses.dataclass(frozen=True)
class Site:
    """A database with the extension, and a store."""

    live: Conninfo
    admin: Conninfo
    store: LocalStore
    programs: Extended

    def dump(self, **words: object) -> Manifest:
        return dump(self.live, self.store, tools=self.programs.tools, **words)  # type: ignore[arg-type]

    def drill(self, manifest: Manifest) -> DrillReport:
        tools = self.programs.tools
        return drill(self.store, manifest.label, tools=tools, with_access=False)

    def rewrite(self, manifest: Manifest) -> None:
        path = self.store.root / manifest.database / manifest.label / MANIFEST
        path.write_bytes(manifest.to_bytes())

    def do(self, statement: str, database: str | None = None) -> None:
        target = self.live.replace(dbname=database or self.live.dbname)
        with connect(target, purpose="test") as connection:
            connection.execute(statement.encode())

    def ask(self, query: str, database: str | None = None) -> object:
        target = self.live.replace(dbname=database or self.live.dbname)
        with connect(target, purpose="test") as connection:
            return scalar(connection, query)


@pytest.fixture
def site(server: Conninfo, programs: Extended, tmp_path: Path) -> Iterator[Site]:
    found = Site(server.replace(dbname="confy"), server, LocalStore(tmp_path / "store"), programs)
    found.do("CREATE DATABASE confy TEMPLATE template0", "postgres")
    try:
        found.do(FILLED)
        yield found
    finally:
        programs.install("1.0")
        with connect(server, purpose="test") as connection:
            names = connection.execute("SELECT datname FROM pg_database WHERE datname ~ '^confy'")
            for (name,) in names.fetchall():
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
            connection.execute("DROP ROLE sees_all")


def rows(manifest: Manifest) -> dict[str, int]:
    return {table.name: table.rows for table in manifest.tables}


def notes(report: DrillReport) -> tuple[str, ...]:
    return tuple(note for note in report.notes if "extension" in note)


def as_before(manifest: Manifest) -> Manifest:
    """Return the manifest as it was before extensions were looked at."""
    tables = tuple(t for t in manifest.tables if not t.extension)
    sequences = tuple(s for s in manifest.sequences if not s.extension)
    return manifest.model_copy(update={"tables": tables, "sequences": sequences})


def test_what_pg_dump_takes_of_an_extension_is_in_the_proof_and_comes_back(site: Site) -> None:
    manifest = site.dump()

    assert rows(manifest) == ALL_ROWS
    assert {t.name for t in manifest.tables if t.extension == "confy"} == {"jobs", "all Of it"}
    assert [(s.name, s.next_value) for s in manifest.sequences] == [("job_number", 8)]
    report = site.drill(manifest)
    assert (report.outcome, report.tables, report.rows) == ("passed", 3, 6)
    assert notes(report) == ()


def test_an_extensions_rows_are_left_to_pg_dump_however_many_they_are(site: Site) -> None:
    manifest = site.dump(form=ArchiveForm(jobs=2, large_from_bytes=0))

    assert rows(manifest) == ALL_ROWS
    assert site.drill(manifest).outcome == "passed"


@pytest.mark.parametrize("form", [ArchiveForm(), ArchiveForm(jobs=2, large_from_bytes=0)])
def test_a_truncate_that_queues_for_an_extensions_table_is_wholly_in_the_dump(
    site: Site, monkeypatch: pytest.MonkeyPatch, form: ArchiveForm
) -> None:
    """pg_dump locks such a table only when it reads it: what queues before that goes first."""
    take = snapshot._take
    phases: list[str] = []
    with ExitStack() as stack:
        threads: list[threading.Thread] = []

        def overtaken_once(connection: object) -> snapshot.Snapshot:
            found = take(connection)  # type: ignore[arg-type]
            if not threads:
                threads.append(stack.enter_context(truncating(site.live, "jobs")))
            return found

        monkeypatch.setattr(snapshot, "_take", overtaken_once)
        manifest = site.dump(form=form, lock_wait_s=1, on_progress=lambda p: phases.append(p.phase))

    assert [phase for phase in phases if "pg_dump waited for public.jobs in vain" in phase]
    assert rows(manifest) == {**ALL_ROWS, "jobs": 0}
    assert site.ask("SELECT count(*) FROM jobs") == 0
    # What the extension's own script makes is there again, and no matter.
    assert site.drill(manifest).outcome == "passed"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rows": 3}, "table public.jobs had 3 rows and has 2"),
        ({"hash_sum": "1"}, "table public.jobs has 2 rows as before, but other content"),
    ],
)
def test_rows_of_an_extension_that_do_not_come_back_fail_the_drill(
    site: Site, change: dict[str, object], told: str
) -> None:
    manifest = site.dump()
    tables = tuple(t.model_copy(update=change) if t.name == "jobs" else t for t in manifest.tables)
    (sequence,) = manifest.sequences
    site.rewrite(
        manifest.model_copy(
            update={
                "tables": tables,
                "sequences": (sequence.model_copy(update={"last_value": 9}),),
            }
        )
    )

    with pytest.raises(DifferenceError) as caught:
        site.drill(manifest)

    assert (caught.value.detail or "").splitlines() == [
        told,
        "sequence public.job_number would give 8 next, before 10",
    ]


def test_a_set_of_before_drills_and_says_what_nobody_counted(site: Site) -> None:
    manifest = as_before(site.dump())
    assert b'"extension"' not in manifest.to_bytes()
    site.rewrite(manifest)

    report = site.drill(manifest)

    assert (report.outcome, report.tables) == ("passed", 1)
    assert notes(report) == (
        "table public.all Of it of extension confy was not compared: the backup does not tell "
        "what was in it",
        "table public.jobs of extension confy was not compared: the backup does not tell what was "
        "in it",
    )


def test_another_version_of_the_extension_is_no_other_content(site: Site) -> None:
    """It has one more column and one more table; how many rows came back it still tells."""
    manifest = site.dump()
    site.programs.install("2.0")

    report = site.drill(manifest)

    assert report.outcome == "passed"
    assert notes(report) == (
        "table public.later of extension confy was not compared: the backup does not tell what "
        "was in it",
        "table public.jobs has 2 rows as before; their content cannot be compared, because "
        "extension confy was 1.0 and is 2.0",
    )


def test_columns_in_another_order_are_the_same_content(site: Site) -> None:
    """As an upgrade leaves them: added last, and made in their place by a new CREATE EXTENSION."""
    site.programs.install("2.0")
    site.do("ALTER TABLE jobs ADD COLUMN more int; UPDATE pg_extension SET extversion = '2.0'")

    assert notes(site.drill(site.dump())) == (
        "table public.later of extension confy was not compared: the backup does not tell what "
        "was in it",
    )


def test_a_restore_brings_them_back_and_tells_of_those_written_since(site: Site) -> None:
    manifest = site.dump()
    tools = site.programs.tools
    wish = Wish(manifest.label, "confy", replace=True)
    assert not (plan_restore(site.store, wish, site.admin, tools=tools).live or site).written  # type: ignore[union-attr]
    site.do("INSERT INTO jobs VALUES (4, 'since')")
    live = plan_restore(site.store, wish, site.admin, tools=tools).live
    assert live
    assert [(w.table, w.rows_now, w.rows_in_backup) for w in live.written or ()] == [
        ("public.jobs", 3, 2)
    ]

    report = restore(site.store, wish, site.admin, tools=tools)

    assert report.swap
    assert report.swap.not_restored == ("table public.jobs had 2 rows and has 3",)
    assert site.ask("SELECT string_agg(name, ',' ORDER BY id) FROM jobs") == "its own {100%},a,b"
    assert site.ask("SELECT nextval('job_number')") == 8


def test_one_table_of_an_extension_comes_back_alone_and_is_compared(site: Site) -> None:
    manifest = site.dump()
    site.do("UPDATE jobs SET name = 'wrong' WHERE id = 2; DELETE FROM jobs WHERE builtin")

    report = restore_part(
        site.store,
        Wish(manifest.label, "confy_part", part=("jobs",)),
        site.admin,
        tools=site.programs.tools,
        live="confy",
    )

    (found,) = report.tables
    assert [key for _, key in found.shown] == [("2",)]
    assert site.ask("SELECT count(*) FROM jobs", "confy_part") == 3
    assert site.ask('SELECT count(*) FROM "all Of it"', "confy_part") == 0


@pytest.mark.parametrize("tables", [("t",), ()])
def test_a_part_without_them_has_what_the_extension_makes_itself(
    site: Site, tables: tuple[str, ...]
) -> None:
    wish = Wish(site.dump().label, "confy_part", part=tables)

    restore_part(site.store, wish, site.admin, tools=site.programs.tools, live="confy")

    assert site.ask("SELECT string_agg(name, ',') FROM jobs", "confy_part") == "its own {100%}"


def test_what_was_remembered_of_before_is_not_missed_by_undo_restore() -> None:
    def table(name: str, extension: str | None = None) -> TableFacts:
        return TableFacts(
            schema_name="public",
            name=name,
            kind="table",
            rows=1,
            hash_sum="1",
            hash_xor="1",
            extension=extension,
        )

    old = State([table("t")], None, Shape((), ()))
    now = State([table("t"), table("jobs", "confy")], None, Shape((), ()))
    unread = "whether the large objects have changed nobody can tell: one of them is beyond 1 GB"

    assert changes_since(as_setting(old), now) == [unread]
    assert changes_since(as_setting(now), old) == ["table public.jobs is gone", unread]


def test_rows_that_pg_dump_leaves_out_are_warned_of(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.do(
        "CREATE TABLE important AS SELECT 1 AS i; ALTER EXTENSION confy ADD TABLE important;"
        "INSERT INTO kept_by_itself VALUES (1)"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PG_BIN", str(site.programs.tools.bindir))
    words = ["--conninfo", site.admin.replace(dbname=None).dsn, "--database", "confy"]

    code = run(["dump", *words, "--store", str(site.store.root)])

    told = (
        "pg_dump leaves out the rows of tables that belong to an extension and are not marked as "
        "its configuration: public.important (confy), public.kept_by_itself (confy)"
    )
    assert code == 0
    assert f"warning: {told}\n" in capsys.readouterr().err
    (label,) = site.store.labels("confy")
    assert told in (site.store.root / "confy" / label / MANIFEST).read_text()


def test_without_such_rows_there_is_no_such_warning(site: Site) -> None:
    assert not [w for w in site.dump().warnings if "extension" in w]


def test_what_the_role_may_not_read_does_not_end_a_dump(site: Site) -> None:
    """pg_dump does not read it either."""
    site.do(
        "INSERT INTO kept_by_itself VALUES (1); GRANT SELECT ON SEQUENCE job_number TO sees_all;"
        'GRANT SELECT ON t, jobs, "all Of it" TO sees_all'
    )
    role = dataclasses.replace(site, live=site.live.replace(user="sees_all"))

    (told,) = [w for w in role.dump().warnings if "extension" in w]

    assert "public.kept_by_itself (confy)" in told


def test_what_cannot_be_looked_at_is_said_and_the_session_goes_on(site: Site) -> None:
    with (
        connect(site.live, purpose="stubborn", autocommit=False) as other,
        connect(site.live, purpose="test", settings={"lock_timeout": "100ms"}) as connection,
    ):
        other.execute("INSERT INTO kept_by_itself VALUES (1); LOCK TABLE kept_by_itself")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        told = left_out(connection)
        assert scalar(connection, "SELECT count(*) FROM jobs") == 3
        other.rollback()

    assert told == (
        "whether pg_dump leaves out rows of an extension could not be seen: canceling statement "
        "due to lock timeout",
    )
