"""Which files of migrations are refused, before anything happens."""

from pathlib import Path

import pytest

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.errors import ConfigurationError, RefusedError
from casedb.migrations.files import read_folder
from tests.database.small_migrations import LEAVES, TREES, Write, tables


@pytest.mark.parametrize("which", ["0001-create-trees.sql", "0001-create-trees.rollback.sql"])
def test_an_edited_file_is_refused(
    migrator: Conninfo, source: Path, write: Write, which: str
) -> None:
    write("0001-create-trees", TREES, "DROP TABLE public.trees;")
    migrations.apply(migrator, source=source)
    (source / which).write_text("SELECT 1;")
    write("0002-create-leaves", LEAVES)

    for act in (migrations.apply, migrations.rollback):
        with pytest.raises(ConfigurationError) as caught:
            act(migrator, source=source)
        assert "0001-create-trees was applied and has been edited" in (caught.value.detail or "")
        assert caught.value.hint

    assert tables(migrator) == ["trees"]
    assert (
        "edited" in migrations.status(migrator.replace(user="postgres"), source=source).problems[0]
    )


def test_windows_line_endings_are_no_edit(migrator: Conninfo, source: Path, write: Write) -> None:
    write("0001-create-trees", f"-- Trees.\n{TREES}\n")
    migrations.apply(migrator, source=source)
    (source / "0001-create-trees.sql").write_bytes(f"-- Trees.\r\n{TREES}\r\n".encode())

    assert migrations.apply(migrator, source=source) == []


def test_a_missing_file_is_refused(migrator: Conninfo, source: Path, write: Write) -> None:
    write("0001-create-trees", TREES)
    migrations.apply(migrator, source=source)
    (source / "0001-create-trees.sql").unlink()

    with pytest.raises(ConfigurationError) as caught:
        migrations.apply(migrator, source=source)

    assert "its file is missing" in (caught.value.detail or "")


def test_a_renamed_file_is_recognised_and_refused(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES)
    migrations.apply(migrator, source=source)
    (source / "0001-create-trees.sql").rename(source / "0001-plant-trees.sql")

    with pytest.raises(ConfigurationError) as caught:
        migrations.apply(migrator, source=source)

    assert "renamed to 0001-plant-trees" in (caught.value.detail or "")


def test_a_missing_folder_is_refused(migrator: Conninfo, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        migrations.apply(migrator, source=tmp_path / "nowhere")


def test_a_folder_with_brackets_in_its_name_is_read(
    migrator: Conninfo, tmp_path: Path, write: Write, source: Path
) -> None:
    write("0001-create-trees", TREES)
    odd = source.rename(tmp_path / "[v1] migrations")

    assert migrations.apply(migrator, source=odd) == ["0001-create-trees"]


def test_a_rollback_without_a_file_is_refused_and_nothing_is_undone(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES)
    write("0002-create-leaves", LEAVES, "DROP TABLE public.leaves;")
    migrations.apply(migrator, source=source)

    with pytest.raises(RefusedError, match="0001-create-trees cannot be rolled back"):
        migrations.rollback(migrator, source=source, count=2)

    assert tables(migrator) == ["leaves", "trees"]


def test_a_rollback_of_comments_alone_is_refused(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES, "-- It cannot be undone.\n")
    migrations.apply(migrator, source=source)

    with pytest.raises(RefusedError):
        migrations.rollback(migrator, source=source)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- transactional: flase\nSELECT 1;", "neither true nor false"),
        ("-- Transactional: false\nSELECT 1;", "would be ignored"),
        ("/* licence */\n-- transactional: false\nSELECT 1;", "would be ignored"),
        ("SELECT 1;\n-- depends: 0000-nothing\nSELECT 2;", "would be ignored"),
        ("-- depends: 0000-nothing\nSELECT 1;", "0000-nothing, which is not in the folder"),
        ("-- depends: 0001-create-trees\nSELECT 1;", "cannot be ordered"),
        ("-- Only a comment.\n", "no statement"),
        ("CREATE TABLE public.t (id int);\nCOMMIT;", "contains COMMIT"),
        ("/* so */ begin;\nSELECT 1;", "contains BEGIN"),
        ("-- transactional: false\nSELECT 1;\nSELECT 2;", "2 statements"),
        ("-- transactional: false\nUPDATE public.t SET a = 1;", "could not be resumed"),
        ("-- transactional: false\nCREATE INDEX CONCURRENTLY ON public.t (a);", "an index needs"),
        ("-- transactionl: false\nSELECT 1;", 'no directive "transactionl"'),
        ("-- depend: 0001-create-trees\nSELECT 1;", "Did you mean `-- depends"),
        ("-- transactional = false\nSELECT 1;", 'no directive "transactional"'),
    ],
)
def test_what_yoyo_would_ignore_or_misread_is_refused(
    source: Path, write: Write, text: str, complaint: str
) -> None:
    write("0001-create-trees", text)

    with pytest.raises(ConfigurationError) as caught:
        read_folder(source)

    assert complaint in str(caught.value)
    assert caught.value.hint or caught.value.detail or complaint == "no statement"


def test_two_migrations_of_one_number_are_refused(source: Path, write: Write) -> None:
    write("0001-create-trees", TREES)
    write("0001-create-birds", "-- depends: 0001-create-trees\nSELECT 1;")

    with pytest.raises(ConfigurationError, match="two migrations have the number 0001"):
        read_folder(source)


def test_a_migration_before_the_last_applied_one_is_refused(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES)
    write("0003-create-leaves", LEAVES)
    migrations.apply(migrator, source=source)
    write("0002-create-birds", "-- depends: 0001-create-trees\nCREATE TABLE public.birds ();")
    write("0003-create-leaves", LEAVES.replace("0001-create-trees", "0002-create-birds"))
    (source / "0003-create-leaves.sql").write_text(LEAVES)
    write(
        "0004-create-nests",
        "-- depends: 0002-create-birds 0003-create-leaves\nCREATE TABLE public.nests ();",
    )

    with pytest.raises(ConfigurationError) as caught:
        migrations.apply(migrator, source=source)

    assert "0002-create-birds was not applied, but 0003" in (caught.value.detail or "")
    assert "next free number" in (caught.value.hint or "")
    assert tables(migrator) == ["leaves", "trees"]


@pytest.mark.parametrize(
    "name",
    ["__init__.py", "trees.sql", "0001_create_trees.sql", "post-apply.sql", "0007-x.rollback.sql"],
)
def test_a_stranger_in_the_folder_is_refused(source: Path, name: str) -> None:
    (source / name).write_text("SELECT 1;")

    with pytest.raises(ConfigurationError, match=name):
        read_folder(source)


def test_a_dependency_is_not_found_in_a_folder_read_earlier(
    migrator: Conninfo, source: Path, write: Write, tmp_path: Path
) -> None:
    write("0001-create-trees", TREES)
    migrations.apply(migrator, source=source)
    other = tmp_path / "other"
    other.mkdir()
    (other / "0002-create-leaves.sql").write_text(LEAVES)

    with pytest.raises(ConfigurationError, match="not in the folder"):
        migrations.apply(migrator, source=other)


def test_a_fork_is_refused(source: Path, write: Write) -> None:
    write("0001-create-trees", TREES)
    write("0002-create-leaves", LEAVES)
    write("0003-create-birds", "-- depends: 0001-create-trees\nCREATE TABLE public.birds ();")

    with pytest.raises(ConfigurationError, match="fork"):
        read_folder(source)
