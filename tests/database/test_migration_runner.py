"""What the runner promises: refusals before anything happens, errors with file and line."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError, LockedError, RefusedError, ToolFailedError, UsageError
from casedb.locks import maintenance_lock
from casedb.migrations.backend import MigrationBackend
from casedb.migrations.files import read_folder
from casedb.roles import apply_roles

Write = Callable[..., None]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder of migrations."""
    made = tmp_path / "migrations"
    made.mkdir()
    return made


@pytest.fixture
def write(source: Path) -> Write:
    """Write one migration, and its rollback if there is one."""

    def to_folder(name: str, sql: str, rollback: str | None = None) -> None:
        (source / f"{name}.sql").write_text(sql)
        if rollback is not None:
            (source / f"{name}.rollback.sql").write_text(rollback)

    return to_folder


@pytest.fixture(scope="module")
def workshop(cluster: Conninfo) -> Conninfo:
    """A database of this file's own: one for all is much faster than one each."""
    with connect(cluster, purpose="test") as connection:
        connection.execute("CREATE DATABASE migration_runner")
    return cluster.replace(dbname="migration_runner")


@pytest.fixture
def migrator(workshop: Conninfo) -> Conninfo:
    """case_migrator on a database with the roles and nothing else."""
    with connect(workshop, purpose="test") as connection:
        connection.execute("DROP SCHEMA IF EXISTS public, ops CASCADE")
        connection.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
    apply_roles(workshop)
    return workshop.replace(user="case_migrator")


def tables(target: Conninfo) -> list[str]:
    with connect(target.replace(user="postgres"), purpose="test") as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace ORDER BY 1"
        )
        return [name for (name,) in rows.fetchall()]


TREES = "CREATE TABLE public.trees (id int);"
LEAVES = "-- depends: 0001-create-trees\nCREATE TABLE public.leaves (id int);"


def test_applying_twice_applies_once(migrator: Conninfo, source: Path, write: Write) -> None:
    write("0001-create-trees", TREES, "DROP TABLE public.trees;")

    assert migrations.apply(migrator, source=source) == ["0001-create-trees"]
    assert migrations.apply(migrator, source=source) == []


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


def test_rolling_back_nothing_is_a_mistake(migrator: Conninfo, source: Path) -> None:
    with pytest.raises(UsageError):
        migrations.rollback(migrator, source=source, count=0)


def test_an_error_names_file_line_and_sqlstate_and_undoes_the_file(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write(
        "0001-create-trees",
        "-- Trees.\n\n"
        + TREES
        + "\n\n-- A comment; with a semicolon.\nCREATE TABLE public.leaves (\n    id int,\n"
        + "    tree nonsense\n);\n",
    )

    with pytest.raises(ToolFailedError) as caught:
        migrations.apply(migrator, source=source)

    assert caught.value.message == (
        'migration 0001-create-trees failed: type "nonsense" does not exist'
    )
    assert (caught.value.detail or "").startswith(
        "migrations/0001-create-trees.sql, line 8, column 10: SQLSTATE 42704."
    )
    assert tables(migrator) == []
    assert migrations.status(migrator.replace(user="postgres"), source=source).applied == ()


def test_an_error_without_a_position_names_the_statements_first_line(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", f"{TREES}\n\n-- Why not.\nINSERT INTO public.trees\nSELECT 1/0;")

    with pytest.raises(ToolFailedError) as caught:
        migrations.apply(migrator, source=source)

    assert "line 4: SQLSTATE 22012" in (caught.value.detail or "")


def test_the_ones_before_a_failing_one_stay_applied(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES)
    write("0002-create-leaves", LEAVES.replace("(id int)", "(id nonsense)"))
    with pytest.raises(ToolFailedError):
        migrations.apply(migrator, source=source)

    write("0002-create-leaves", LEAVES)

    assert migrations.apply(migrator, source=source) == ["0002-create-leaves"]


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


def test_a_name_without_its_schema_is_an_error_and_not_a_table_in_ops(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", "CREATE TABLE trees (id int);")

    with pytest.raises(ToolFailedError, match="no schema has been selected"):
        migrations.apply(migrator, source=source)


def test_what_a_migration_sets_does_not_reach_the_next(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", f"SET lock_timeout = '5s'; RESET ROLE; SET ROLE case_owner; {TREES}")
    write(
        "0002-create-leaves",
        "-- depends: 0001-create-trees\nCREATE TABLE public.leaves AS"
        " SELECT current_setting('lock_timeout') AS found, current_user::text AS who;",
    )
    migrations.apply(migrator, source=source)

    with connect(migrator.replace(user="postgres"), purpose="test") as connection:
        found = connection.execute("SELECT * FROM public.leaves").fetchone()
    assert found == ("200ms", "case_owner")


def test_a_select_in_a_migration_prints_nothing(
    migrator: Conninfo, source: Path, write: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    write("0001-create-trees", f"{TREES} SELECT 'hello', '100%';")
    migrations.apply(migrator, source=source)
    write("0002-create-leaves", "-- depends: 0001-create-trees\nSELECT 1/0;")
    with pytest.raises(ToolFailedError):
        migrations.apply(migrator, source=source)

    assert capfd.readouterr() == ("", "")


def test_a_migration_that_cannot_get_a_lock_gives_way_and_tries_again(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES)
    migrations.apply(migrator, source=source)
    write(
        "0002-alter-trees",
        "-- depends: 0001-create-trees\nALTER TABLE public.trees ADD COLUMN leaves int;",
    )
    admin = migrator.replace(user="postgres")
    steps: list[str] = []
    with connect(admin, purpose="test", autocommit=False) as reader:
        reader.execute("SELECT * FROM public.trees")

        def on_step(step: str) -> None:
            steps.append(step)
            if "attempt 3" in step:
                reader.commit()

        applied = migrations.apply(migrator, source=source, on_step=on_step, lock_timeout_ms=20)

    assert applied == ["0002-alter-trees"]
    assert len([step for step in steps if "waits for a lock" in step]) == 2


def test_a_lock_that_never_comes_ends_in_an_error_with_a_way_out(
    migrator: Conninfo, source: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casedb.migrations.backend.LOCK_ATTEMPTS", 2)
    write("0001-create-trees", TREES)
    migrations.apply(migrator, source=source)
    write("0002-drop-trees", "-- depends: 0001-create-trees\nDROP TABLE public.trees;")
    with connect(migrator.replace(user="postgres"), purpose="test", autocommit=False) as reader:
        reader.execute("SELECT * FROM public.trees")

        with pytest.raises(ToolFailedError) as caught:
            migrations.apply(migrator, source=source, lock_timeout_ms=20)

    assert "SQLSTATE 55P03" in (caught.value.detail or "")
    assert "pg_stat_activity" in (caught.value.hint or "")


def test_another_run_is_named_and_nothing_is_touched(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES)
    with (
        connect(migrator.replace(user="postgres"), purpose="long dump") as other,
        maintenance_lock(other),
        pytest.raises(LockedError) as caught,
    ):
        migrations.apply(migrator, source=source)

    assert "casedb long dump" in (caught.value.detail or "")
    assert tables(migrator) == []


def test_a_concurrent_index_is_built_and_dropped(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES)
    write(
        "0002-index-trees",
        "-- depends: 0001-create-trees\n-- transactional: false\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS trees_id ON public.trees (id);",
        "DROP INDEX CONCURRENTLY public.trees_id;",
    )

    assert migrations.apply(migrator, source=source)[-1] == "0002-index-trees"
    assert migrations.rollback(migrator, source=source) == ["0002-index-trees"]
    assert migrations.apply(migrator, source=source) == ["0002-index-trees"]


def test_an_invalid_index_is_never_taken_for_a_built_one(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", f"{TREES} INSERT INTO public.trees VALUES (1), (1);")
    write(
        "0002-index-trees",
        "-- depends: 0001-create-trees\n-- transactional: false\n"
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS trees_id ON public.trees (id);",
    )
    with pytest.raises(ToolFailedError, match="could not create unique index") as caught:
        migrations.apply(migrator, source=source)
    assert "invalid index public.trees_id" in (caught.value.hint or "")

    # The leftover satisfies IF NOT EXISTS: yoyo alone would now call it applied.
    steps: list[str] = []
    with pytest.raises(ToolFailedError, match="could not create unique index"):
        migrations.apply(migrator, source=source, on_step=steps.append)
    assert any("public.trees_id was left invalid by an earlier run" in step for step in steps)

    with connect(migrator.replace(user="postgres"), purpose="test") as connection:
        connection.execute("DELETE FROM public.trees")
    assert migrations.apply(migrator, source=source) == ["0002-index-trees"]
    with connect(migrator.replace(user="postgres"), purpose="test") as connection:
        query = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.trees_id'::regclass"
        assert scalar(connection, query)
        assert scalar(connection, "SELECT count(*) FROM ops.casedb_unfinished") == 0


def test_a_database_without_the_roles_schema_is_refused_with_advice(
    empty_database: Conninfo, source: Path
) -> None:
    with pytest.raises(ConfigurationError, match="not been prepared") as caught:
        migrations.apply(empty_database, source=source)

    assert "sql/roles" in (caught.value.hint or "")


def test_who_is_not_the_migrator_is_refused(migrator: Conninfo, source: Path, write: Write) -> None:
    write("0001-create-trees", TREES)

    with pytest.raises(ConfigurationError, match="not been prepared") as caught:
        migrations.apply(migrator.replace(user="case_backup"), source=source)

    assert "case_owner" in (caught.value.detail or "")


def test_status_of_a_database_without_anything_is_no_error(
    empty_database: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES)

    found = migrations.status(empty_database, source=source)

    assert (found.applied, found.pending, found.head) == ((), ("0001-create-trees",), None)


def test_a_password_is_in_nothing_that_is_printed(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", "SELECT 1/0;")
    with_password = migrator.replace(password="correct-horse")
    with pytest.raises(ToolFailedError) as caught:
        migrations.apply(with_password, source=source)
    with MigrationBackend(with_password, purpose="test", on_step=print) as backend:
        shown = f"{backend.uri}{backend.uri!r}{backend!r}{caught.value}"

    assert "correct-horse" not in shown


GROWN = (
    "-- depends: 0001-create-trees\n"
    "SET LOCAL ROLE case_seed;"
    "UPDATE public.trees SET id = id + 10;"
    "SET LOCAL ROLE case_owner;"
    "ALTER TABLE public.trees ADD grown boolean DEFAULT true;"
)
SECURED_TREES = (
    f"{TREES} INSERT INTO public.trees VALUES (1), (2);"
    "GRANT SELECT, UPDATE ON public.trees TO case_seed;"
    "ALTER TABLE public.trees ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
)


def test_data_under_row_security_is_not_silently_left_out(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", SECURED_TREES)
    write("0002-grow-trees", "-- depends: 0001-create-trees\nUPDATE public.trees SET id = 2;")

    with pytest.raises(ToolFailedError, match="row-level security") as caught:
        migrations.apply(migrator, source=source)

    assert "SET LOCAL ROLE case_seed" in (caught.value.hint or "")


def test_data_is_changed_as_a_role_that_sees_all_rows_and_the_schema_as_the_owner(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", SECURED_TREES)
    write("0002-grow-trees", GROWN)

    migrations.apply(migrator, source=source)

    with connect(migrator.replace(user="postgres"), purpose="test") as connection:
        rows = connection.execute("SELECT id, grown FROM public.trees ORDER BY id").fetchall()
        assert rows == [(11, True), (12, True)]
        # Nobody else saw row security off meanwhile, and it is on now.
        assert scalar(
            connection,
            "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class"
            " WHERE oid = 'public.trees'::regclass",
        )


def test_an_owner_who_may_not_create_is_told_so(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES)
    with connect(migrator.replace(user="postgres"), purpose="test") as connection:
        connection.execute("ALTER SCHEMA public OWNER TO postgres")
        connection.execute("REVOKE ALL ON SCHEMA public FROM case_owner, case_lookup")

    with pytest.raises(ToolFailedError, match="permission denied for schema public") as caught:
        migrations.apply(migrator, source=source)

    assert "sql/roles" in (caught.value.hint or "")
    assert tables(migrator) == []


def test_the_servers_log_stays_free_of_errors(
    migrator: Conninfo, source: Path, write: Write
) -> None:
    write("0001-create-trees", TREES)
    with connect(migrator.replace(user="postgres"), purpose="test") as connection:
        folder = Path(str(scalar(connection, "SHOW data_directory"))).parent
        name = scalar(connection, "SELECT current_database()")
    log = folder / "server.log"
    begin = os.path.getsize(log)

    migrations.apply(migrator, source=source)
    migrations.apply(migrator, source=source)

    written = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    assert [line for line in written if "ERROR" in line and f"@{name}" in line] == []
