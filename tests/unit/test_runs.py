"""A run leaves one line and tells its commands, without a secret and without waiting for ever."""

import json
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from casedb.errors import ToolFailedError
from casedb.runs import Run, append_line, call_hook

RUN = Run(
    command="dump",
    database="app",
    label="app-20261122T030000Z",
    outcome="failure",
    exit_code=5,
    started_at=datetime(2026, 11, 22, 3, tzinfo=UTC),
    seconds=1.23456,
    bytes=None,
    store=("file:///one", "s3://bucket/two"),
    message="no way in: host=db1 password=hush",
)


def script(folder: Path, text: str) -> str:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def test_a_line_says_what_ran_how_it_ended_and_no_password(tmp_path: Path) -> None:
    log = tmp_path / "runs.jsonl"

    append_line(log, RUN)
    append_line(log, RUN)

    first, second = log.read_text().splitlines()
    assert first == second
    found = json.loads(first)
    assert found["command"] == "dump"
    assert found["outcome"] == "failure"
    assert found["seconds"] == 1.235
    assert found["bytes"] is None
    assert found["started_at"] == "2026-11-22T03:00:00+00:00"
    assert "hush" not in first


def test_a_log_that_cannot_be_written_is_an_error_of_its_own() -> None:
    with pytest.raises(ToolFailedError, match="log cannot be written"):
        append_line(Path("/nowhere/runs.jsonl"), RUN)


def test_a_command_gets_the_facts_twice_and_nobodys_settings(tmp_path: Path) -> None:
    hook = script(tmp_path, 'cat > "$1/stdin"; env > "$1/env"')
    inherited = {
        **{name: os.environ[name] for name in ("PATH",)},
        "PGPASSWORD": "hush",
        "CASEDB_KEY_FILE": "/key",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "DATABASE_URL": "postgres://app:hush@db1/app",
    }

    call_hook(f"{hook} '{tmp_path}'", RUN, inherited=inherited)

    assert json.loads((tmp_path / "stdin").read_text())["label"] == RUN.label
    env = (tmp_path / "env").read_text()
    assert "RUN_LABEL=app-20261122T030000Z\n" in env
    assert "RUN_EXIT_CODE=5\n" in env
    assert "RUN_STORE=file:///one s3://bucket/two\n" in env
    assert "hush" not in env
    assert "CASEDB" not in env


def test_a_command_that_does_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    hook = script(tmp_path, f"sleep 600 & echo $! > {tmp_path}/pid; sleep 600")
    began = time.monotonic()

    with pytest.raises(ToolFailedError, match="did not end within 1 s"):
        call_hook(hook, RUN, inherited=os.environ, timeout_s=1)

    assert time.monotonic() - began < 20
    child = int((tmp_path / "pid").read_text())
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(child)
        # It is nobody's child any more, and stays a zombie until init looks.
        deadline = time.monotonic() + 20
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/nowhere/at-all", "cannot be run"),
        ("'unclosed", "cannot be run"),
        ("  ", "empty command"),
    ],
)
def test_a_command_that_cannot_be_run_is_named(command: str, message: str) -> None:
    with pytest.raises(ToolFailedError, match=message):
        call_hook(command, RUN, inherited=os.environ)


def test_what_a_failing_command_printed_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolFailedError, match="exit code 3") as failed:
        call_hook(script(tmp_path, "echo no mail today; exit 3"), RUN, inherited=os.environ)

    assert failed.value.detail == "no mail today"


def test_a_command_that_reads_nothing_is_no_failure(tmp_path: Path) -> None:
    call_hook(script(tmp_path, "exec <&-; exit 0"), RUN, inherited=os.environ)
