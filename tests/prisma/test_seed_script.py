"""The customer's own seed script, changed only in how the client is made."""

import hashlib
from typing import Any

import bcrypt

from casedb import audit
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.marks import Mark, set_mark
from casedb.node import Ended
from casedb.sqlfiles import folder
from tests.prisma.conftest import Contract

# Of the script as the customer wrote it, from `async function main` on.
AS_WRITTEN = "1847343895d60a78b8c62bde52ef907a4e4b39300f1acd8605826e0b2e9a83dd"


def run(contract: Contract, database: Conninfo, user: str = "case_seed") -> Ended:
    return contract.run("tsx", "seed.ts", target=database.replace(user=user))


def rows(database: Conninfo, statement: str) -> list[Any]:
    with connect(database, purpose="test") as connection:
        return connection.execute(statement.encode()).fetchall()


COUNTS = """
    SELECT (SELECT count(*) FROM public.users), (SELECT count(*) FROM public.cases),
           (SELECT count(*) FROM public.case_logs)
"""


def test_it_is_the_customers_script() -> None:
    text = (folder("sql/prisma") / "seed.ts").read_text()
    body = text[text.index("async function main") :]

    assert hashlib.sha256(body.encode()).hexdigest() == AS_WRITTEN


def test_it_makes_the_plans_users_case_and_log(contract: Contract, database: Conninfo) -> None:
    ended = run(contract, database)

    assert (ended.code, ended.err) == (0, "")
    users = rows(database, "SELECT email, role, first_name, password FROM public.users ORDER BY 1")
    assert [user[:3] for user in users] == [
        ("caseworker@example.com", "CASEWORKER", "Bob"),
        ("chair@example.com", "CHAIR", "Jane"),
        ("clerk@example.com", "CLERK", "John"),
    ]
    assert all(bcrypt.checkpw(b"password123", user[3].encode()) for user in users)
    assert rows(database, "SELECT title, status, priority FROM public.cases") == [
        ("Sample Case for Testing", "NEW", "MEDIUM")
    ]
    # The trigger's entry and the script's own, one chain.
    log = "SELECT seq, action, details ->> 'message' FROM public.case_logs ORDER BY seq"
    assert rows(database, log) == [
        (1, "created", None),
        (2, "created", "Case created during Phase 0 setup"),
    ]


def test_its_own_entry_does_not_break_the_chain(contract: Contract, database: Conninfo) -> None:
    run(contract, database)

    with connect(database, purpose="test") as connection:
        whole = audit.verify(connection)
        connection.execute("ALTER TABLE public.case_logs DISABLE TRIGGER case_logs_append_only")
        connection.execute("UPDATE public.case_logs SET action = 'forged' WHERE seq = 2")
        forged = audit.verify(connection)
    assert (whole.entries, whole.findings) == (2, ())
    assert [finding.seq for finding in forged.findings] == [2]


def test_the_second_time_it_says_p2002_and_changes_nothing(
    contract: Contract, database: Conninfo
) -> None:
    run(contract, database)
    before = rows(database, COUNTS)

    again = run(contract, database)

    # As the customer wrote it: the error is printed, the exit code is 0.
    assert (again.code, "P2002" in again.err) == (0, True)
    assert rows(database, COUNTS) == before == [(3, 1, 2)]


def test_only_a_development_database_gets_the_public_password(
    contract: Contract, database: Conninfo
) -> None:
    with connect(database, purpose="test") as connection:
        set_mark(connection, database.dbname, Mark.PRODUCTION)

    ended = run(contract, database)

    assert ended.code == 1
    assert "marked production" in ended.err
    assert rows(database, COUNTS) == [(0, 0, 0)]


def test_the_application_itself_may_not_seed(contract: Contract, database: Conninfo) -> None:
    ended = run(contract, database, user="case_app")

    assert "permission denied" in ended.err
    assert rows(database, COUNTS) == [(0, 0, 0)]
