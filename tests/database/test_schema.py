"""Every rule of the tables, refused by its name; and the things the plan asks for by name."""

import re
from collections.abc import Iterator
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection, errors, sql

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar

HASH = "$2b$10$" + "a" * 53
CLERK = UUID("00000000-0000-4000-8000-000000000001")
WORKER = UUID("00000000-0000-4000-8000-000000000002")
CASE = UUID("00000000-0000-4000-8000-00000000000a")
NOBODY = UUID("00000000-0000-4000-8000-0000000000ff")

USER = {
    "email": "new@example.com",
    "password": HASH,
    "role": "CLERK",
    "first_name": "N",
    "last_name": "W",
}
A_CASE = {"title": "T", "description": "", "created_by": CLERK}
LOG = {"case_id": CASE, "user_id": CLERK, "action": "created"}
DOCUMENT = {
    "case_id": CASE,
    "filename": "letter.pdf",
    "s3_key": "cases/letter.pdf",
    "mime_type": "application/pdf",
    "file_size": 1,
    "uploaded_by": CLERK,
}
COMMENT = {"case_id": CASE, "user_id": CLERK, "body": "b"}
VALID: dict[str, dict[str, Any]] = {
    "case_comments": COMMENT,
    "users": USER,
    "cases": A_CASE,
    "case_logs": LOG,
    "case_documents": DOCUMENT,
}

REFUSED = [
    ("users", {"email": "nobody"}, "valid_email"),
    ("users", {"email": "a@b"}, "valid_email"),
    ("users", {"email": "Clerk@example.com"}, "users_email_lower_case"),
    ("users", {"email": "a@b..com"}, "users_email_no_empty_part"),
    ("users", {"email": ".a@b.com"}, "users_email_no_empty_part"),
    ("users", {"email": "a.@b.com"}, "users_email_no_empty_part"),
    ("users", {"email": "clerk@example.com"}, "users_email_key"),
    ("users", {"password": "password123"}, "users_password_is_bcrypt"),
    ("users", {"password": HASH.replace("10", "04")}, "users_password_is_bcrypt"),
    ("users", {"role": "ADMIN"}, "users_role_known"),
    ("users", {"role": "clerk"}, "users_role_known"),
    ("users", {"first_name": ""}, "users_first_name_not_blank"),
    ("users", {"last_name": "\t"}, "users_last_name_not_blank"),
    ("cases", {"title": ""}, "case_title_not_empty"),
    ("cases", {"title": "   "}, "case_title_not_empty"),
    ("cases", {"title": "\t\n"}, "cases_title_not_blank"),
    ("cases", {"title": "\u00a0"}, "cases_title_not_blank"),
    ("cases", {"title": "\u2003\u200b\u3000\ufeff"}, "cases_title_not_blank"),
    ("cases", {"status": "New"}, "cases_status_known"),
    ("cases", {"status": "CLOSED"}, "cases_status_known"),
    ("cases", {"priority": "SOON"}, "cases_priority_known"),
    ("cases", {"status": "ASSIGNED"}, "cases_assignee_present"),
    ("cases", {"status": "COMPLETED"}, "cases_assignee_present"),
    ("cases", {"assigned_to": WORKER}, "cases_assignee_after_review"),
    ("cases", {"status": "PENDING_REVIEW", "assigned_to": WORKER}, "cases_assignee_after_review"),
    ("cases", {"created_by": NOBODY}, "cases_created_by_fkey"),
    ("cases", {"status": "ASSIGNED", "assigned_to": NOBODY}, "cases_assigned_to_fkey"),
    ("case_logs", {"action": ""}, "case_logs_action_is_a_word"),
    ("case_logs", {"action": "Status changed"}, "case_logs_action_is_a_word"),
    ("case_logs", {"case_id": NOBODY}, "case_logs_case_id_fkey"),
    ("case_logs", {"user_id": NOBODY}, "case_logs_user_id_fkey"),
    ("case_comments", {"body": "\u00a0\n"}, "case_comments_body_not_blank"),
    ("case_comments", {"body": None}, "case_comments_erased_or_there"),
    ("case_comments", {"case_id": NOBODY}, "case_comments_case_id_fkey"),
    ("case_comments", {"user_id": NOBODY}, "case_comments_user_id_fkey"),
    ("case_documents", {"file_size": 104857601}, "reasonable_file_size"),
    ("case_documents", {"file_size": -1}, "case_documents_file_size_not_negative"),
    ("case_documents", {"filename": " "}, "case_documents_filename_not_blank"),
    ("case_documents", {"s3_key": "\u00a0"}, "case_documents_s3_key_not_blank"),
    ("case_documents", {"mime_type": "pdf"}, "case_documents_mime_type_valid"),
    ("case_documents", {"case_id": NOBODY}, "case_documents_case_id_fkey"),
    ("case_documents", {"uploaded_by": NOBODY}, "case_documents_uploaded_by_fkey"),
]
ACCEPTED = [
    ("users", {"email": "o.neill+case@mail.example.co.uk"}),
    ("users", {"first_name": "\u5f20", "last_name": "\u0141"}),
    ("users", {"password": "$2a$12$" + "./A9" * 13 + "z"}),
    ("cases", {"title": "\u00a0x"}),
    ("cases", {"status": "COMPLETED", "assigned_to": WORKER}),
    ("case_logs", {"action": "status_changed", "details": "null"}),
    ("case_documents", {"file_size": 0}),
    ("case_documents", {"file_size": 104857600}),
    ("case_documents", {"mime_type": "text/plain; charset=utf-8"}),
]


@pytest.fixture(scope="module")
def clone(cluster: Conninfo, template: str) -> Conninfo:
    """A migrated database of this file's own, with two users and a case."""
    with connect(cluster, purpose="test") as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE schema_rules TEMPLATE {}").format(sql.Identifier(template))
        )
    target = cluster.replace(dbname="schema_rules")
    with connect(target, purpose="test") as connection:
        insert(connection, "users", {**USER, "id": CLERK, "email": "clerk@example.com"})
        insert(connection, "users", {**USER, "id": WORKER, "email": "worker@example.com"})
        insert(connection, "cases", {**A_CASE, "id": CASE})
    return target


@pytest.fixture
def db(clone: Conninfo) -> Iterator[Connection[Any]]:
    """A connection whose work is rolled back after the test."""
    with connect(clone, purpose="test", autocommit=False) as connection:
        yield connection
        connection.rollback()


def insert(connection: Connection[Any], table: str, values: dict[str, Any]) -> None:
    # The table's own rules are meant, not the workflow before them.
    connection.execute(
        "SELECT set_config('casedb.bulk_load', %s, false)", ("on" if table == "cases" else "off",)
    )
    connection.execute(
        sql.SQL("INSERT INTO public.{} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        ),
        list(values.values()),
    )


@pytest.mark.parametrize(("table", "wrong", "constraint"), REFUSED)
def test_a_wrong_value_is_refused_by_name(
    db: Connection[Any], table: str, wrong: dict[str, Any], constraint: str
) -> None:
    with pytest.raises(psycopg.IntegrityError) as caught:
        insert(db, table, {**VALID[table], **wrong})

    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize(("table", "right"), ACCEPTED)
def test_a_right_value_is_accepted(db: Connection[Any], table: str, right: dict[str, Any]) -> None:
    insert(db, table, {**VALID[table], **right})


def test_a_key_in_s3_belongs_to_one_document(db: Connection[Any]) -> None:
    insert(db, "case_documents", DOCUMENT)

    with pytest.raises(errors.UniqueViolation) as caught:
        insert(db, "case_documents", DOCUMENT)

    assert caught.value.diag.constraint_name == "case_documents_s3_key_key"


def test_every_check_and_key_is_in_the_list_above(db: Connection[Any]) -> None:
    rows = db.execute("""
        SELECT conname FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'u')
    """).fetchall()

    tested = {name for _, _, name in REFUSED} | {
        "case_documents_s3_key_key",
        # What triggers fill in; see test_audit.py.
        "case_logs_case_id_seq_key",
        "case_logs_chained",
    }
    assert {name for (name,) in rows} == tested


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("DELETE FROM public.cases", "cases_with_log_stay"),
        ("DELETE FROM public.users", "cases_created_by_fkey"),
    ],
)
def test_deleting_what_the_record_is_about_is_refused(
    db: Connection[Any], statement: LiteralString, constraint: str
) -> None:
    insert(db, "case_logs", LOG)

    with pytest.raises(psycopg.IntegrityError) as caught:
        db.execute(statement)

    assert caught.value.diag.constraint_name == constraint


def test_no_foreign_key_cascades(db: Connection[Any]) -> None:
    kinds = db.execute("""
        SELECT DISTINCT confdeltype, confupdtype FROM pg_constraint
        WHERE contype = 'f' AND connamespace = 'public'::regnamespace
    """).fetchall()

    assert kinds == [("r", "a")]


def test_the_plans_indexes_exist_under_their_names(db: Connection[Any]) -> None:
    found = dict(
        db.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        ).fetchall()
    )

    assert found["idx_cases_status_created"].endswith("(status, created_at)")
    assert (
        "(assigned_to, status) WHERE (assigned_to IS NOT NULL)"
        in (found["idx_cases_assignee_status"])
    )
    assert found["idx_case_logs_case_timestamp"].endswith('(case_id, "timestamp")')
    assert "ASSIGNED" in found["idx_active_cases"]
    assert "IN_PROGRESS" in found["idx_active_cases"]
    assert "PENDING_REVIEW" in found["idx_pending_assignments"]


def test_every_foreign_key_has_an_index_that_begins_with_it(db: Connection[Any]) -> None:
    naked = db.execute("""
        SELECT conname FROM pg_constraint AS c
        WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_index AS i
            WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1] AND i.indpred IS NULL
        )
    """).fetchall()

    assert naked == []


def test_no_index_is_the_mere_beginning_of_another(db: Connection[Any]) -> None:
    spare = db.execute("""
        SELECT a.indexrelid::regclass::text, b.indexrelid::regclass::text
        FROM pg_index AS a JOIN pg_index AS b USING (indrelid)
        JOIN pg_class AS t ON t.oid = indrelid
        WHERE t.relnamespace = 'public'::regnamespace AND a.indexrelid <> b.indexrelid
          AND NOT a.indisunique AND a.indpred IS NULL AND b.indpred IS NULL
          AND (b.indkey::text || ' ') LIKE (a.indkey::text || ' %')
    """).fetchall()

    assert spare == []


def test_every_time_has_a_zone_and_milliseconds(db: Connection[Any]) -> None:
    rows = db.execute("""
        SELECT DISTINCT format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a
        JOIN pg_class AS c ON c.oid = a.attrelid
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
          AND a.attnum > 0 AND a.atttypid::regtype::text LIKE 'timestamp%'
    """).fetchall()

    assert rows == [("timestamp(3) with time zone",)]


@pytest.mark.parametrize("table", ["users", "cases"])
def test_a_change_stamps_updated_at_whatever_the_client_says(
    db: Connection[Any], table: LiteralString
) -> None:
    db.execute("SET LOCAL session_replication_role = replica")
    db.execute(f"UPDATE public.{table} SET updated_at = '2001-01-01'")
    db.execute("SET LOCAL session_replication_role = origin")

    db.execute(f"UPDATE public.{table} SET updated_at = '1999-01-01'")

    fresh = f"SELECT bool_and(updated_at = now()::timestamptz(3)) FROM public.{table}"
    assert scalar(db, fresh) is True


def test_functions_that_run_by_themselves_have_a_search_path_of_their_own(
    db: Connection[Any],
) -> None:
    loose = db.execute("""
        SELECT proname FROM pg_proc
        WHERE pronamespace::regnamespace::text IN ('public', 'ops', 'audit')
          AND (prosecdef OR prorettype = 'trigger'::regtype)
          AND NOT coalesce(proconfig::text LIKE '%search_path=%', false)
    """).fetchall()

    assert loose == []


def test_nobody_executes_a_function_that_was_not_given_to_him(db: Connection[Any]) -> None:
    public = db.execute("""
        SELECT proname FROM pg_proc AS p
        WHERE pronamespace::regnamespace::text IN ('public', 'ops', 'audit')
          AND has_function_privilege('public', p.oid, 'EXECUTE')
    """).fetchall()

    assert public == []


def test_the_identity_is_inlined_and_an_index_is_used_under_row_security(
    db: Connection[Any],
) -> None:
    db.execute("SET LOCAL enable_seqscan = off")
    db.execute("SET LOCAL ROLE case_caseworker")
    plan = "\n".join(
        line
        for (line,) in db.execute(
            "EXPLAIN SELECT id FROM public.cases WHERE status = 'ASSIGNED'"
        ).fetchall()
    )

    assert "Index Cond: ((assigned_to = (NULLIF(current_setting(" in plan
    # In which of the indexes, statistics decide.
    assert re.search(r"AND \(+status\)?(::text)? = 'ASSIGNED'", plan)
    assert "Seq Scan" not in plan
