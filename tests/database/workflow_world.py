"""Users of each role, and cases anywhere in their flow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import Connection

from casedb.conninfo import Conninfo
from casedb.database import connect

HASH = "$2b$10$" + "a" * 53
CLERK, CHAIR, WORKER, WORKER_2, GONE, CHAIR_2 = (UUID(int=n) for n in range(1, 7))
USERS = (
    (CLERK, "CLERK", True),
    (CHAIR, "CHAIR", True),
    (CHAIR_2, "CHAIR", True),
    (WORKER, "CASEWORKER", True),
    (WORKER_2, "CASEWORKER", True),
    (GONE, "CASEWORKER", False),
)
FLOW = ("NEW", "PENDING_REVIEW", "ASSIGNED", "IN_PROGRESS", "PENDING_COMPLETION", "COMPLETED")


def staff(target: Conninfo) -> Conninfo:
    """Make these users in `target`, and return it."""
    with connect(target, purpose="test") as connection:
        for number, (user, role, active) in enumerate(USERS):
            connection.execute(
                "INSERT INTO public.users (id, email, password, role, first_name, last_name,"
                " is_active) VALUES (%s, %s, %s, %s, 'a', 'b', %s)",
                (user, f"u{number}@example.com", HASH, role, active),
            )
    return target


def place(staffed: Conninfo, status: str, worker: UUID | None = WORKER) -> UUID:
    """Put a case into the middle of the flow, past its guards; return its id."""
    case = uuid4()
    early = status in ("NEW", "PENDING_REVIEW")
    with connect(staffed, purpose="test") as connection:
        connection.execute("SET casedb.bulk_load = on")
        connection.execute(
            "INSERT INTO public.cases (id, title, description, status, created_by, assigned_to)"
            " VALUES (%s, 't', '', %s, %s, %s)",
            (case, status, CLERK, None if early else worker),
        )
    return case


@contextmanager
def acting(staffed: Conninfo, user: UUID | None) -> Iterator[Connection[Any]]:
    """A back end's connection in a transaction for `user`; committed at the end."""
    with psycopg.connect(staffed.replace(user="case_app").dsn) as connection:
        if user:
            connection.execute("SELECT public.act_as(%s)", (str(user),))
        yield connection


def move(connection: Connection[Any], case: UUID, status: str, worker: UUID | None = None) -> int:
    """Put a case into `status`; return how many rows that changed, none if one sees none."""
    if worker:
        return connection.execute(
            "UPDATE public.cases SET status = %s, assigned_to = %s WHERE id = %s",
            (status, worker, case),
        ).rowcount
    return connection.execute(
        "UPDATE public.cases SET status = %s WHERE id = %s", (status, case)
    ).rowcount
