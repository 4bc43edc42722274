"""The audit trail is written by itself: every change, who made it, one chain a case."""

import threading

import psycopg
import pytest
from psycopg import errors

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from tests.database.audit_world import (
    CASE,
    CHAIR,
    CLERK,
    HASH,
    OTHER,
    WORKER,
    WORKER_2,
    acting,
    log,
    problems,
)


def test_every_change_to_a_case_is_logged_with_who_and_what(told: Conninfo) -> None:
    entries = log(told)

    assert [(seq, action, user) for seq, action, user, _, _ in entries] == [
        (1, "created", CLERK),
        (2, "updated", CLERK),
        (3, "status_changed", CLERK),
        (4, "commented", CLERK),
        (5, "document_added", CLERK),
        (6, "assigned", CHAIR),
        (7, "status_changed", CHAIR),
    ]
    assert {login for _, _, _, login, _ in entries} == {"case_app"}
    details = [entry[4] for entry in entries]
    assert details[0] == {"status": "NEW", "priority": "MEDIUM"}
    assert details[1]["priority"] == {"from": "MEDIUM", "to": "HIGH"}
    assert details[2] == {"from": "NEW", "to": "PENDING_REVIEW"}
    assert details[5] == {"from": None, "to": str(WORKER)}
    assert problems(told) == []


def test_no_free_text_is_in_the_log(told: Conninfo) -> None:
    with connect(told, purpose="test") as admin:
        text = scalar(
            admin,
            "SELECT (SELECT string_agg(l::text, ' ') FROM public.case_logs AS l)"
            " || (SELECT string_agg(l::text, ' ') FROM audit.user_logs AS l)",
        )

    for word in ("ecret", "idden", "example.com", "Jane", HASH):
        assert word not in text
    assert text.count("sha256:") >= 6


def test_equal_texts_of_two_cases_have_different_digests(told: Conninfo) -> None:
    first, second = log(told)[1][4]["title"], log(told, OTHER)[1][4]["title"]

    assert first != second


def test_what_does_not_change_is_not_logged(told: Conninfo) -> None:
    before = log(told)
    with acting(told, CHAIR) as app:
        app.execute("UPDATE public.cases SET title = title, updated_at = now()")

    assert log(told) == before


def test_reassigning_and_documents_are_logged(told: Conninfo) -> None:
    with acting(told, CHAIR) as app:
        app.execute("SELECT public.reassign_case(%s, %s, %s)", (CASE, WORKER, WORKER_2))
    with psycopg.connect(told.replace(user="case_seed").dsn) as seed:
        seed.execute("SELECT set_config('app.user_id', %s, true)", (str(CHAIR),))
        seed.execute("UPDATE public.case_documents SET filename = 'x' WHERE case_id = %s", (CASE,))
        seed.execute("DELETE FROM public.case_documents WHERE case_id = %s", (CASE,))

    assert [(e[1], e[2], e[3]) for e in log(told)[7:]] == [
        ("assigned", CHAIR, "case_app"),
        ("document_updated", CHAIR, "case_seed"),
        ("document_removed", CHAIR, "case_seed"),
    ]
    assert log(told)[8][4]["changed"] == ["filename"]
    assert problems(told) == []


def test_maintenance_has_to_say_who_is_responsible(told: Conninfo) -> None:
    for login in ("case_seed", "postgres"):
        with (
            psycopg.connect(told.replace(user=login).dsn) as connection,
            pytest.raises(errors.InvalidRoleSpecification) as caught,
        ):
            connection.execute("UPDATE public.cases SET priority = 'LOW'")
        assert "app.user_id" in (caught.value.diag.message_hint or "")


def test_changes_of_users_are_a_chain_of_their_own(staffed: Conninfo) -> None:
    with psycopg.connect(staffed.replace(user="case_seed").dsn) as seed:
        seed.execute("SELECT set_config('app.user_id', %s, true)", (str(CHAIR),))
        for change in ("role = 'CHAIR'", "is_active = false", "email = 'new@example.com'"):
            seed.execute(f"UPDATE public.users SET {change} WHERE id = '{CLERK}'".encode())
        seed.execute(f"UPDATE public.users SET is_active = true WHERE id = '{CLERK}'".encode())
        seed.execute("UPDATE public.users SET first_name = 'Joan' WHERE id = %s", (CLERK,))
        seed.execute("DELETE FROM public.users WHERE id = %s", (WORKER_2,))

    with connect(staffed, purpose="test") as admin:
        rows = admin.execute(
            "SELECT action, actor, login, details -> 'to' FROM audit.user_logs"
            " WHERE user_id = %s ORDER BY seq",
            (CLERK,),
        ).fetchall()
        deleted = "SELECT action FROM audit.user_logs WHERE user_id = %s ORDER BY seq DESC LIMIT 1"
        assert scalar(admin, deleted, WORKER_2) == "deleted"
    assert [row[0] for row in rows] == [
        "created",
        "role_changed",
        "deactivated",
        "email_changed",
        "activated",
    ]
    assert rows[0][1] is None
    assert {row[1:3] for row in rows[1:]} == {(CHAIR, "case_seed")}
    assert rows[1][3] == "CHAIR"
    assert problems(staffed) == []


def test_the_plans_own_log_entry_joins_the_chain(staffed: Conninfo) -> None:
    """The seed script writes `created` itself, beside the trigger's, with the client's clock."""
    with psycopg.connect(staffed.replace(user="case_seed").dsn) as seed:
        seed.execute(
            "INSERT INTO public.cases (id, title, description, created_by)"
            " VALUES (%s, 't', '', %s)",
            (CASE, CLERK),
        )
        seed.execute(
            "INSERT INTO public.case_logs (case_id, user_id, action, details, timestamp, seq, hash)"
            " VALUES (%s, %s, 'created', '{}', '2001-01-01', 77, '\\x00')",
            (CASE, CLERK),
        )

    assert [entry[:2] for entry in log(staffed)] == [(1, "created"), (2, "created")]
    with connect(staffed, purpose="test") as admin:
        assert scalar(admin, "SELECT min(timestamp) > '2020-01-01' FROM public.case_logs")
    assert problems(staffed) == []


def test_many_at_once_make_one_chain_without_a_gap(told: Conninfo) -> None:
    failures: list[Exception] = []

    def comment() -> None:
        try:
            for _ in range(10):
                with acting(told, CHAIR) as app:
                    app.execute("SELECT public.comment_on_case(%s, 'c')", (CASE,))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=comment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert [entry[0] for entry in log(told)] == list(range(1, 48))
    assert problems(told) == []


@pytest.mark.parametrize("level", ["REPEATABLE_READ", "SERIALIZABLE"])
def test_an_older_snapshot_gets_an_error_and_never_forks(told: Conninfo, level: str) -> None:
    with psycopg.connect(told.replace(user="case_app").dsn) as late:
        late.isolation_level = psycopg.IsolationLevel[level]
        late.execute("SELECT public.act_as(%s)", (str(CHAIR),))
        with acting(told, CHAIR) as app:
            app.execute("SELECT public.comment_on_case(%s, 'c')", (CASE,))
        with pytest.raises((errors.SerializationFailure, errors.UniqueViolation)):
            late.execute("SELECT public.comment_on_case(%s, 'c')", (CASE,))

    assert problems(told) == []
