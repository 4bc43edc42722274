"""Personal data is erased on demand, and the chain stays whole."""

from uuid import UUID

import psycopg
import pytest
from psycopg import errors

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from tests.database.audit_world import CASE, CHAIR, CLERK, WORKER, acting, log, problems


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
