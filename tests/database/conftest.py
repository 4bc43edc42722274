"""The databases that the tests of the audit trail begin with."""

import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect
from tests.database.audit_world import CASE, CHAIR, CLERK, HASH, OTHER, USERS, WORKER, acting


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
