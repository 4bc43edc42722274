"""Four users, two cases with a history, and what the audit trail says of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection

from casedb.audit import Head, parse_head, read_heads, verify
from casedb.conninfo import Conninfo
from casedb.database import connect

HASH = "$2b$10$" + "a" * 53
CLERK, CHAIR, WORKER, WORKER_2 = (UUID(int=n) for n in range(1, 5))
USERS = ((CLERK, "CLERK"), (CHAIR, "CHAIR"), (WORKER, "CASEWORKER"), (WORKER_2, "CASEWORKER"))
CASE, OTHER = UUID(int=11), UUID(int=12)


@contextmanager
def acting(target: Conninfo, user: UUID) -> Iterator[Connection[Any]]:
    """A back end's transaction for `user`, committed at the end."""
    with psycopg.connect(target.replace(user="case_app").dsn) as connection:
        connection.execute("SELECT public.act_as(%s)", (str(user),))
        yield connection


def log(target: Conninfo, case: UUID = CASE) -> list[tuple[Any, ...]]:
    with connect(target, purpose="test") as admin:
        return admin.execute(
            "SELECT seq, action, user_id, login, details FROM public.case_logs"
            " WHERE case_id = %s ORDER BY seq",
            (case,),
        ).fetchall()


def problems(
    target: Conninfo, *, heads: list[Head] | None = None, case: UUID | None = None
) -> list[tuple[str, UUID, int | None]]:
    with connect(target.replace(user="case_backup"), purpose="test") as connection:
        report = verify(connection, heads=heads, case=case)
    return [(finding.kind, finding.subject, finding.seq) for finding in report.findings]


def heads_of(target: Conninfo) -> list[Head]:
    with connect(target.replace(user="case_backup"), purpose="test") as connection:
        text = b"".join(read_heads(connection)).decode()
    return [parse_head(line) for line in text.splitlines()]
