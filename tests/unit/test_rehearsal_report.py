"""The report of a rehearsal: what went wrong on one host is in it, and makes the whole not well."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.controls.base import Finding
from deploy.proof import Proof
from deploy.rehearsal import STEPS, Rehearsal, as_markdown, work_on
from deploy.runs import HostRun, Step


@dataclass
class Answered:
    """What a command on a host returned."""

    returncode: int
    stdout: str
    stderr: str


NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)
ANSWERS: dict[str, Any] = {
    "migrate": {"applied": [1, 2], "pending": []},
    "seed": {"users": {"created": 3}, "cases": {"created": 1}},
    "dump": {"label": "case_management-20260630T120000Z"},
    "drill": {"outcome": "passed", "tables": 15, "rows": 63},
    "status": {},
}


def answering(failing: str = "", host_that_fails: str = "") -> Any:
    """Return what runs commands on hosts: well, but for one verb on one host."""

    def run(host: str) -> Any:
        def command(_program: str, verb: str, *_words: str) -> Answered:
            if (verb, host) == (failing, host_that_fails):
                error = {"error": {"message": "it differs", "detail": "a\nb", "hint": ""}}
                return Answered(9, json.dumps(error), "")
            return Answered(0, json.dumps(ANSWERS[verb]), "")

        return command

    return run


def test_each_host_goes_all_the_way_or_to_its_first_failure() -> None:
    done = work_on(["a", "b"], answering("drill", "a"))

    assert [d.exit_code for d in done if d.host == "a"] == [0, 0, 0, 9]
    assert [d.exit_code for d in done if d.host == "b"] == [0] * len(STEPS)
    said = {(d.host, d.command): d.said for d in done}
    assert said["a", "casedb drill latest"] == "it differs a b"
    assert said["b", "casedb drill latest"] == "outcome passed, tables 15, rows 63"
    assert said["b", "casedb seed"] == "3 users, 1 cases"


def test_a_host_that_answers_no_json_is_quoted() -> None:
    (done,) = work_on(["a"], lambda _host: lambda *_words: Answered(127, "", "no such\ncommand"))

    assert (done.exit_code, done.said) == (127, "no such command")


def ran(*changed: bool, error: str | None = None) -> HostRun:
    steps = tuple(Step("a step", c, False, "", ()) for c in changed)
    return HostRun("a", error, 47, 12.0, ("a remark",), steps)


WELL = Rehearsal(
    started=NOON,
    ended=NOON + timedelta(minutes=5),
    hosts={"a": "Debian 13"},
    boot_seconds=3.0,
    proof=Proof(
        1, "prove", "i.py", NOON, NOON, (ran(True, False),), (ran(False, False),), 0,
        {"a": [Finding("tls.on", "TLS is on", True, "", "", "")]}, 0,
    ),
    steps=work_on(["a"], answering()),
)  # fmt: skip


def test_a_report_says_on_one_page_what_was_done_and_found() -> None:
    text = as_markdown(WELL)

    assert "300 s in all: **everything went well**" in text
    assert "| a | 1 changes | 0 changes | 47, then 47 | 12, then 12.0 | 1 of 1 |" in text
    assert "| a | take a backup | `casedb dump` | 0 |" in text
    assert "- a: a remark" in text


@pytest.mark.parametrize(
    "change",
    [
        {"second_run": (ran(False, True),), "second_run_changes": 1},
        {"first_run": (ran(True, error="no"),)},
        {"checks_failed": 1},
    ],
)
def test_one_thing_that_is_not_well_makes_the_whole_so(change: dict[str, Any]) -> None:
    report = replace(WELL, proof=replace(WELL.proof, **change))

    assert not report.passed
    assert "NOT everything went well" in as_markdown(report)


def test_a_failed_step_makes_the_whole_not_well() -> None:
    assert WELL.passed
    assert not replace(WELL, steps=work_on(["a"], answering("drill", "a"))).passed
