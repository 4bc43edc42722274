"""`casedb query`, `explain` and `shell --as`: one user's view from the command line."""

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.cli.terminal import on_a_terminal

if TYPE_CHECKING:
    from tests.cli.conftest import Casedb, Result

CLERK, CHAIR, WORKER = (f"{who}@example.com" for who in ("clerk", "chair", "caseworker"))
TITLE = "Sample Case for Testing"


def psql(casedb: "Casedb", email: str, *statements: str, write: bool = False) -> "Result":
    """Each statement is a -c of its own: psql runs it in a transaction of its own."""
    words = [word for statement in statements for word in ("-c", statement)]
    flags = ["--write"] if write else []
    return casedb("shell", "--psql", "--as", email, *flags, "--", "-XAtq", *words)


def test_without_a_name_the_queries_are_listed(brought_up: "Casedb") -> None:
    listed = {query["name"] for query in brought_up("query", "--json").json["queries"]}

    assert {"my_open_cases", "review_queue", "case_file", "search_cases"} <= listed
    assert "my_open_cases" in brought_up("query").out


@pytest.mark.parametrize(("email", "count"), [(CLERK, 1), (CHAIR, 1), (WORKER, 0)])
def test_a_query_shows_what_that_user_sees(brought_up: "Casedb", email: str, count: int) -> None:
    result = brought_up("query", "my_open_cases", "--as", email, "--json")

    assert [row["title"] for row in result.json["rows"]] == [TITLE] * count
    assert result.json["next_page"] is None
    assert result.json["columns"][0] == {"name": "id", "type": "uuid"}


def test_what_is_printed_leads_to_the_next_page(brought_up: "Casedb") -> None:
    words = ["query", "my-open-cases", "--as", CLERK, "--param", "page_size=1"]
    first = brought_up(*words)
    more = re.findall(r"--param (\S+=.+?)(?= --param|$)", first.out, re.M)

    second = brought_up(*words, *(word for found in more for word in ("--param", found)))

    assert TITLE in first.out
    assert len(more) == 2
    assert second.code == 0, second.err
    assert TITLE not in second.out


def test_one_case_is_printed_with_its_log(brought_up: "Casedb") -> None:
    rows = brought_up("query", "my_open_cases", "--json").json["rows"]
    result = brought_up("query", "case_file", "--param", f"case_id={rows[0]['id']}")

    assert f"title: {TITLE}" in result.out
    assert '"action": "created"' in result.out


@pytest.mark.parametrize(
    "words",
    [
        ("query", "my_open_case"),
        ("query", "my_open_cases", "--param", "page_size=many"),
        ("query", "my_open_cases", "--param", "page_size"),
        ("query", "my_open_cases", "--as", "nobody@example.com"),
        ("query", "case_file"),
        ("explain", "--as", CLERK, "--all-roles"),
        ("explain", "--param", "a=b"),
        ("shell", "--write"),
        ("shell", "--as", CLERK, "--login", "case_seed"),
        ("shell", "--as", "nobody@example.com"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_a_usage_error(brought_up: "Casedb", words: tuple[str, ...]) -> None:
    result = brought_up(*words)

    assert result.code == 2, result.err
    assert result.err.count("ERROR:") == 1


def test_explain_shows_the_plan_and_the_verdict(brought_up: "Casedb") -> None:
    result = brought_up("explain", "my_open_cases", "--as", CLERK)

    assert result.code == 0, result.out
    assert "Execution Time" in result.out
    assert f"my_open_cases as {CLERK}: met" in result.out


def test_explain_judges_every_query_as_every_role(brought_up: "Casedb") -> None:
    # A caseworker without a case has none to look at.
    found = brought_up("query", "my_open_cases", "--json").json["rows"][0]
    for name in (query["name"] for query in brought_up("query", "--json").json["queries"]):
        params = {"case_file": ["--param", f"case_id={found['id']}"]}.get(name, [])
        params += ["--param", "words=sample"] if name == "search_cases" else []
        result = brought_up("explain", name, "--all-roles", "--json", *params)

        assert result.code == 0, result.out + result.err
        roles = {plan["role"] for plan in result.json["plans"]}
        assert roles == {"case_clerk", "case_chair", "case_caseworker"}
        assert all(plan["within_budget"] for plan in result.json["plans"])


def test_the_shell_is_that_user_in_every_statement(brought_up: "Casedb") -> None:
    who = "SELECT current_user, email FROM users WHERE id = current_user_id()"
    result = psql(brought_up, CLERK, who, "SELECT count(*) FROM cases", who, "RESET ALL", who)

    as_clerk = f"case_clerk|{CLERK}"
    assert result.out.split() == [as_clerk, "1", as_clerk, as_clerk], result.err
    assert psql(brought_up, WORKER, "SELECT count(*) FROM cases").out.strip() == "0"


def test_the_shell_cannot_read_what_the_user_may_not(brought_up: "Casedb") -> None:
    assert "permission denied" in psql(brought_up, CHAIR, "SELECT password FROM users").err


def test_the_shell_changes_nothing_unless_asked_to(brought_up: "Casedb") -> None:
    change = "UPDATE cases SET title = 'Changed' RETURNING title"

    refused = psql(brought_up, CLERK, change)
    allowed = psql(brought_up, CLERK, f"BEGIN; {change}; ROLLBACK", write=True)

    assert "read-only transaction" in refused.err
    assert "Changed" in allowed.out, allowed.err


def test_no_argument_tells_other_people_on_the_machine_who_is_meant(
    brought_up: "Casedb",
) -> None:
    process = brought_up.start("shell", "--psql", "--as", CLERK, "--", "-c", "SELECT pg_sleep(20)")
    try:
        deadline = time.monotonic() + 20
        shown = ""
        while not shown.startswith(brought_up.tools["psql"]):
            assert time.monotonic() < deadline, shown
            time.sleep(0.2)
            with open(f"/proc/{process.pid}/cmdline") as file:
                shown = file.read().replace("\0", " ")
        assert "pg_sleep" in shown
        assert "user_id" not in shown
        assert "host=" not in shown
    finally:
        process.kill()
        process.communicate()


def test_pgcli_is_that_user_too(brought_up: "Casedb") -> None:
    environment = {"TERM": "dumb", "PAGER": "cat", "XDG_CONFIG_HOME": str(brought_up.folder)}
    with on_a_terminal(brought_up, "shell", "--as", CLERK, **environment) as shown:
        shown.read_until("> ")
        for _ in range(2):
            shown.type(b"SELECT current_user || '/' || count(*) AS who FROM cases;\r")
            shown.read_until("case_clerk/1")


def test_volume_is_seeded_from_the_command_line_and_continued(casedb: "Casedb") -> None:
    assert casedb("up").code == 0
    first = casedb("seed", "--cases", "20", "--seed", "3", "--json")
    again = casedb("seed", "--cases", "20", "--seed", "3")
    email = "chair00001@s3-n20.example.com"
    seen = casedb("query", "my_open_cases", "--as", email, "--json")

    assert first.json["loaded"]["cases"] == {"created": 20, "already_there": 0}
    assert "in place" in again.out
    assert casedb("seed", "--seed", "3").code == 2
    assert len(seen.json["rows"]) > 1
