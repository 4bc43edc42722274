"""What the runner promises: each file once, whole or not at all, and errors with file and line."""

import os
from pathlib import Path

import pytest

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError, LockedError, ToolFailedError, UsageError
from casedb.locks import maintenance_lock
from casedb.migrations.backend import MigrationBackend
from tests.database.small_migrations import LEAVES, TREES, Write, tables


def test_applying_twice_applies_once(migrator: Conninfo, source: Path, write: Write) -> None:
    write("0001-create-trees", TREES, "DROP TABLE public.trees;")

    assert migrations.apply(migrator, source=source) == ["0001-create-trees"]
    assert migrations.apply(migrator, source=source) == []


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
