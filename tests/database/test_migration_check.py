"""A new migration: what is written for it, and checked of it before it is merged."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from casedb.errors import ConfigurationError, UsageError
from casedb.migrations.check import check
from casedb.migrations.contract import broken, models, read_from_git
from casedb.migrations.new import new
from casedb.tools import PostgresTools
from tests.database.trees import TREES, UNDO, begin, write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return begin(tmp_path / "migrations")


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
