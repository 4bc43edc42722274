"""The audit trail: written by itself, added to only, and what tampering leaves behind."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection, errors

from casedb import audit
from casedb.audit import Head, parse_head, read_heads, verify
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError
from casedb.roles import apply_roles

HASH = "$2b$10$" + "a" * 53
CLERK, CHAIR, WORKER, WORKER_2 = (UUID(int=n) for n in range(1, 5))
USERS = ((CLERK, "CLERK"), (CHAIR, "CHAIR"), (WORKER, "CASEWORKER"), (WORKER_2, "CASEWORKER"))
CASE, OTHER = UUID(int=11), UUID(int=12)


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


@contextmanager
def acting(target: Conninfo, user: UUID) -> Iterator[Connection[Any]]:
    """A back end's transaction for `user`, committed at the end."""
    with psycopg.connect(target.replace(user="case_app").dsn) as connection:
        connection.execute("SELECT public.act_as(%s)", (str(user),))
        yield connection


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


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_heads_read_in_parts_are_those_of_every_chain(
    told: Conninfo, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_BATCH", batch)
    with psycopg.connect(told.dsn) as admin:
        # The lowest id that there is, and a case without a log.
        admin.execute("SET LOCAL casedb.bulk_load = on")
        for case in (UUID(int=0), UUID(int=2**128 - 1)):
            admin.execute(
                "INSERT INTO public.cases (id, title, description, created_by)"
                " VALUES (%s, 't', '', %s)",
                (case, CLERK),
            )
        admin.execute("SET LOCAL casedb.bulk_load = off")
        admin.execute(
            "INSERT INTO public.case_logs (case_id, user_id, action) VALUES (%s, %s, 'created')",
            (UUID(int=0), CLERK),
        )
        expected = admin.execute(
            "SELECT 'case', case_id, max(seq) FROM public.case_logs GROUP BY case_id"
            " UNION ALL SELECT 'user', user_id, max(seq) FROM audit.user_logs GROUP BY user_id"
        ).fetchall()

    found = heads_of(told)

    assert [(head.kind, head.subject, head.seq) for head in found] == sorted(
        expected, key=lambda head: (head[0], -head[1].int)
    )


# What is written


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


def test_erasing_a_comment_leaves_a_whole_chain_and_no_text(told: Conninfo) -> None:
    with acting(told, CHAIR) as app:
        comment = scalar(app, "SELECT id FROM public.case_comments WHERE case_id = %s", CASE)
        assert scalar(app, "SELECT public.erase_comment(%s)", comment) == comment
        with pytest.raises(errors.NoDataFound), app.transaction():
            app.execute("SELECT public.erase_comment(%s)", (comment,))

    assert log(told)[-1][1] == "comment_erased"
    assert problems(told) == []
    with connect(told, purpose="test") as admin:
        row = admin.execute(
            "SELECT body, erased_at IS NOT NULL FROM public.case_comments WHERE id = %s", (comment,)
        ).fetchone()
        assert row == (None, True)
        # Nobody can try texts against the digest that stays.
        assert scalar(admin, "SELECT count(*) FROM audit.salts WHERE subject = %s", comment) == 0


def test_erasing_a_case_leaves_a_whole_chain_and_no_text(told: Conninfo) -> None:
    with acting(told, CHAIR) as app:
        assert scalar(app, "SELECT public.erase_case(%s)", CASE) == CASE

    with connect(told, purpose="test") as admin:
        row = admin.execute(
            "SELECT c.title, c.description, d.filename, m.body FROM public.cases AS c"
            " JOIN public.case_documents AS d ON d.case_id = c.id"
            " JOIN public.case_comments AS m ON m.case_id = c.id WHERE c.id = %s",
            (CASE,),
        ).fetchone()
        assert row == ("(erased)", "", "(erased)", None)
        assert scalar(admin, "SELECT count(*) FROM audit.salts WHERE subject = %s", CASE) == 0
    assert log(told)[-1][1] == "erased"
    assert problems(told) == []


def test_erasing_a_user_leaves_whole_chains_and_no_trace_of_the_person(told: Conninfo) -> None:
    before = log(told)
    with connect(told.replace(user="case_seed"), purpose="test") as seed:
        assert scalar(seed, "SELECT public.erase_user(%s)", CLERK) == CLERK
        with pytest.raises(errors.NoDataFound):
            seed.execute("SELECT public.erase_user(%s)", (CLERK,))

    with connect(told, purpose="test") as admin:
        row = admin.execute(
            "SELECT email, password, first_name, last_name, is_active FROM public.users"
            " WHERE id = %s",
            (CLERK,),
        ).fetchone()
        unusable = "$2b$10$" + "." * 53
        assert row == (f"{CLERK}@erased.invalid", unusable, "(erased)", "(erased)", False)
        # Nobody can try addresses against the digests that stay.
        assert scalar(admin, "SELECT count(*) FROM audit.salts WHERE subject = %s", CLERK) == 0
        actions = admin.execute(
            "SELECT action FROM audit.user_logs WHERE user_id = %s ORDER BY seq", (CLERK,)
        ).fetchall()
    assert [action for (action,) in actions] == [
        "created",
        "deactivated",
        "erased",
        "password_changed",
    ]
    # What he did stays done, by the same id.
    assert log(told) == before
    assert problems(told) == []


def test_who_has_open_cases_is_not_erased(told: Conninfo) -> None:
    with (
        connect(told.replace(user="case_seed"), purpose="test") as seed,
        pytest.raises(errors.CheckViolation) as caught,
    ):
        seed.execute("SELECT public.erase_user(%s)", (WORKER,))

    assert caught.value.diag.constraint_name == "users_no_open_cases_left"


@pytest.mark.parametrize("user", [CLERK, CHAIR, WORKER])
def test_nobody_in_the_application_erases_a_user(told: Conninfo, user: UUID) -> None:
    with pytest.raises(errors.InsufficientPrivilege), acting(told, user) as app:
        app.execute("SELECT public.erase_user(%s)", (user,))


@pytest.mark.parametrize("user", [CLERK, WORKER])
def test_only_a_chair_erases(told: Conninfo, user: UUID) -> None:
    for call in ("public.erase_case(%s)", "public.erase_comment(%s)"):
        with pytest.raises(errors.InsufficientPrivilege), acting(told, user) as app:
            app.execute(f"SELECT {call}".encode(), (CASE,))


def test_a_comment_is_not_rewritten(told: Conninfo) -> None:
    for statement in (
        "UPDATE public.case_comments SET body = 'other'",
        "UPDATE public.case_comments SET created_at = '2001-01-01'",
        "DELETE FROM public.case_comments",
        "TRUNCATE public.case_comments",
    ):
        with (
            psycopg.connect(told.dsn) as admin,
            pytest.raises(errors.RestrictViolation),
        ):
            admin.execute(statement.encode())


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


# What is refused

DENIED = [
    "UPDATE public.case_logs SET action = 'forged'",
    "DELETE FROM public.case_logs",
    "TRUNCATE public.case_logs",
    "TRUNCATE public.cases CASCADE",
    "TRUNCATE public.users CASCADE",
    "TRUNCATE public.case_documents",
    "DELETE FROM public.cases",
    "UPDATE audit.user_logs SET action = 'forged'",
    "DELETE FROM audit.user_logs",
    "TRUNCATE audit.user_logs",
]


@pytest.mark.parametrize("replica", [False, True], ids=["origin", "replica"])
@pytest.mark.parametrize("statement", DENIED)
def test_the_trail_is_only_added_to_also_by_a_superuser(
    told: Conninfo, statement: str, replica: bool
) -> None:
    with psycopg.connect(told.dsn) as admin:
        if replica:
            admin.execute("SET session_replication_role = replica")
        with pytest.raises(errors.RestrictViolation):
            admin.execute(statement.encode())


@pytest.mark.parametrize("statement", DENIED)
@pytest.mark.parametrize("role", ["case_owner", "case_seed", "case_lookup", "case_migrator"])
def test_the_trail_is_only_added_to_by_every_other_role(
    told: Conninfo, statement: str, role: str
) -> None:
    with psycopg.connect(told.dsn) as admin:
        admin.execute(f"SET ROLE {role}".encode())
        # The owner is forced under row security: where it gets past its rights it sees no row.
        try:
            changed = admin.execute(statement.encode()).rowcount
        except (errors.InsufficientPrivilege, errors.RestrictViolation):
            changed = 0
        admin.rollback()
    assert changed == 0
    assert problems(told) == []


@pytest.mark.parametrize("setting", ["session_replication_role = replica", "jit = off"])
def test_what_a_superuser_changes_is_logged_also_as_a_replica(told: Conninfo, setting: str) -> None:
    with psycopg.connect(told.dsn) as admin:
        admin.execute(f"SET {setting}".encode())
        admin.execute("SELECT set_config('app.user_id', %s, true)", (str(CHAIR),))
        admin.execute("UPDATE public.cases SET priority = 'LOW' WHERE id = %s", (CASE,))

    assert log(told)[-1][1:4] == ("updated", CHAIR, "postgres")
    assert problems(told) == []


# What tampering leaves behind, by somebody who can switch the triggers off

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
}


def tamper(target: Conninfo, statements: tuple[str, ...]) -> None:
    """Do what only a superuser or the owner can: switch the triggers off first."""
    tables = ("public.case_logs", "public.cases", "public.case_documents", "public.case_comments")
    with psycopg.connect(target.dsn) as admin:
        for table in tables:
            admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())
        for statement in statements:
            admin.execute(statement.encode())
        for table in tables:
            admin.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL".encode())


@pytest.mark.parametrize("name", TAMPERING)
def test_what_tampering_is_found_without_an_anchor_and_what_with_one(
    told: Conninfo, name: str
) -> None:
    statements, without, only_with = TAMPERING[name]
    heads = heads_of(told)
    assert problems(told, heads=heads) == []

    tamper(told, statements)

    plain = problems(told)
    assert [seq for _, subject, seq in plain if subject == CASE] == without
    assert name == "truncate" or {subject for _, subject, _ in plain} <= {CASE}
    anchored = problems(told, heads=heads)
    assert ((("case", CASE, LAST) in anchored) or bool(without)) is True
    assert (("case", CASE, LAST) in anchored) is only_with


def test_a_rewritten_history_of_a_user_is_found(staffed: Conninfo) -> None:
    heads = heads_of(staffed)
    with psycopg.connect(staffed.dsn) as admin:
        admin.execute("ALTER TABLE audit.user_logs DISABLE TRIGGER ALL")
        admin.execute(
            'UPDATE audit.user_logs SET details = \'{"role": "CHAIR"}\' WHERE user_id = %s',
            (CLERK,),
        )
        admin.execute("DELETE FROM audit.user_logs WHERE user_id = %s", (WORKER,))

    assert problems(staffed) == [("user", CLERK, 1), ("user", WORKER, None)]
    assert ("user", WORKER, 1) in problems(staffed, heads=heads)


def test_a_replaced_hash_function_hides_nothing(told: Conninfo) -> None:
    """The check does not ask the database how to compute."""
    with psycopg.connect(told.dsn) as admin:
        admin.execute(
            "CREATE OR REPLACE FUNCTION audit.case_log_hash(previous bytea, id uuid, case_id uuid,"
            " seq integer, user_id uuid, action text, details jsonb, written_at timestamptz,"
            " login text) RETURNS bytea LANGUAGE sql STABLE AS $$ SELECT sha256('x') $$"
        )
    tamper(told, (EDIT,))

    assert problems(told) == [("case", CASE, 3)]


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
    tamper(told, (EDIT,))

    assert problems(told, case=OTHER) == []
    assert problems(told, case=CASE) == [("case", CASE, 3)]
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
    tamper(told, (EDIT, TAIL))
    monkeypatch.setattr(audit, "_BATCH", 1)
    phases: list[tuple[str, int, int | None]] = []
    with connect(told, purpose="test") as admin:
        report = verify(
            admin, heads=heads, on_checked=lambda *phase: phases.append(phase), anchor="x"
        )

    assert (report.cases, report.entries, report.users, report.user_entries) == (2, 12, 4, 4)
    assert report.anchored == len(heads) == 6
    assert [str(f) for f in report.findings] == [
        f"case {CASE}: entry 3 is not what was written, or the entry before it is not",
        f"case {CASE}: entry 7 is gone, which backup x vouches for",
    ]
    assert ("checking the chains", 1, 2) in phases


def test_a_database_without_a_trail_says_so(empty_database: Conninfo) -> None:
    with connect(empty_database, purpose="test") as admin, pytest.raises(ConfigurationError):
        verify(admin)


# Volume


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
