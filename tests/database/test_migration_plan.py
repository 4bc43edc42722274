"""The plan tells the truth about locks, rewrites, sizes and losses, and changes nothing."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ConfigurationError, UsageError
from casedb.migrations.check import check, schema_of
from casedb.migrations.contract import broken, models, read_from_git
from casedb.migrations.new import new
from casedb.migrations.plan import MigrationPlan, plan
from casedb.roles import apply_roles
from casedb.tools import PostgresTools

TREES = (
    "-- Trees.\n"
    "CREATE TABLE public.trees (id bigint, name text, CONSTRAINT trees_pkey PRIMARY KEY (id));\n"
    "CREATE TABLE public.leaves (id bigint, tree bigint,"
    " CONSTRAINT leaves_pkey PRIMARY KEY (id));\n"
    "CREATE INDEX leaves_tree ON public.leaves (tree);\n"
)
UNDO = "DROP TABLE public.leaves; DROP TABLE public.trees;"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    write(folder, "0001-create-trees", TREES, UNDO)
    return folder


@pytest.fixture
def migrator(empty_database: Conninfo, source: Path) -> Iterator[Conninfo]:
    apply_roles(empty_database)
    target = empty_database.replace(user="case_migrator")
    migrations.apply(target, source=source)
    with connect(empty_database, purpose="test") as connection:
        connection.execute(
            "INSERT INTO public.trees SELECT n, 'oak' FROM generate_series(1, 20000) AS n"
        )
        connection.execute("ANALYZE public.trees")
        connection.execute("CREATE ROLE plan_stranger")
        connection.execute("GRANT SELECT ON public.trees TO plan_stranger")
    yield target
    with connect(empty_database, purpose="test") as connection:
        connection.execute("DROP OWNED BY plan_stranger; DROP ROLE plan_stranger")


def write(folder: Path, name: str, text: str, rollback: str | None = None) -> None:
    (folder / f"{name}.sql").write_text(text)
    if rollback is not None:
        (folder / f"{name}.rollback.sql").write_text(rollback)


def planned(target: Conninfo, source: Path, tools: PostgresTools) -> MigrationPlan:
    return plan(target, source=source, tools=lambda _major: tools, on_step=lambda _step: None)


def test_it_shows_locks_rewrites_sizes_and_losses_and_changes_nothing(
    migrator: Conninfo, source: Path, tools: PostgresTools
) -> None:
    write(
        source,
        "0002-change-trees",
        "-- depends: 0001-create-trees\n"
        "ALTER TABLE public.trees ADD COLUMN luck float8 DEFAULT random();\n"
        "ALTER TABLE public.leaves ADD CONSTRAINT leaves_tree_fkey"
        " FOREIGN KEY (tree) REFERENCES public.trees;\n"
        "CREATE TABLE public.birds (id int);\n",
    )
    write(
        source,
        "0003-index-trees",
        "-- depends: 0002-change-trees\n-- transactional: false\n"
        "CREATE INDEX CONCURRENTLY trees_name ON public.trees (name);\n",
    )
    write(
        source,
        "0004-drop-name",
        "-- depends: 0003-index-trees\n"
        "DO $$ BEGIN ALTER TABLE public.trees DROP COLUMN name; END $$;\n",
    )
    admin = migrator.replace(user="postgres")
    before = schema_of(tools, admin)

    found = planned(migrator, source, tools)

    assert schema_of(tools, admin) == before
    assert found.head == "0001-create-trees"
    assert (found.notes, found.problems) == ((), ())
    first, second, third = found.pending
    assert [(lock.relation, lock.mode, lock.stops) for lock in first.locks] == [
        ("public.leaves", "SHARE ROW EXCLUSIVE", "writes"),
        ("public.trees", "ACCESS EXCLUSIVE", "reads and writes"),
    ]
    assert first.rewrites == ("public.trees",)
    assert [table.rows for table in first.tables if table.name == "public.trees"] == [20000]
    assert "adding-foreign-key-constraint" in {warning.rule for warning in first.warnings}
    assert first.losses == ()
    assert not second.transactional
    assert [(lock.relation, lock.mode) for lock in second.locks] == [
        ("public.trees", "SHARE UPDATE EXCLUSIVE")
    ]
    assert [str(loss).partition(" (")[0] for loss in third.losses] == [
        "0004-drop-name: drop column of column public.trees.name"
    ]
    assert all(one.rehearsed and one.failure is None for one in found.pending)


def test_what_will_fail_is_said_before_it_does(
    migrator: Conninfo, source: Path, tools: PostgresTools
) -> None:
    write(
        source,
        "0002-change-trees",
        "-- depends: 0001-create-trees\nALTER TABLE public.trees ADD COLUMN id int;",
    )

    (found,) = planned(migrator, source, tools).pending

    assert not found.rehearsed
    assert "already exists" in (found.failure or "")


def test_without_server_programs_the_rest_is_still_told(migrator: Conninfo, source: Path) -> None:
    write(source, "0002-drop-trees", "-- depends: 0001-create-trees\nDROP TABLE public.trees;")

    def none(major: int) -> PostgresTools:
        raise ConfigurationError(f"no programs of {major}")

    found = plan(migrator, source=source, tools=none, on_step=print)

    assert "locks and rewrites are not known: no programs of" in found.notes[0]
    (one,) = found.pending
    assert not one.rehearsed
    assert [loss.table for loss in one.losses] == ["public.trees"]


def test_it_plans_for_a_database_that_never_saw_a_migration(
    empty_database: Conninfo, source: Path, tools: PostgresTools
) -> None:
    apply_roles(empty_database)

    found = planned(empty_database.replace(user="case_migrator"), source, tools)

    assert [one.id for one in found.pending] == ["0001-create-trees"]
    assert found.pending[0].locks == ()
    with connect(empty_database, purpose="test") as connection:
        made = connection.execute("SELECT to_regclass('ops._yoyo_migration')").fetchone()
    assert made == (None,)


def test_the_lock_of_an_index_built_concurrently_is_what_the_plan_says(
    migrator: Conninfo, tools: PostgresTools
) -> None:
    admin = migrator.replace(user="postgres")
    with (
        connect(admin, purpose="test", autocommit=False) as writer,
        connect(admin, purpose="builder") as builder,
        connect(admin, purpose="test") as watcher,
    ):
        writer.execute("INSERT INTO public.trees VALUES (-1)")
        builder.pgconn.send_query(b"CREATE INDEX CONCURRENTLY i ON public.trees (name)")
        query = (
            "SELECT mode FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
            " WHERE a.application_name = 'casedb builder' AND l.relation = 'public.trees'::regclass"
        )
        while not (modes := watcher.execute(query).fetchall()):
            pass
        writer.rollback()
        while builder.pgconn.get_result():
            pass

    assert modes == [("ShareUpdateExclusiveLock",)]


def test_new_writes_the_pair_with_the_next_number(source: Path) -> None:
    path, rollback = new("add-height", source=source)

    assert (path.name, rollback.name) == ("0002-add-height.sql", "0002-add-height.rollback.sql")
    assert "-- depends: 0001-create-trees\n" in path.read_text()
    # Without a statement yet, it stops everything rather than being taken for a migration.
    with pytest.raises(ConfigurationError, match="no statement"):
        new("add-width", source=source)
    path.write_text(path.read_text() + "ALTER TABLE public.trees ADD COLUMN height int;\n")
    assert new("add-width", source=source)[0].name == "0003-add-width.sql"


@pytest.mark.parametrize("name", ["height", "Add-Height", "add height", "../add-height", "add-"])
def test_new_refuses_what_is_no_name(source: Path, name: str) -> None:
    with pytest.raises(UsageError):
        new(name, source=source)


def checked(
    source: Path, tools: PostgresTools, recorded: Path | None = None
) -> list[tuple[str, str]]:
    report = check(source=source, tools=tools, on_step=lambda _step: None, recorded=recorded)
    return [(found.check, f"{found.where}: {found.message}") for found in report.findings]


def test_check_finds_what_a_rollback_forgets(source: Path, tools: PostgresTools) -> None:
    write(
        source,
        "0002-create-birds",
        "-- Birds.\n-- depends: 0001-create-trees\n"
        "CREATE TABLE public.birds (id bigint, CONSTRAINT birds_pkey PRIMARY KEY (id));\n"
        "ALTER TABLE public.trees ADD COLUMN nests bigint;\n",
        "DROP TABLE public.birds;\n",
    )

    # What was forgotten is in the way when it is applied again.
    with pytest.raises(Exception, match=r"nests.* already exists"):
        check(source=source, tools=tools, on_step=lambda _step: None)

    write(
        source,
        "0002-create-birds",
        "-- Birds.\n-- depends: 0001-create-trees\n"
        "CREATE TABLE public.birds (id bigint, CONSTRAINT birds_pkey PRIMARY KEY (id));\n"
        "ALTER TABLE public.trees ADD COLUMN IF NOT EXISTS nests bigint;\n",
    )
    ((kind, message),) = checked(source, tools)
    assert kind == "reversible"
    assert "its rollback leaves another schema" in message
    assert "nests" in message


def test_check_finds_a_missing_rollback_lint_and_the_schemas_faults(
    source: Path, tools: PostgresTools
) -> None:
    write(
        source,
        "0002-create-birds",
        "-- Birds.\n-- depends: 0001-create-trees\nCREATE TABLE public.birds (id int);\n",
    )

    found = checked(source, tools)

    assert {kind for kind, _ in found} == {"lint", "reversible", "schema"}
    text = "\n".join(message for _, message in found)
    assert "0002-create-birds.rollback.sql is missing" in text
    assert "prefer-bigint-over-int" in text
    assert "table-without-primary-key" in text


PRISMA = """
model Tree {
  id     BigInt @id
  name   String?
  leaves Leaf[]
  @@map("trees")
}
model Leaf {
  id     BigInt @id
  treeId BigInt? @map("tree") // a comment
  tree   Tree?   @relation(fields: [treeId], references: [id])
  @@map("leaves")
}
"""


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    """What the back end of the head before asks: two queries and a Prisma schema."""
    folder = tmp_path / "contract"
    (folder / "queries").mkdir(parents=True)
    (folder / "prisma").mkdir()
    (folder / "queries" / "by_name.sql").write_text(
        "-- Trees.\nSELECT id, name FROM public.trees WHERE name = $1;\n"
    )
    (folder / "queries" / "count.sql").write_text("SELECT count(*) FROM public.leaves\n")
    (folder / "prisma" / "schema.prisma").write_text(PRISMA)
    return folder


@pytest.mark.parametrize(
    ("change", "undo", "complaints"),
    [
        (
            "ALTER TABLE public.trees RENAME COLUMN name TO called",
            "ALTER TABLE public.trees RENAME COLUMN called TO name",
            ["query by_name as case_owner", "Prisma Tree.name"],
        ),
        (
            "ALTER TABLE public.leaves ADD COLUMN colour text NOT NULL",
            "ALTER TABLE public.leaves DROP COLUMN colour",
            ["Prisma Leaf create"],
        ),
        (
            "GRANT SELECT ON public.leaves TO case_chair; REVOKE SELECT ON public.leaves"
            " FROM case_clerk",
            "REVOKE SELECT ON public.leaves FROM case_chair;"
            " GRANT SELECT ON public.leaves TO case_clerk",
            ["query count as case_clerk"],
        ),
        (
            "ALTER TABLE public.trees ADD COLUMN height bigint",
            "ALTER TABLE public.trees DROP COLUMN height",
            [],
        ),
    ],
    ids=["renamed", "required", "revoked", "compatible"],
)
def test_check_keeps_the_contract_of_the_previous_head(
    source: Path,
    tools: PostgresTools,
    contract: Path,
    change: str,
    undo: str,
    complaints: list[str],
) -> None:
    text = f"{TREES}GRANT SELECT ON public.leaves TO case_clerk;\n"
    write(source, "0001-create-trees", text, UNDO)
    head = "-- Change.\n-- depends: 0001-create-trees\n-- squawk-ignore-file renaming-column"
    head += ", adding-required-field\n"
    write(source, "0002-change-trees", f"{head}{change};\n", f"{undo};\n")

    found = [message for kind, message in checked(source, tools, contract) if kind == "contract"]

    for complaint in complaints:
        assert any(message.startswith(f"{complaint}:") for message in found), found
    if not complaints:
        assert found == []


@pytest.fixture
def checkout(source: Path) -> Callable[[str], None]:
    """Commit what lies in the checkout around `source`, under a message."""
    root = source.parent

    def commit(message: str) -> None:
        for words in (("add", "-A"), ("commit", "-q", "-m", message)):
            subprocess.run(["git", "-C", str(root), *words], check=True)

    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for key, value in (("user.name", "Test"), ("user.email", "test@example.com")):
        subprocess.run(["git", "-C", str(root), "config", key, value], check=True)
    return commit


def test_the_previous_contract_is_that_of_the_commit_before_the_newest_migration(
    source: Path, checkout: Callable[[str], None], tools: PostgresTools
) -> None:
    root = source.parent
    query = root / "sql" / "queries" / "by_name.sql"
    query.parent.mkdir(parents=True)
    (root / "sql" / "prisma").mkdir()
    (root / "sql" / "prisma" / "schema.prisma").write_text(PRISMA)
    query.write_text("SELECT name FROM public.trees\n")
    write(source, "0001-create-trees", TREES, UNDO)
    checkout("Create trees")
    query.write_text("SELECT called FROM public.trees\n")
    write(
        source,
        "0002-rename-trees",
        "-- Called.\n-- depends: 0001-create-trees\n-- squawk-ignore-file renaming-column\n"
        "ALTER TABLE public.trees RENAME COLUMN name TO called;\n",
        "ALTER TABLE public.trees RENAME COLUMN called TO name;\n",
    )
    ids = ["0001-create-trees", "0002-rename-trees"]

    not_committed = read_from_git(root, ids)
    checkout("Rename trees")
    (root / "README").write_text("Later.")
    checkout("Say more")
    committed = read_from_git(root, ids)
    report = check(source=source, tools=tools, on_step=lambda _step: None)

    for found in (not_committed, committed):
        assert found is not None
        assert (found.head, found.prisma) == ("0001-create-trees", PRISMA)
        assert found.queries == {"by_name": "SELECT name FROM public.trees\n"}
    assert committed
    assert report.contract == committed.origin
    broken_parts = {finding.where for finding in report.findings if finding.check == "contract"}
    assert {"query by_name as case_owner", "Prisma Tree.name"} <= broken_parts


def test_without_git_the_contract_is_said_not_to_be_checked(
    source: Path, tools: PostgresTools
) -> None:
    write(source, "0001-create-trees", TREES, UNDO)

    report = check(source=source, tools=tools, on_step=lambda _step: None)

    assert report.contract is None
    assert any("contract" in note for note in report.notes)


def test_a_prisma_schema_is_read_without_its_relations() -> None:
    assert [(model.table, model.columns) for model in models(PRISMA)] == [
        ("trees", ("id", "name")),
        ("leaves", ("id", "tree")),
    ]


def test_only_what_worked_before_can_break() -> None:
    before = {"a": "", "b": "broken already", "c": ""}

    assert broken(before, {"a": "gone", "b": "gone", "c": ""}) == [("a", "gone")]


def test_a_fork_is_no_migration_to_check(source: Path, tools: PostgresTools) -> None:
    for name in ("0002-create-birds", "0003-create-bees"):
        write(source, name, "-- depends: 0001-create-trees\nSELECT 1;")

    with pytest.raises(ConfigurationError, match="fork"):
        check(source=source, tools=tools, on_step=lambda _step: None)
