"""The audit trail is added to only, by whomever."""

from contextlib import suppress

import psycopg
import pytest
from psycopg import errors

from casedb.conninfo import Conninfo
from tests.database.audit_world import CASE, CHAIR, OTHER, log, problems

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


@pytest.mark.parametrize("role", ["origin", "replica"])
def test_the_trail_is_only_added_to_also_by_a_superuser(told: Conninfo, role: str) -> None:
    with psycopg.connect(told.dsn, autocommit=True) as admin:
        admin.execute(f"SET session_replication_role = {role}".encode())
        for statement in DENIED:
            with pytest.raises(errors.RestrictViolation):
                admin.execute(statement.encode())


@pytest.mark.parametrize("role", ["case_owner", "case_seed", "case_lookup", "case_migrator"])
def test_the_trail_is_only_added_to_by_every_other_role(told: Conninfo, role: str) -> None:
    with psycopg.connect(told.dsn, autocommit=True) as admin:
        admin.execute(f"SET ROLE {role}".encode())
        for statement in DENIED:
            # The owner is forced under row security: where it gets past its rights it sees no row.
            with suppress(errors.InsufficientPrivilege, errors.RestrictViolation):
                assert admin.execute(statement.encode()).rowcount == 0, statement
    assert len(log(told)) == len(log(told, OTHER)) == 7
    assert problems(told) == []


@pytest.mark.parametrize("setting", ["session_replication_role = replica", "jit = off"])
def test_what_a_superuser_changes_is_logged_also_as_a_replica(told: Conninfo, setting: str) -> None:
    with psycopg.connect(told.dsn) as admin:
        admin.execute(f"SET {setting}".encode())
        admin.execute("SELECT set_config('app.user_id', %s, true)", (str(CHAIR),))
        admin.execute("UPDATE public.cases SET priority = 'LOW' WHERE id = %s", (CASE,))

    assert log(told)[-1][1:4] == ("updated", CHAIR, "postgres")
    assert problems(told) == []
