"""Data is thrown away only after somebody was asked, whatever the migration's text looks like."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import RefusedError
from casedb.migrations.losses import Loss
from casedb.migrations.statements import Announced, LossKind, announced_losses
from casedb.roles import apply_roles

TREES = (
    "CREATE TABLE public.trees (id int, name varchar(20));"
    "INSERT INTO public.trees SELECT n, 'oak' FROM generate_series(1, 1000) AS n;"
    "CREATE TABLE public.empty (id int);"
)
DEPENDS = "-- depends: 0001-create-trees\n"


@pytest.fixture
def migrator(empty_database: Conninfo, tmp_path: Path) -> Conninfo:
    apply_roles(empty_database)
    target = empty_database.replace(user="case_migrator")
    (tmp_path / "0001-create-trees.sql").write_text(TREES)
    (tmp_path / "0001-create-trees.rollback.sql").write_text(
        "DROP TABLE public.trees; DROP TABLE public.empty;"
    )
    migrations.apply(target, source=tmp_path)
    return target


def rows(target: Conninfo) -> int:
    with connect(target.replace(user="postgres"), purpose="test") as connection:
        return int(scalar(connection, "SELECT count(name) FROM public.trees") or 0)


@pytest.mark.parametrize(
    ("statement", "kind", "column"),
    [
        ("DROP TABLE public.trees", "drop table", None),
        ("DROP TABLE IF EXISTS public.empty, public.trees CASCADE", "drop table", None),
        ("ALTER TABLE public.trees DROP COLUMN name", "drop column", "name"),
        ("ALTER TABLE public.trees ADD x int, DROP name", "drop column", "name"),
        ("ALTER TABLE public.trees ALTER name TYPE varchar(10)", "change type", "name"),
        ("ALTER TABLE ONLY public.trees ALTER COLUMN id SET DATA TYPE bigint", "change type", "id"),
        ("TRUNCATE public.trees", "truncate", None),
        ("DELETE FROM public.trees WHERE id > 10", "delete", None),
        ("WITH gone AS (SELECT 1) DELETE FROM public.trees", "delete", None),
        # What no text of the statement itself shows.
        ("DO $$ BEGIN EXECUTE 'DROP TABLE ' || 'public.trees'; END $$", "drop table", None),
        ("DO $$ BEGIN EXECUTE 'TRUNCATE public.trees'; END $$", "truncate", None),
        ("DO $$ BEGIN DELETE FROM public.trees; END $$", "delete", None),
        ("DO $$ BEGIN ALTER TABLE public.trees DROP name; END $$", "drop column", "name"),
    ],
)
def test_without_an_agreement_it_is_refused_and_nothing_happens(
    migrator: Conninfo, tmp_path: Path, statement: str, kind: str, column: str | None
) -> None:
    (tmp_path / "0002-lose-trees.sql").write_text(f"{DEPENDS}{statement};")

    with pytest.raises(RefusedError) as caught:
        migrations.apply(migrator, source=tmp_path)

    assert rows(migrator) == 1000
    what = f"column public.trees.{column}" if column else "table public.trees"
    assert f"0002-lose-trees: {kind} of {what} (" in (caught.value.detail or "")
    assert "public.empty" not in (caught.value.detail or "")
    assert migrations.status(migrator.replace(user="postgres"), source=tmp_path).pending

    asked: list[Sequence[Loss]] = []
    done = migrations.apply(migrator, source=tmp_path, before_destructive=asked.append)
    assert done == ["0002-lose-trees"]
    assert [loss.kind.value for loss in asked[0]] == [kind]


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE public.empty",
        "DO $$ BEGIN DROP TABLE public.empty; END $$",
        "TRUNCATE public.empty",
        "ALTER TABLE public.empty ALTER id TYPE text",
        "ALTER TABLE public.trees ADD x double precision DEFAULT random()",
        "ALTER TABLE public.trees RENAME name TO called",
        "ALTER TABLE public.trees RENAME TO plants",
        "UPDATE public.trees SET name = 'elm'",
        "ALTER TABLE public.trees ADD CONSTRAINT c CHECK (id > 0), DROP CONSTRAINT c",
        "CREATE TABLE public.made (id int); INSERT INTO public.made VALUES (1);"
        " DROP TABLE public.made",
    ],
)
def test_what_loses_nothing_asks_nobody(migrator: Conninfo, tmp_path: Path, statement: str) -> None:
    if "ADD CONSTRAINT" in statement:
        statement = statement.replace(", DROP", "; ALTER TABLE public.trees DROP")
    (tmp_path / "0002-change-trees.sql").write_text(f"{DEPENDS}{statement};")

    assert migrations.apply(migrator, source=tmp_path) == ["0002-change-trees"]


def test_one_question_is_about_all_that_is_pending(migrator: Conninfo, tmp_path: Path) -> None:
    (tmp_path / "0002-drop-name.sql").write_text(
        f"{DEPENDS}ALTER TABLE public.trees DROP COLUMN name;"
    )
    (tmp_path / "0003-drop-trees.sql").write_text(
        "-- depends: 0002-drop-name\nDROP TABLE public.trees;"
    )
    asked: list[Sequence[Loss]] = []

    migrations.apply(migrator, source=tmp_path, before_destructive=asked.append)

    assert [[loss.migration for loss in losses] for losses in asked] == [
        ["0002-drop-name", "0003-drop-trees"]
    ]


def test_the_lock_is_free_while_somebody_is_asked(migrator: Conninfo, tmp_path: Path) -> None:
    from casedb.locks import maintenance_lock

    (tmp_path / "0002-drop-trees.sql").write_text(f"{DEPENDS}DROP TABLE public.trees;")

    def back_up(_losses: Sequence[Loss]) -> None:
        with (
            connect(migrator.replace(user="postgres"), purpose="dump") as connection,
            maintenance_lock(connection),
        ):
            pass

    assert migrations.apply(migrator, source=tmp_path, before_destructive=back_up)


def test_a_rollback_with_data_asks_and_counts(migrator: Conninfo, tmp_path: Path) -> None:
    with connect(migrator.replace(user="postgres"), purpose="test") as connection:
        connection.execute("ANALYZE public.trees")

    with pytest.raises(RefusedError) as caught:
        migrations.rollback(migrator, source=tmp_path)

    assert "drop table of table public.trees (about 1000 rows" in (caught.value.detail or "")
    assert rows(migrator) == 1000
    done = migrations.rollback(migrator, source=tmp_path, before_destructive=lambda _losses: None)
    assert done == ["0001-create-trees"]


def test_comments_and_strings_announce_nothing() -> None:
    for statement in (
        "-- DROP TABLE a\nSELECT 1",
        "SELECT 'DROP TABLE a'",
        "COMMENT ON TABLE a IS 'DELETE FROM b'",
        "ALTER TABLE a ADD COLUMN type text",
        "ALTER TABLE a ALTER COLUMN b DROP NOT NULL",
        "ALTER TABLE a ALTER COLUMN b DROP DEFAULT, ALTER b SET DEFAULT 1",
        "ALTER TABLE a DROP CONSTRAINT b",
    ):
        assert announced_losses(statement) == [], statement


def test_quoted_names_are_kept_as_they_are() -> None:
    found = announced_losses('ALTER TABLE "my ""odd"" schema"."T" DROP COLUMN "a,b" CASCADE;')

    assert found == [Announced(LossKind.DROP_COLUMN, '"my ""odd"" schema"."T"', '"a,b"')]
