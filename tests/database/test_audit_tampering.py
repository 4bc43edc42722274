"""What tampering leaves behind, by somebody who can switch the triggers off."""

from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from casedb import audit, audit_anchored
from casedb.audit import verify
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ConfigurationError
from tests.database.audit_world import CASE, CLERK, OTHER, WORKER, heads_of, problems, tamper

REHASH = f"""
    DO $$
    DECLARE entry record; previous bytea;
    BEGIN
        FOR entry IN SELECT * FROM public.case_logs WHERE case_id = '{CASE}' ORDER BY seq LOOP
            UPDATE public.case_logs SET hash = audit.case_log_hash(
                previous, entry.id, entry.case_id, entry.seq, entry.user_id, entry.action,
                entry.details, entry."timestamp", entry.login
            ) WHERE id = entry.id RETURNING hash INTO previous;
        END LOOP;
    END $$
"""
HASH_ONE = f"""
    UPDATE public.case_logs AS l SET hash = audit.case_log_hash(
        (SELECT p.hash FROM public.case_logs AS p WHERE p.case_id = l.case_id AND p.seq = 2),
        l.id, l.case_id, l.seq, l.user_id, l.action, l.details, l."timestamp", l.login
    ) WHERE l.case_id = '{CASE}' AND l.seq = 3
"""
EDIT = f"UPDATE public.case_logs SET user_id = '{WORKER}' WHERE case_id = '{CASE}' AND seq = 3"
MIDDLE = f"DELETE FROM public.case_logs WHERE case_id = '{CASE}' AND seq = 3"
RENUMBER = f"UPDATE public.case_logs SET seq = seq - 1 WHERE case_id = '{CASE}' AND seq > 3"
TAIL = f"DELETE FROM public.case_logs WHERE case_id = '{CASE}' AND seq > 5"
WHOLE_LOG = f"DELETE FROM public.case_logs WHERE case_id = '{CASE}'"
WHOLE_CASE = (
    WHOLE_LOG,
    f"DELETE FROM public.case_documents WHERE case_id = '{CASE}'",
    f"DELETE FROM public.case_comments WHERE case_id = '{CASE}'",
    f"DELETE FROM public.cases WHERE id = '{CASE}'",
)
LAST = 7
# name: statements; found without an anchor at these entries; found with one.
TAMPERING: dict[str, tuple[tuple[str, ...], list[int | None], bool]] = {
    "edit": ((EDIT,), [3], False),
    "edit a time": (
        (EDIT.replace("user_id", '"timestamp"').replace(f"'{WORKER}'", "now()"),),
        [3],
        False,
    ),
    "edit and rehash the entry": ((EDIT, HASH_ONE), [4], False),
    "edit and rehash all": ((EDIT, REHASH), [], True),
    "delete in the middle": ((MIDDLE,), [4], False),
    "delete in the middle, renumber": ((MIDDLE, RENUMBER), [3, 4, 5, 6], True),
    "delete in the middle, renumber, rehash": ((MIDDLE, RENUMBER, REHASH), [], True),
    "delete at the tail": ((TAIL,), [], True),
    "delete the whole log": ((WHOLE_LOG,), [None], True),
    "delete the whole case": (WHOLE_CASE, [], True),
    "truncate": (("TRUNCATE public.case_logs",), [None], True),
    "insert by hand at the end": (
        (
            f"INSERT INTO public.case_logs (case_id, user_id, action, seq, hash) VALUES"
            f" ('{CASE}', '{WORKER}', 'forged', 8, sha256('x'))",
        ),
        [8],
        False,
    ),
    "insert at the end without a number": (
        (
            "ALTER TABLE public.case_logs ALTER seq DROP NOT NULL",
            f"INSERT INTO public.case_logs (case_id, user_id, action, seq, hash) VALUES"
            f" ('{CASE}', '{WORKER}', 'forged', NULL, sha256('x'))",
            f"""
            UPDATE public.case_logs AS l SET hash = audit.case_log_hash(
                (SELECT p.hash FROM public.case_logs AS p WHERE p.case_id = '{CASE}' AND p.seq = 7),
                l.id, l.case_id, l.seq, l.user_id, l.action, l.details, l."timestamp", l.login
            ) WHERE l.case_id = '{CASE}' AND l.seq IS NULL
            """,
        ),
        [None],
        False,
    ),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_what_tampering_is_found_without_an_anchor_and_what_with_one(
    told: Conninfo, name: str
) -> None:
    statements, without, only_with = TAMPERING[name]
    heads = heads_of(told)
    assert problems(told, heads=heads) == []

    tamper(told, *statements)

    plain = problems(told)
    assert [seq for _, subject, seq in plain if subject == str(CASE)] == without
    assert name == "truncate" or {subject for _, subject, _ in plain} <= {str(CASE)}
    anchored = problems(told, heads=heads)
    named = {("case", str(CASE), LAST), ("case", f"{CASE} to {OTHER}", None)}
    # One of 256 hashes begins with the byte that is noted; then both of the block are named.
    assert bool(named.intersection(anchored)) is only_with
    assert only_with or without


def test_a_rewritten_history_of_a_user_is_found(staffed: Conninfo) -> None:
    heads = heads_of(staffed)
    with psycopg.connect(staffed.dsn) as admin:
        admin.execute("ALTER TABLE audit.user_logs DISABLE TRIGGER ALL")
        admin.execute(
            'UPDATE audit.user_logs SET details = \'{"role": "CHAIR"}\' WHERE user_id = %s',
            (CLERK,),
        )
        admin.execute("DELETE FROM audit.user_logs WHERE user_id = %s", (WORKER,))

    assert problems(staffed) == [("user", str(CLERK), 1), ("user", str(WORKER), None)]
    assert ("user", str(WORKER), 1) in problems(staffed, heads=heads)


def test_a_replaced_hash_function_hides_nothing(told: Conninfo) -> None:
    """The check does not ask the database how to compute."""
    with psycopg.connect(told.dsn) as admin:
        admin.execute(
            "CREATE OR REPLACE FUNCTION audit.case_log_hash(previous bytea, id uuid, case_id uuid,"
            " seq integer, user_id uuid, action text, details jsonb, written_at timestamptz,"
            " login text) RETURNS bytea LANGUAGE sql STABLE AS $$ SELECT sha256('x') $$"
        )
    tamper(told, EDIT)

    assert problems(told) == [("case", str(CASE), 3)]


def test_triggers_that_do_not_keep_the_trail_are_named(told: Conninfo) -> None:
    """Switching them on again is not enough: ENABLE TRIGGER leaves them off for a replica."""
    with connect(told, purpose="test") as admin:
        assert verify(admin).problems == ()
        admin.execute("ALTER TABLE public.case_logs DISABLE TRIGGER case_logs_append_only")
        admin.execute("ALTER TABLE public.cases ENABLE TRIGGER cases_log_update")
        admin.execute("DROP TRIGGER users_log ON public.users")

        assert verify(admin).triggers_off == (
            "public.case_logs.case_logs_append_only",
            "public.cases.cases_log_update",
            "public.users.users_log",
        )


def test_every_trigger_that_is_always_on_is_watched(told: Conninfo) -> None:
    with connect(told, purpose="test") as admin:
        always = {
            name
            for (name,) in admin.execute(
                "SELECT tgrelid::regclass::text || '.' || tgname FROM pg_trigger"
                " WHERE tgenabled = 'A'"
            )
        }
        admin.execute("SET search_path = ''")
        for table in ("users", "cases", "case_logs", "case_documents", "case_comments"):
            admin.execute(f"ALTER TABLE public.{table} DISABLE TRIGGER USER".encode())
        admin.execute("ALTER TABLE audit.user_logs DISABLE TRIGGER USER")

        watched = {name.removeprefix("public.") for name in verify(admin).triggers_off}
    assert watched == always


def test_one_case_is_checked_by_itself(told: Conninfo) -> None:
    tamper(told, EDIT)

    assert problems(told, case=OTHER) == []
    assert problems(told, case=CASE) == [("case", str(CASE), 3)]
    with connect(told, purpose="test") as admin, pytest.raises(ConfigurationError):
        verify(admin, case=UUID(int=99))


def test_a_role_that_does_not_see_all_rows_gets_an_error_and_no_answer(told: Conninfo) -> None:
    with psycopg.connect(told.dsn, autocommit=True) as admin:
        admin.execute("SET ROLE case_owner")
        with pytest.raises(errors.InsufficientPrivilege):
            verify(admin)


def test_checking_in_batches_is_checking_all(
    told: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = heads_of(told)
    tamper(told, EDIT, TAIL)
    monkeypatch.setattr(audit, "_BATCH", 1)
    monkeypatch.setattr(audit_anchored, "_BLOCKS", 1)
    phases: list[tuple[str, int, int | None]] = []
    with connect(told, purpose="test") as admin:
        report = verify(
            admin, heads=heads, on_checked=lambda *phase: phases.append(phase), anchor="x"
        )

    assert (report.cases, report.entries, report.users, report.user_entries) == (2, 12, 4, 4)
    assert report.anchored == sum(len(block.heads) for block in heads) == 6
    assert [str(f) for f in report.findings] == [
        f"case {CASE}: entry 3 is not what was written, or the entry before it is not",
        f"case {CASE}: entry 7 is gone, which backup x vouches for",
    ]
    assert ("checking the chains", 1, 2) in phases


def test_a_database_without_a_trail_says_so(empty_database: Conninfo) -> None:
    with connect(empty_database, purpose="test") as admin, pytest.raises(ConfigurationError):
        verify(admin)
