"""A run's commands learn of it without a secret; how they behave takes neither time nor memory."""

import json
import os
import resource
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from casedb.errors import ToolFailedError
from casedb.hooks import call_hook
from tests.unit.test_runs import RUN


def script(folder: Path, text: str) -> str:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


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

    with pytest.raises(ToolFailedError, match="did not end within 1 s"):
        call_hook(hook, RUN, inherited=os.environ, timeout_s=1)

    child = int((tmp_path / "pid").read_text())
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(child)
        # It is nobody's child any more, and stays a zombie until init looks.
        deadline = time.monotonic() + 120
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


def test_what_reads_nothing_does_not_hold_up_a_long_message(tmp_path: Path) -> None:
    long = replace(RUN, message="x " * 50_000)

    with pytest.raises(ToolFailedError, match="exit code 7"):
        call_hook(script(tmp_path, "sleep 0.2; exit 7"), long, inherited=os.environ)


def test_what_a_command_prints_takes_no_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hook = script(tmp_path, "yes password=hush | head -c 300000000; echo; echo the end; exit 3")

    with pytest.raises(ToolFailedError, match="exit code 3") as failed:
        call_hook(hook, RUN, inherited=os.environ)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
    assert failed.value.detail
    assert failed.value.detail.splitlines()[-1] == "the end"
    assert "hush" not in failed.value.detail


def test_of_a_line_too_long_to_keep_nothing_is_told(tmp_path: Path) -> None:
    hook = script(tmp_path, "printf 'password='; yes '' | head -c 9000 | tr '\\n' h; exit 3")

    with pytest.raises(ToolFailedError, match="exit code 3") as failed:
        call_hook(hook, RUN, inherited=os.environ)

    assert failed.value.detail is None


def test_a_command_that_prints_for_ever_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ToolFailedError, match="did not end within 1 s"):
        call_hook("yes", RUN, inherited=os.environ, timeout_s=1)


def test_what_holds_the_pipe_longer_than_the_command_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    daemon = f"setsid sh -c 'echo $$ > {pid}; exec sleep 600' &"
    wait = f"while [ ! -s {pid} ]; do sleep 0.01; done"
    hook = script(tmp_path, f"{daemon} {wait}; echo told; exit 3")
    began = time.monotonic()

    with pytest.raises(ToolFailedError, match="exit code 3") as failed:
        call_hook(hook, RUN, inherited=os.environ)

    assert time.monotonic() - began < 30
    assert failed.value.detail == "told"
    os.kill(int(pid.read_text()), signal.SIGKILL)
