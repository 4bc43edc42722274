"""`casedb audit`: what a person is told, and with which exit code."""

import pytest

from casedb.database import connect
from casedb.server import EmbeddedServer
from tests.cli.conftest import Casedb

CASE = "ca5e0000-0000-4000-8000-000000000001"


def tamper(server: EmbeddedServer, statement: str) -> None:
    target = server.conninfo(dbname="case_management", user="postgres")
    with connect(target, purpose="test") as admin:
        admin.execute("ALTER TABLE public.case_logs DISABLE TRIGGER USER")
        admin.execute(statement.encode())
        for name in ("chain", "bulk_load", "append_only", "no_truncate"):
            admin.execute(
                f"ALTER TABLE public.case_logs ENABLE ALWAYS TRIGGER case_logs_{name}".encode()
            )


def test_a_whole_trail_is_called_whole(brought_up: Casedb) -> None:
    plain = brought_up("audit", "verify")
    assert plain.code == 0, plain.err
    assert "every chain is whole" in plain.out

    anchored = brought_up("audit", "verify", "--anchor", "latest", "--json")
    assert anchored.code == 0, anchored.err
    assert anchored.json["findings"] == []
    assert anchored.json["cases"] == 1
    assert anchored.json["anchored"] == 4


def test_the_history_of_a_case_is_told_in_words(brought_up: Casedb) -> None:
    told = brought_up("audit", "show", CASE)

    assert told.code == 0, told.err
    assert "Sample Case for Testing" in told.out
    assert "John Clerk (clerk)" in told.out
    assert "created: status NEW, priority MEDIUM" in told.out
    entries = brought_up("audit", "show", CASE, "--json").json["entries"]
    assert [entry["action"] for entry in entries] == ["created", "created"]


@pytest.mark.parametrize("words", [("show",), ("verify", "--case")], ids=["show", "verify"])
def test_an_unknown_case_is_said_to_be_unknown(brought_up: Casedb, words: tuple[str, ...]) -> None:
    unknown = brought_up("audit", *words, "00000000-0000-0000-0000-0000000000ff")

    assert unknown.code == 3
    assert "there is no case" in unknown.err


def test_tampering_ends_in_exit_code_9_and_names_the_entry(casedb: Casedb) -> None:
    assert casedb("up").code == 0
    tamper(casedb.server, "DELETE FROM public.case_logs WHERE seq = 2")

    # A tail that was cut off shows against a backup only.
    assert casedb("audit", "verify").code == 0
    found = casedb("audit", "verify", "--anchor", "latest", "--json")
    assert found.code == 9
    assert found.json["findings"] == [
        {
            "kind": "case",
            "subject": CASE,
            "seq": 2,
            "problem": found.json["findings"][0]["problem"],
        }
    ]
    told = casedb("audit", "verify", "--anchor", "latest")
    assert told.code == 9
    assert f"case {CASE}: entry 2 is gone" in told.err

    tamper(casedb.server, "UPDATE public.case_logs SET action = 'forged' WHERE seq = 1")
    changed = casedb("audit", "verify", "--case", CASE)
    assert changed.code == 9
    assert "entry 1 is not what was written" in changed.err
