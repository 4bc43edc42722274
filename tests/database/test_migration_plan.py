"""The plan tells the truth about locks, rewrites, sizes and losses, and changes nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ConfigurationError
from casedb.migrations.check import schema_of
from casedb.migrations.plan import MigrationPlan, plan
from casedb.roles import apply_roles
from casedb.tools import PostgresTools
from tests.database.trees import begin, write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return begin(tmp_path / "migrations")


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
