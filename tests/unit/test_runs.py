"""A run leaves one whole line, without a secret, and what is read back are runs."""

import json
import math
import os
import resource
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from casedb.errors import ToolFailedError
from casedb.runs import Run, append_line, failure_of_unit, last_runs, read_runs

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


def test_a_path_that_is_no_text_keeps_no_line_out(tmp_path: Path) -> None:
    log = tmp_path / "runs.jsonl"

    append_line(log, replace(RUN, store=(os.fsdecode(b"/backups/\xff"),)))

    assert [run.store for run in read_runs(log)] == [("/backups/?",)]


def test_a_log_is_read_back_as_it_was_written_and_strange_lines_are_left_out(
    tmp_path: Path,
) -> None:
    log = tmp_path / "runs.jsonl"
    first = replace(RUN, message=None, seconds=1.5, invocation="abc")
    append_line(log, first)
    with log.open("a") as file:
        file.write('not json\n{"command": "dump"}\n[]\n')
        for odd in ({"seconds": math.inf}, {"exit_code": "x"}, {"started_at": "2026-11-22T03:00"}):
            file.write(json.dumps(json.loads(first.to_json()) | odd) + "\n")
    second = replace(first, outcome="success", exit_code=0)
    append_line(log, second)

    runs = read_runs(log)

    assert runs == [first, second]
    assert last_runs(runs) == (second,)
    assert read_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("result", "code", "status", "expected"),
    [
        ("signal", "killed", "KILL", (137, "ended by SIGKILL")),
        ("oom-kill", "killed", "KILL", (137, "the machine was out of memory; ended by SIGKILL")),
        ("timeout", "killed", "TERM", (143, "it took too long; ended by SIGTERM")),
        ("exit-code", "exited", "3", (3, "exit code 3")),
        # systemd stopped it in time, and it ended of itself: that is still no success.
        ("timeout", "exited", "0", (1, "it took too long; exit code 0")),
        ("resources", "", "", (1, "systemd says: resources")),
        ("", "", "", (1, "systemd says: failed")),
    ],
)
def test_what_systemd_saw_becomes_a_code_that_is_never_0(
    result: str, code: str, status: str, expected: tuple[int, str]
) -> None:
    assert failure_of_unit(result, code, status) == expected


def test_a_log_that_cannot_be_written_is_an_error_of_its_own() -> None:
    with pytest.raises(ToolFailedError, match="log cannot be written"):
        append_line(Path("/nowhere/runs.jsonl"), RUN)


def test_a_line_that_does_not_fit_is_an_error_and_leaves_no_half(tmp_path: Path) -> None:
    log = tmp_path / "runs.jsonl"
    append_line(log, RUN)
    whole = log.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As a disk that fills: the first part of what is written still finds room.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 50, limits[1]))
    try:
        with pytest.raises(ToolFailedError, match="log cannot be written") as failed:
            append_line(log, RUN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert failed.value.detail == f"{log}: No space left on device."
    assert log.read_bytes() == whole
    append_line(log, RUN)
    assert log.read_bytes() == whole * 2


def test_a_log_that_is_no_file_is_not_read_back(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert read_runs(Path("/dev/full")) == []
    assert read_runs(tmp_path / "pipe") == []


@pytest.mark.timeout(10)
def test_a_pipe_that_nobody_reads_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(ToolFailedError, match="log cannot be written") as failed:
        append_line(pipe, RUN)

    assert failed.value.detail == f"{pipe}: it is a pipe that nobody reads."


@pytest.mark.timeout(10)
def test_a_pipe_that_somebody_reads_gets_the_line(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        append_line(pipe, RUN)
        assert json.loads(os.read(reader, 65536))["command"] == "dump"
    finally:
        os.close(reader)


@pytest.mark.timeout(10)
def test_a_pipe_that_is_full_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(reader, bytes(1 << 20))
        with pytest.raises(ToolFailedError, match="log cannot be written"):
            append_line(pipe, RUN)
    finally:
        os.close(reader)


def test_what_takes_no_lines_is_refused_by_what_it_is(tmp_path: Path) -> None:
    where = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(where))
        for path in (where, tmp_path):
            with pytest.raises(ToolFailedError, match="log cannot be written") as failed:
                append_line(path, RUN)
            assert failed.value.detail == f"{path}: it is no file, pipe or character device."


def test_a_device_takes_the_line_and_is_not_read() -> None:
    append_line(Path("/dev/null"), RUN)


@pytest.mark.parametrize("half", [b'{"command": "du', b"\xff\x00"])
def test_a_line_begins_anew_after_half_a_line_of_somebody(tmp_path: Path, half: bytes) -> None:
    log = tmp_path / "runs.jsonl"
    run = replace(RUN, message=None, seconds=1.5)
    append_line(log, run)
    whole = log.read_bytes()
    log.write_bytes(whole + half)

    append_line(log, run)
    append_line(log, run)

    assert log.read_bytes() == whole + half + b"\n" + whole + whole
    assert read_runs(log) == [run] * 3


def test_several_at_once_after_half_a_line_lose_none(tmp_path: Path) -> None:
    log = tmp_path / "runs.jsonl"
    log.write_bytes(b'{"command": "du')
    run = replace(RUN, message=None, seconds=1.5)
    writers = []
    for _writer in range(8):
        if not (writer := os.fork()):
            try:
                for _line in range(50):
                    append_line(log, run)
            finally:
                os._exit(0)
        writers.append(writer)
    for writer in writers:
        os.waitpid(writer, 0)

    assert read_runs(log) == [run] * 400


def test_half_a_line_that_did_not_fit_after_half_a_line_goes_with_its_break(
    tmp_path: Path,
) -> None:
    log = tmp_path / "runs.jsonl"
    log.write_bytes(b"half")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with pytest.raises(ToolFailedError, match="log cannot be written"):
            append_line(log, RUN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert log.read_bytes() == b"half"
