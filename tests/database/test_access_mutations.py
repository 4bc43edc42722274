"""Proof that matrix and model bite: each policy dropped, widened or disabled, and both complain.

Every mutation is made in a transaction that is rolled back. What is mutated is read from the
migrations, and one test sees that it is every policy of the database.
"""

import re
from collections.abc import Iterator

import pytest

from casedb.access import Cell, Rows, differences, read_expected
from casedb.access_attempt import APPLICATION_ROLES
from casedb.access_probe import probe_within
from casedb.conninfo import Conninfo
from casedb.sqlfiles import folder
from tests.database.row_security_checker import Checker, ViolationError, checking
from tests.database.row_security_statements import Step
from tests.database.row_security_steps import directed

_POLICY = re.compile(
    r"^(?P<verb>CREATE|DROP) POLICY (?P<name>\w+)\s+ON public\.(?P<table>\w+)(?P<rest>[^;]*);", re.M
)
# Their WITH CHECK says no more than their USING, about columns that the role may not change: by
# itself it holds nothing back. It stands there for the day on which somebody grants the column.
SECOND_LOCKS = {
    "cases_chair_update",
    "cases_caseworker_update",
    "cases_clerk_update",
    "users_self_update",
}


def policies() -> dict[str, tuple[str, str]]:
    """Return the table and the definition of each policy that the migrations leave, by its name."""
    found = {}
    for path in sorted(folder("migrations").glob("*.sql")):
        if path.name.endswith(".rollback.sql"):
            continue
        for match in _POLICY.finditer(path.read_text()):
            found[match["name"]] = (match["table"], match["rest"])
            if match["verb"] == "DROP":
                del found[match["name"]]
    return found


POLICIES = policies()
TABLES = sorted({table for table, _ in POLICIES.values()})


def mutations() -> Iterator[tuple[str, str]]:
    """Yield the table and the statements of every mutation that has to be noticed."""
    for name, (table, definition) in POLICIES.items():
        using, check = "USING (" in definition, "WITH CHECK (" in definition
        on = f"POLICY {name} ON public.{table}"
        yield table, f"DROP {on}"
        wide = " ".join(["USING (true)"] * using + ["WITH CHECK (true)"] * check)
        yield table, f"ALTER {on} {wide}"
        if using and check:
            yield table, f"ALTER {on} USING (true)"
            if name not in SECOND_LOCKS:
                yield table, f"ALTER {on} WITH CHECK (true)"
    for table in TABLES:
        yield table, f"ALTER TABLE public.{table} DISABLE ROW LEVEL SECURITY"


MUTATIONS = list(mutations())
NAMES = [re.sub(r"public\.| LEVEL", "", statement) for _, statement in MUTATIONS]
EXPECTED = read_expected()


@pytest.fixture(scope="module")
def checker(cluster: Conninfo, template: str) -> Iterator[Checker]:
    with checking(cluster, template, "access_mutations") as checker:
        yield checker


def found_by_matrix(checker: Checker, cells: list[Cell]) -> list[str]:
    found, strangers = probe_within(checker.connection, cells, harmless=False)
    # With a part of the cells, all that the others are about is strange.
    unknown = strangers if len(cells) == len(EXPECTED) else ()
    return [*map(str, differences(found, EXPECTED)), *map(str, unknown)]


def found_by_model(checker: Checker, steps: list[Step]) -> str | None:
    for step in steps:
        try:
            with checker.undone():
                checker.check(step)
        except ViolationError as violation:
            return str(violation)
    return None


def cells_about(table: str) -> list[Cell]:
    """Return the cells in which a policy of `table` can show; fewer than all, to be fast."""
    bound = {*APPLICATION_ROLES, "case_owner", "case_app"}
    return [cell for cell in EXPECTED if cell.table == table and cell.role in bound]


def steps_about(table: str, statement: str) -> list[Step]:
    """Return the directed steps, those of the policy's own table and verb first, to be fast."""
    verb = re.search(r"_(select|insert|update)\b", statement)

    def is_far(step: Step) -> tuple[bool, bool]:
        kind = type(step.statement).__name__.lower()
        of_verb = verb is not None and kind.startswith(verb[1])
        return getattr(step.statement, "table", "cases") != table, not of_verb

    return sorted(directed(), key=is_far)


def test_every_policy_of_the_database_is_mutated(checker: Checker) -> None:
    rows = checker.connection.execute(
        "SELECT policyname FROM pg_policies WHERE schemaname = 'public'"
    )

    assert {name for (name,) in rows} == set(POLICIES)


def test_nothing_is_found_where_nothing_is_mutated(checker: Checker) -> None:
    # The model's half of this is in test_row_security_property.py.
    assert found_by_matrix(checker, list(EXPECTED)) == []


@pytest.mark.parametrize(("table", "statement"), MUTATIONS, ids=NAMES)
def test_the_matrix_and_the_model_notice(checker: Checker, table: str, statement: str) -> None:
    with checker.connection.transaction(force_rollback=True):
        checker.connection.execute(statement.encode())

        assert found_by_matrix(checker, cells_about(table)), "the matrix noticed nothing"
        assert found_by_model(checker, steps_about(table, statement)), "the model noticed nothing"


@pytest.mark.parametrize("name", sorted(SECOND_LOCKS))
def test_a_second_lock_holds_nothing_back_alone(checker: Checker, name: str) -> None:
    table, _ = POLICIES[name]
    with checker.connection.transaction(force_rollback=True):
        checker.connection.execute(
            f"ALTER POLICY {name} ON public.{table} WITH CHECK (true)".encode()
        )

        # Were it to, it would have to be among the mutations above.
        assert not found_by_matrix(checker, cells_about(table))


@pytest.mark.parametrize("table", TABLES)
def test_the_matrix_notices_that_the_owner_is_exempt(checker: Checker, table: str) -> None:
    with checker.connection.transaction(force_rollback=True):
        checker.connection.execute(
            f"ALTER TABLE public.{table} NO FORCE ROW LEVEL SECURITY".encode()
        )

        wrong = found_by_matrix(checker, cells_about(table))
        assert any(line.startswith("case_owner: SELECT") for line in wrong)


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT DELETE ON public.cases TO case_clerk",
        "GRANT TRUNCATE ON public.case_logs TO case_seed",
        "GRANT UPDATE ON public.case_logs TO case_chair",
        "GRANT SELECT ON public.users TO case_clerk",
        "GRANT SELECT (password) ON public.users TO case_readonly",
        "GRANT UPDATE (role) ON public.users TO case_caseworker",
        "GRANT UPDATE (created_by) ON public.cases TO case_clerk",
        "REVOKE INSERT ON public.case_documents FROM case_caseworker",
        "GRANT EXECUTE ON FUNCTION public.login(text) TO case_clerk",
        "GRANT SELECT ON public.cases TO PUBLIC",
        "GRANT SELECT (title) ON public.cases TO pg_monitor",
        "ALTER ROLE case_clerk BYPASSRLS",
        "ALTER ROLE case_backup NOBYPASSRLS",
        "REVOKE case_chair FROM case_app",
        "GRANT pg_read_all_data TO case_monitor",
        "CREATE TABLE public.notes (id uuid)",
        "CREATE VIEW public.all_cases AS SELECT * FROM public.cases",
        "CREATE FUNCTION public.every_hash() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER"
        " AS 'SELECT password FROM public.users'",
    ],
)
def test_the_matrix_notices_a_wrong_right(checker: Checker, statement: str) -> None:
    with checker.connection.transaction(force_rollback=True):
        checker.connection.execute(statement.encode())

        assert found_by_matrix(checker, list(EXPECTED))


def test_every_role_target_and_verb_has_an_expectation() -> None:
    """A cell that is left out would be a question that nobody asks."""
    everyone = {cell.role for cell in EXPECTED}
    verbs = {cell.verb for cell in EXPECTED}
    for role in everyone:
        whose = [Rows.OWN, Rows.OTHER, Rows.UNSET] if role in APPLICATION_ROLES else [Rows.ANY]
        for table in TABLES:
            for rows in whose:
                assert {Cell(role, table, rows, verb) for verb in verbs} <= EXPECTED.keys()
