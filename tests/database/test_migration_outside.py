"""Outside of a transaction: what a run leaves, and what the next one makes of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import LockedError, ToolFailedError
from casedb.migrations.repair import repair
from casedb.roles import apply_roles

TREES = "CREATE TABLE public.trees (id int);"
HEAD = "-- depends: 0001-create-trees\n-- transactional: false\n"
INDEX = f"{HEAD}CREATE INDEX CONCURRENTLY trees_id ON public.trees (id);"
NOTE = (
    "INSERT INTO ops.casedb_unfinished (migration_id, direction, statement)"
    " VALUES ('0002-index-trees', %s, %s)"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A table, and an index on it that is built concurrently."""
    (tmp_path / "0001-create-trees.sql").write_text(TREES)
    (tmp_path / "0002-index-trees.sql").write_text(INDEX)
    (tmp_path / "0002-index-trees.rollback.sql").write_text(
        "DROP INDEX CONCURRENTLY public.trees_id;"
    )
    return tmp_path


@pytest.fixture
def migrator(empty_database: Conninfo) -> Conninfo:
    apply_roles(empty_database)
    return empty_database.replace(user="case_migrator")


@pytest.fixture
def at_table(
    migrator: Conninfo, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Conninfo:
    """The table is there, its index is not."""
    only = tmp_path_factory.mktemp("only")
    (only / "0001-create-trees.sql").write_text(TREES)
    migrations.apply(migrator, source=only)
    return migrator


def execute(target: Conninfo, *statements: str) -> None:
    with connect(target.replace(user="postgres"), purpose="test") as connection:
        for statement in statements:
            connection.execute(statement.encode())


def state(target: Conninfo, name: str = "public.trees_id") -> bool | None:
    """Whether the index is valid; None without one."""
    with connect(target.replace(user="postgres"), purpose="test") as connection:
        query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
        found = scalar(connection, query, name)
        return None if found is None else bool(found)


def note(target: Conninfo, direction: str, statement: str) -> None:
    with connect(target.replace(user="postgres"), purpose="test") as connection:
        connection.execute(NOTE, (direction, statement))


def invalidate(target: Conninfo, name: str = "trees_id") -> None:
    """What a killed CREATE INDEX CONCURRENTLY leaves."""
    execute(
        target,
        f"CREATE INDEX IF NOT EXISTS {name} ON public.trees (id)",
        "UPDATE pg_index SET indisvalid = false, indisready = false"
        f" WHERE indexrelid = 'public.{name}'::regclass",
    )


BUILT = "CREATE INDEX CONCURRENTLY trees_id ON public.trees (id);"


def test_built_by_a_run_that_died_before_the_mark_it_is_only_recorded(
    at_table: Conninfo, source: Path
) -> None:
    execute(at_table, BUILT, "ALTER INDEX public.trees_id OWNER TO case_owner")
    note(at_table, "apply", BUILT)
    with connect(at_table.replace(user="postgres"), purpose="test") as connection:
        before = scalar(connection, "SELECT 'public.trees_id'::regclass::oid")
    steps: list[str] = []

    applied = migrations.apply(at_table, source=source, on_step=steps.append)

    assert applied == ["0002-index-trees"]
    assert any("was built by a run that ended" in step for step in steps)
    with connect(at_table.replace(user="postgres"), purpose="test") as connection:
        assert scalar(connection, "SELECT 'public.trees_id'::regclass::oid") == before
        assert scalar(connection, "SELECT count(*) FROM ops.casedb_unfinished") == 0


def test_a_strangers_index_of_that_name_is_not_taken_for_ours(
    at_table: Conninfo, source: Path
) -> None:
    execute(at_table, "CREATE INDEX trees_id ON public.trees ((id + 1))")

    for _ in range(2):
        with pytest.raises(ToolFailedError, match="already exists"):
            migrations.apply(at_table, source=source)

    assert state(at_table) is True


def test_what_an_earlier_text_of_the_file_made_is_dropped(at_table: Conninfo, source: Path) -> None:
    invalidate(at_table, "trees_other")
    note(at_table, "apply", "CREATE INDEX CONCURRENTLY trees_other ON public.trees (id);")

    assert migrations.apply(at_table, source=source) == ["0002-index-trees"]

    assert state(at_table, "public.trees_other") is None
    assert state(at_table) is True


def test_a_failure_that_leaves_nothing_is_not_noted(at_table: Conninfo, source: Path) -> None:
    (source / "0002-index-trees.sql").write_text(INDEX.replace("(id)", "(nonsense)"))

    with pytest.raises(ToolFailedError) as caught:
        migrations.apply(at_table, source=source)

    assert "left nothing behind" in (caught.value.hint or "")
    assert migrations.status(at_table.replace(user="postgres"), source=source).unfinished == ()


def test_an_index_that_somebody_is_building_is_left_alone(at_table: Conninfo, source: Path) -> None:
    with (
        connect(at_table.replace(user="postgres"), purpose="test", autocommit=False) as writer,
        connect(at_table.replace(user="postgres"), purpose="by hand") as builder,
        connect(at_table.replace(user="postgres"), purpose="test") as watcher,
    ):
        writer.execute("INSERT INTO public.trees VALUES (1)")
        builder.pgconn.send_query(BUILT.encode())
        query = "SELECT count(*) FROM pg_stat_progress_create_index WHERE index_relid <> 0"
        while not scalar(watcher, query):
            pass

        with pytest.raises(LockedError, match="is being built by somebody else"):
            migrations.apply(at_table, source=source)
        assert repair(at_table, source=source, on_step=print) == []

        writer.rollback()
        while builder.pgconn.get_result():
            pass
    assert state(at_table) is True


def test_status_tells_what_is_unfinished_and_repair_drops_it(
    at_table: Conninfo, source: Path
) -> None:
    invalidate(at_table)
    execute(at_table, "ALTER INDEX public.trees_id OWNER TO case_owner")
    note(at_table, "apply", BUILT)
    found = migrations.status(at_table.replace(user="case_monitor"), source=source)
    assert found.unfinished == ("0002-index-trees",)

    would = repair(at_table, source=source, dry_run=True, on_step=print)
    assert [(one.index, one.action) for one in would] == [("public.trees_id", "drop")]
    assert state(at_table) is False
    assert repair(at_table, source=source, on_step=print) == would

    assert state(at_table) is None
    assert migrations.apply(at_table, source=source) == ["0002-index-trees"]
    assert repair(at_table, source=source, on_step=print) == []


def test_an_invalid_index_of_an_applied_migration_is_rebuilt(
    migrator: Conninfo, source: Path
) -> None:
    migrations.apply(migrator, source=source)
    invalidate(migrator)
    invalidate(migrator, "trees_id_ccnew")

    done = repair(migrator, source=source, on_step=print)

    assert [(one.index, one.action) for one in done] == [
        ("public.trees_id", "rebuild"),
        ("public.trees_id_ccnew", "drop"),
    ]
    assert state(migrator) is True
    assert state(migrator, "public.trees_id_ccnew") is None


def test_a_rollback_that_died_before_its_mark_is_finished_by_the_next(
    migrator: Conninfo, source: Path
) -> None:
    migrations.apply(migrator, source=source)
    note(migrator, "rollback", "DROP INDEX CONCURRENTLY public.trees_id;")
    execute(migrator, "DROP INDEX public.trees_id")

    assert migrations.rollback(migrator, source=source) == ["0002-index-trees"]
    assert migrations.apply(migrator, source=source) == ["0002-index-trees"]
    assert state(migrator) is True


@pytest.mark.parametrize("got_to", ["nothing", "invalid", "dropped"])
def test_after_an_interrupted_rollback_apply_has_the_index_again(
    migrator: Conninfo, source: Path, got_to: str
) -> None:
    migrations.apply(migrator, source=source)
    note(migrator, "rollback", "DROP INDEX CONCURRENTLY public.trees_id;")
    act: dict[str, Callable[[], None]] = {
        "nothing": lambda: None,
        "invalid": lambda: invalidate(migrator),
        "dropped": lambda: execute(migrator, "DROP INDEX public.trees_id"),
    }
    act[got_to]()

    assert migrations.apply(migrator, source=source) == []

    assert state(migrator) is True
    found = migrations.status(migrator.replace(user="postgres"), source=source)
    assert (found.unfinished, found.head) == ((), "0002-index-trees")


def test_a_rollback_of_an_index_that_somebody_dropped_is_an_error(
    migrator: Conninfo, source: Path
) -> None:
    migrations.apply(migrator, source=source)
    execute(migrator, "DROP INDEX public.trees_id")

    with pytest.raises(ToolFailedError, match="does not exist"):
        migrations.rollback(migrator, source=source)


def test_a_row_of_yoyos_own_lock_is_respected(migrator: Conninfo, source: Path) -> None:
    migrations.apply(migrator, source=source)
    execute(migrator, "INSERT INTO ops.yoyo_lock (locked, ctime, pid) VALUES (1, now(), 4711)")

    with pytest.raises(LockedError) as caught:
        migrations.apply(migrator, source=source)

    assert "4711" in (caught.value.detail or "")
    assert "yoyo break-lock" in (caught.value.hint or "")
