"""`casedb access` as a person or CI runs it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from casedb.database import connect

if TYPE_CHECKING:
    from tests.cli.conftest import Casedb


@pytest.fixture
def widened(brought_up: "Casedb") -> Iterator[None]:
    """A policy that shows clerks all cases, for the length of a test."""
    admin = brought_up.server.conninfo(dbname="case_management", user="postgres")
    with connect(admin, purpose="test") as connection:
        (using,) = connection.execute(
            "SELECT qual FROM pg_policies WHERE policyname = 'cases_clerk_select'"
        ).fetchone() or ("",)
        change = "ALTER POLICY cases_clerk_select ON public.cases USING ({})"
        connection.execute(change.format("true").encode())
        yield
        connection.execute(change.format(using).encode())


def test_the_matrix_is_printed_and_fits(brought_up: "Casedb") -> None:
    result = brought_up("access")

    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert "itself" in lines[-2]
    assert any(line.split() == ["users.password", "own", "denied", "yes"] for line in lines)


def test_the_matrix_is_printed_for_machines(brought_up: "Casedb") -> None:
    found = brought_up("access", "--json").json

    assert found["well"] is True
    assert found["probed"] == "live"
    assert found["differences"] == found["strangers"] == []
    assert all(c["found"] in (None, c["expected"]) for c in found["cells"])


@pytest.mark.usefixtures("widened")
def test_a_widened_policy_is_code_9_and_the_cell_is_named(brought_up: "Casedb") -> None:
    result = brought_up("access")

    assert result.code == 9
    assert "case_clerk: SELECT cases (other): expected hidden, found yes" in result.err
    assert "HINT:" in result.err
    assert "yes (!)" in result.out
    assert max(map(len, result.out.splitlines())) <= 100


@pytest.mark.usefixtures("widened")
def test_a_difference_for_machines_is_one_object(brought_up: "Casedb") -> None:
    result = brought_up("access", "--json")

    assert result.code == 9
    assert result.json["well"] is False
    assert any("case_clerk: SELECT cases (other)" in d for d in result.json["differences"])


@pytest.mark.usefixtures("widened")
def test_a_backup_is_probed_as_it_is_and_not_as_the_server_is_now(brought_up: "Casedb") -> None:
    result = brought_up("access", "--backup", "latest", "--json")

    assert result.code == 0, result.err
    assert result.json["probed"].startswith("case_management-")
    # In a copy nobody has to wait, so nothing is left out.
    assert None not in {cell["found"] for cell in result.json["cells"]}


def test_production_is_probed_in_a_copy_unless_live_is_asked_for(brought_up: "Casedb") -> None:
    assert brought_up("mark", "production").code == 0
    try:
        assert brought_up("access", "--json").json["probed"].startswith("case_management-")
        assert brought_up("access", "--live", "--json").json["probed"] == "live"
    finally:
        assert brought_up("mark", "development", "--confirm", "case_management").code == 0


def test_production_without_a_backup_is_not_probed_instead(
    brought_up: "Casedb", tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = str(tmp_path_factory.mktemp("empty"))
    assert brought_up("mark", "production").code == 0
    try:
        result = brought_up("access", "--store", store)
    finally:
        assert brought_up("mark", "development", "--confirm", "case_management").code == 0
    assert result.code == 3
    assert "casedb dump" in result.err


def test_live_and_backup_exclude_each_other(brought_up: "Casedb") -> None:
    assert brought_up("access", "--live", "--backup", "latest").code == 2


def test_an_unprivileged_login_is_refused_with_advice(brought_up: "Casedb") -> None:
    result = brought_up("access", CASEDB_RESTORE_USER="case_backup")

    assert result.code == 3
    assert "casedb access --backup latest" in result.err


def test_without_a_server_the_code_is_4(casedb: "Casedb") -> None:
    assert casedb("access").code == 4
