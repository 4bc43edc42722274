"""What the tests of the audit trail, of the runner of migrations and of volumes begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.marks import Mark, set_mark
from casedb.roles import apply_roles
from tests.database.audit_world import (
    CASE,
    CHAIR,
    CLERK,
    HASH,
    OTHER,
    USERS,
    WORKER,
    acting,
    chained,
    far,
)
from tests.database.small_migrations import Write
from tests.database.small_volume import BLOCK


@pytest.fixture
def staffed(database: Conninfo) -> Conninfo:
    """The superuser on a database with four users, each logged by the trigger."""
    with connect(database.replace(user="case_seed"), purpose="test") as connection:
        for number, (user, role) in enumerate(USERS):
            connection.execute(
                "INSERT INTO public.users (id, email, password, role, first_name, last_name)"
                " VALUES (%s, %s, %s, %s, 'Jane', 'Doe')",
                (user, f"u{number}@example.com", HASH, role),
            )
    return database


@pytest.fixture
def told(staffed: Conninfo) -> Conninfo:
    """A database in which two cases have a history."""
    for case in (CASE, OTHER):
        with acting(staffed, CLERK) as app:
            app.execute(
                "INSERT INTO public.cases (id, title, description, created_by)"
                " VALUES (%s, 'Secret title', 'Secret text', %s)",
                (case, CLERK),
            )
            app.execute(
                "UPDATE public.cases SET status = 'PENDING_REVIEW', title = 'Hidden title',"
                " priority = 'HIGH' WHERE id = %s",
                (case,),
            )
            app.execute("SELECT public.comment_on_case(%s, 'Secret comment')", (case,))
            app.execute(
                "INSERT INTO public.case_documents"
                " (case_id, filename, s3_key, mime_type, file_size, uploaded_by)"
                " VALUES (%s, 'secret.pdf', %s, 'application/pdf', 5, %s)",
                (case, f"key/{case}", CLERK),
            )
        with acting(staffed, CHAIR) as app:
            app.execute(
                "UPDATE public.cases SET status = 'ASSIGNED', assigned_to = %s WHERE id = %s",
                (WORKER, case),
            )
    return staffed


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


@pytest.fixture(scope="session")
def workshop(cluster: Conninfo) -> Conninfo:
    """A database for tests of migrations: one for all is much faster than one each."""
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


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a volume have blocks of 100 cases."""
    monkeypatch.setattr("casedb.volume.BLOCK", BLOCK)


@pytest.fixture
def twin(cluster: Conninfo, template: str) -> Iterator[Conninfo]:
    """The superuser's conninfo of a second migrated development database."""
    with connect(cluster, purpose="test") as connection:
        connection.execute(f"CREATE DATABASE twin TEMPLATE {template}".encode())
        set_mark(connection, "twin", Mark.DEVELOPMENT)
        apply_roles(cluster.replace(dbname="twin"))
        yield cluster.replace(dbname="twin")
        connection.execute("DROP DATABASE twin WITH (FORCE)")


@pytest.fixture
def many(told: Conninfo) -> Conninfo:
    """Two cases whose ids begin alike, and eighteen more: a block of sixteen and one of four."""
    chained(told, *(far(n) for n in range(1, 19)))
    return told
