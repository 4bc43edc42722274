"""The access matrix: what its file says, what is found on a database, what is left behind."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg import sql

from casedb import access_probe
from casedb.access import (
    Answer,
    Cell,
    Outcome,
    Rows,
    Verb,
    differences,
    parse_expected,
    read_expected,
)
from casedb.access_probe import probe
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError, ToolFailedError

HEAD = "role, target, rows, SELECT, INSERT, UPDATE, DELETE, TRUNCATE\n"
CELL = Cell("case_clerk", "cases", Rows.OWN, Verb.SELECT)


@pytest.mark.full_server
def test_what_an_extension_brought_is_no_stranger_and_what_was_granted_since_is_one(
    database: Conninfo,
) -> None:
    with connect(database, purpose="test") as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute("CREATE FUNCTION public.fetch() RETURNS int SECURITY DEFINER "
                           "LANGUAGE sql AS 'SELECT 1'")  # fmt: skip
        connection.execute("REVOKE ALL ON FUNCTION public.fetch() FROM PUBLIC")
        _found, brought = probe(database, read_expected(), harmless=False)
        connection.execute("GRANT INSERT ON public.pg_stat_statements TO PUBLIC")
        _found, granted = probe(database, read_expected(), harmless=False)

    assert [stranger.target for stranger in brought] == ["fetch()"]
    assert {(s.target, s.grantee) for s in set(granted) - set(brought)} == {
        ("pg_stat_statements", "PUBLIC")
    }


def test_what_roles_were_granted_on_the_servers_own_is_a_stranger(database: Conninfo) -> None:
    with connect(database, purpose="test") as connection:
        connection.execute(
            "GRANT SELECT ON pg_catalog.pg_authid TO case_app;"
            "GRANT SELECT (rolpassword) ON pg_catalog.pg_authid TO PUBLIC;"
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO case_clerk;"
            # As it was: everybody may call it.
            "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) FROM PUBLIC;"
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) TO PUBLIC"
        )
    _found, strangers = probe(database, read_expected(), harmless=False)

    assert {(s.target, s.grantee) for s in strangers} == {
        ("pg_catalog.pg_authid", "case_app"),
        ("pg_catalog.pg_authid.rolpassword", "PUBLIC"),
        ("pg_catalog.pg_read_file(pg_catalog.text)", "case_clerk"),
    }


def test_a_migrated_database_is_as_expected(database: Conninfo) -> None:
    expected = read_expected()

    found, strangers = probe(database, expected, harmless=False)

    assert differences(found, expected) == ()
    assert strangers == ()
    assert found.keys() == expected.keys()
    # A matrix of refusals alone would be met by a database that lets nobody do anything.
    assert {answer.outcome for answer in found.values()} == set(Outcome) - {Outcome.ERROR}


def test_probing_leaves_nothing_behind(database: Conninfo) -> None:
    tables = """
        SELECT (SELECT count(*) FROM public.users) + (SELECT count(*) FROM public.cases)
            + (SELECT count(*) FROM public.case_logs) + (SELECT count(*) FROM public.case_documents)
            + (SELECT count(*) FROM public.case_comments)
    """
    probe(database, read_expected(), harmless=False)

    with connect(database, purpose="test") as connection:
        assert scalar(connection, tables) == 0


@contextmanager
def busy_with(database: Conninfo, *tables: str) -> Iterator[None]:
    """The locks of somebody's open transaction that writes to `tables`."""
    with connect(database, purpose="test", autocommit=False) as busy:
        for table in tables:
            busy.execute(
                sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(
                    sql.Identifier("public", table)
                )
            )
        yield
        busy.rollback()


def test_probing_a_live_database_keeps_nobody_from_its_tables(database: Conninfo) -> None:
    expected = read_expected()

    with busy_with(database, "users", "cases", "case_logs", "case_documents", "case_comments"):
        found, _ = probe(database, expected, harmless=True)

    assert differences(found, expected) == ()
    left_out = expected.keys() - found.keys()
    assert {cell.verb for cell in left_out} == {Verb.TRUNCATE}
    # Who has no right to it is tried all the same.
    assert {cell.role for cell in left_out} == {"case_owner"}


def test_a_lock_that_is_not_had_in_time_is_no_answer(
    database: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(access_probe._SETTINGS, "lock_timeout", "100ms")
    cell = Cell("case_owner", "case_logs", Rows.ANY, Verb.TRUNCATE)

    with busy_with(database, "case_logs"), pytest.raises(ToolFailedError, match="lock timeout"):
        probe(database, [cell], harmless=False)


def test_only_a_superuser_can_probe(database: Conninfo) -> None:
    for role in ("case_owner", "case_seed"):
        with connect(database, purpose="test") as connection:
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(role)))
            connection.execute(f"GRANT CONNECT ON DATABASE {database.dbname} TO {role}".encode())
        try:
            with pytest.raises(ConfigurationError) as caught:
                probe(database.replace(user=role), read_expected())
            assert "--backup" in (caught.value.hint or "")
        finally:
            if role == "case_owner":
                with connect(database, purpose="test") as connection:
                    connection.execute("ALTER ROLE case_owner NOLOGIN")


def test_a_missing_role_is_named(database: Conninfo) -> None:
    cell = Cell("case_nobody", "cases", Rows.ANY, Verb.SELECT)

    with pytest.raises(ConfigurationError, match="roles") as caught:
        probe(database, [cell])

    assert "case_nobody" in (caught.value.detail or "")


def test_a_table_that_nobody_can_probe_is_named(database: Conninfo) -> None:
    cell = Cell("case_app", "invoices", Rows.ANY, Verb.SELECT)

    with pytest.raises(ConfigurationError, match="invoices"):
        probe(database, [cell])


@pytest.mark.parametrize(
    "cell",
    [
        Cell("case_seed", "cases", Rows.OWN, Verb.SELECT),
        Cell("case_clerk", "cases", Rows.ANY, Verb.SELECT),
    ],
)
def test_rows_that_a_role_cannot_have_are_refused(database: Conninfo, cell: Cell) -> None:
    with pytest.raises(ConfigurationError, match=cell.role):
        probe(database, [cell])


def test_a_database_without_tables_is_an_error_and_no_difference(empty_database: Conninfo) -> None:
    with pytest.raises((ConfigurationError, ToolFailedError)):
        probe(empty_database, read_expected())


def test_an_attempt_that_fails_for_another_reason_is_never_as_expected(database: Conninfo) -> None:
    expected = read_expected()
    with connect(database, purpose="test") as connection:
        connection.execute("ALTER TABLE public.cases RENAME COLUMN description TO text")

    with pytest.raises(ToolFailedError, match="description"):
        probe(database, expected)


def test_a_difference_says_what_was_expected_and_what_postgresql_said() -> None:
    answer = Answer(Outcome.DENIED, "42501", "permission denied for table cases")

    (difference,) = differences({CELL: answer}, {CELL: Outcome.YES})

    assert str(difference) == (
        "case_clerk: SELECT cases (own): expected yes, found denied"
        " (42501: permission denied for table cases)"
    )


def test_a_cell_that_was_not_tried_is_no_difference() -> None:
    assert differences({}, {CELL: Outcome.YES}) == ()


@pytest.mark.parametrize(
    "line",
    [
        "case_clerk, cases, own, yes",
        "case_clerk, cases, own, yes, yes, yes, yes, yes, yes",
        "case_clerk, cases, mine, yes, yes, yes, yes, yes",
        "case_clerk, cases, own, maybe, yes, yes, yes, yes",
        "case_clerk",
        "case_clerk, cases, own, yes, -, -, -, -\ncase_clerk, cases, own, yes, -, -, -, -",
    ],
)
def test_a_line_of_the_file_that_makes_no_sense_is_named(line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"line [23] "):
        parse_expected(HEAD + line)


def test_a_dash_asks_nothing() -> None:
    expected = parse_expected(HEAD + "# words\n\ncase_clerk, cases, own, yes, -, -, -, -\n")

    assert expected == {CELL: Outcome.YES}


def test_error_is_never_expected() -> None:
    assert Outcome.ERROR not in read_expected().values()
