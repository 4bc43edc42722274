"""Histories loaded by the thousand go through the same chain."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection, errors

from casedb.conninfo import Conninfo
from casedb.database import scalar
from casedb.roles import apply_roles
from tests.database.audit_world import CASE, CHAIR, CLERK, WORKER, acting, log, problems


@pytest.fixture
def seeder(staffed: Conninfo) -> Iterator[Connection[Any]]:
    with psycopg.connect(staffed.replace(user="case_seed").dsn) as connection:
        connection.execute("SET LOCAL casedb.bulk_load = on")
        connection.execute(
            "INSERT INTO public.cases (id, title, description, status, created_by, assigned_to)"
            " SELECT ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, 't', '',"
            " 'ASSIGNED', %s, %s FROM generate_series(100, 149) AS i",
            (CLERK, WORKER),
        )
        yield connection


def test_staged_histories_are_loaded_with_a_valid_chain(
    staffed: Conninfo, seeder: Connection[Any]
) -> None:
    columns = 'case_id, user_id, action, details, "timestamp"'
    with seeder.cursor().copy(f"COPY audit.staged_case_logs ({columns}) FROM STDIN") as copy:
        for number, action in enumerate(("created", "status_changed", "assigned")):
            for case in range(100, 150):
                case_id = f"00000000-0000-0000-0000-{case:012}"
                details = '{"to": "\u017b", "n": 1.50}' if number else None
                copy.write_row((case_id, CLERK, action, details, f"2020-01-0{number + 1}"))

    assert scalar(seeder, "SELECT audit.load_staged_case_logs()") == 150
    assert scalar(seeder, "SELECT count(*) FROM audit.staged_case_logs") == 0
    seeder.commit()
    assert problems(staffed) == []
    assert [entry[:2] for entry in log(staffed, UUID("00000000-0000-0000-0000-000000000100"))] == [
        (1, "created"),
        (2, "status_changed"),
        (3, "assigned"),
    ]


def test_a_loaded_case_goes_on_in_the_same_chain(
    staffed: Conninfo, seeder: Connection[Any]
) -> None:
    case = UUID("00000000-0000-0000-0000-000000000100")
    stage = (
        'INSERT INTO audit.staged_case_logs (case_id, user_id, action, "timestamp")'
        " SELECT id, created_by, 'created', '2020-01-01' FROM public.cases"
    )
    seeder.execute(stage.encode())
    seeder.execute("SELECT audit.load_staged_case_logs()")
    seeder.execute(stage.encode())
    with pytest.raises(errors.UniqueViolation), seeder.transaction():
        seeder.execute("SELECT audit.load_staged_case_logs()")
    seeder.execute("TRUNCATE audit.staged_case_logs")
    seeder.commit()

    with acting(staffed, WORKER) as app:
        app.execute("UPDATE public.cases SET status = 'IN_PROGRESS' WHERE id = %s", (case,))

    assert [entry[:2] for entry in log(staffed, case)] == [(1, "created"), (2, "status_changed")]
    assert problems(staffed) == []


def test_the_application_cannot_load_past_the_trail(told: Conninfo) -> None:
    for statement in (
        "UPDATE public.cases SET priority = 'LOW'",
        "INSERT INTO public.case_documents (case_id, filename, s3_key, mime_type, file_size,"
        f" uploaded_by) VALUES ('{CASE}', 'f', 'k', 'a/b', 1, '{CHAIR}')",
    ):
        with acting(told, CHAIR) as app:
            app.execute("SET LOCAL casedb.bulk_load = on")
            with pytest.raises(errors.InsufficientPrivilege), app.transaction():
                app.execute(statement.encode())


def test_the_roles_can_be_applied_again_to_a_database_with_a_trail(told: Conninfo) -> None:
    apply_roles(told)

    with acting(told, CHAIR) as app:
        app.execute("SELECT public.comment_on_case(%s, 'c')", (CASE,))
