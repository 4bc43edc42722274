"""What monitoring gets of each run: a line, a command, and `casedb status`."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Casedb


def lines_of(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_each_run_leaves_a_line_and_calls_the_command_of_its_outcome(casedb: Casedb) -> None:
    assert casedb("up").code == 0
    hook = casedb.folder / "hook"
    hook.write_text('#!/bin/sh\necho "$1 $RUN_COMMAND $RUN_LABEL" >> calls\n')
    hook.chmod(0o700)
    (casedb.folder / "casedb.toml").write_text(
        f'log_file = "runs.jsonl"\non_success = ["{hook} well"]\non_failure = ["{hook} ill"]\n'
    )

    label = casedb("dump", "--json").json["label"]
    assert casedb("verify", "latest").code == 0
    assert casedb("rotate").code == 0
    assert casedb("rotate", "--apply").code == 0
    archive = casedb.folder / ".casedb/backups/case_management" / label / "database.dump.zst"
    archive.write_bytes(archive.read_bytes()[:-1])
    assert casedb("drill", label).code == 6

    found = [
        (line["command"], line["label"], line["outcome"], line["exit_code"])
        for line in lines_of(casedb.folder / "runs.jsonl")
    ]
    assert found == [
        ("dump", label, "success", 0),
        ("verify", label, "success", 0),
        ("rotate", None, "success", 0),
        ("drill", label, "failure", 6),
    ]
    calls = (casedb.folder / "calls").read_text().splitlines()
    assert calls == [
        f"well dump {label}",
        f"well verify {label}",
        "well rotate ",
        f"ill drill {label}",
    ]
    dumped = lines_of(casedb.folder / "runs.jsonl")[0]
    assert dumped["bytes"]
    assert dumped["store"] == [str(casedb.folder / ".casedb/backups")]


def test_a_restore_its_undo_and_what_was_dropped_leave_a_line_and_a_report_each(
    casedb: Casedb,
) -> None:
    assert casedb("up").code == 0
    (casedb.folder / "casedb.toml").write_text(
        'log_file = "runs.jsonl"\non_success = ["tee -a told"]\non_failure = ["tee -a told"]\n'
    )
    name = "case_management"
    label = casedb("backups", "--json").json["backups"][0]["label"]

    assert casedb("restore", "latest", "--plan").code == 0
    assert casedb("drop-kept").code == 0
    assert casedb("restore", "latest").code == 7
    assert casedb("restore", "latest", "--confirm", name).code == 0
    undone = casedb("undo-restore", "--json").json
    dropped = casedb("drop-kept", undone["kept"], "--confirm", undone["kept"], "--json").json
    assert casedb("undo-restore").code == 3

    found = lines_of(casedb.folder / "runs.jsonl")
    assert [(line["command"], line["label"], line["exit_code"]) for line in found] == [
        ("restore", label, 7),
        ("restore", label, 0),
        ("undo-restore", label, 0),
        ("drop-kept", label, 0),
        ("undo-restore", None, 3),
    ]
    assert lines_of(casedb.folder / "told") == found
    records = casedb.folder / ".casedb/backups" / name / "records"
    for report, kind in ((undone, "undo"), (dropped, "dropped")):
        kept = json.loads((records / f"{report['label']}.{kind}.json").read_text())
        # Times are written in two ways.
        times = ("at", "since")
        assert {k: v for k, v in kept.items() if k not in times} == {
            k: v for k, v in report.items() if k not in times
        }
        assert kept["backup"] == label
    (restored,) = records.glob("*.restore.json")
    assert json.loads(restored.read_text())["label"] == label


def test_a_signal_after_the_work_is_done_says_what_stands_and_is_no_failure(
    brought_up: Casedb,
) -> None:
    hook = brought_up.folder / "terminate"
    hook.write_text('#!/bin/sh\nkill -TERM "$PPID"\nsleep 1\n')
    hook.chmod(0o700)

    store = str(brought_up.folder / "late")

    result = brought_up("dump", "--json", "--store", store, CASEDB_ON_SUCCESS=str(hook))

    assert result.code == 0, result.err
    assert f'terminated, too late: backup "{result.json["label"]}" is complete' in result.err
    assert "cleaned up" not in result.err
    assert brought_up("verify", result.json["label"], "--store", store).code == 0


def test_an_undo_that_cannot_keep_its_report_is_done_and_says_so(casedb: Casedb) -> None:
    assert casedb("up").code == 0
    assert casedb("restore", "latest", "--confirm", "case_management").code == 0

    result = casedb("undo-restore", "--store", "/nowhere")

    assert result.code == 0, result.err
    assert "note: the outcome could not be recorded" in result.err


def test_a_command_that_fails_is_a_warning_and_the_run_went_well(brought_up: Casedb) -> None:
    result = brought_up("verify", "latest", CASEDB_ON_SUCCESS="/nowhere/tell; false")

    assert result.code == 0
    assert "warning: /nowhere/tell cannot be run" in result.err
    assert "warning: false failed with exit code 1" in result.err


def test_a_metric_that_cannot_be_told_is_a_warning_and_the_commands_are_called(
    brought_up: Casedb, tmp_path: Path
) -> None:
    log, calls = tmp_path / "runs.jsonl", tmp_path / "calls"
    signals = {"CASEDB_LOG_FILE": str(log), "CASEDB_METRICS_FILE": str(tmp_path / "x.prom")}
    assert brought_up("verify", "latest", **signals).code == 0
    # A run that ends later than any calendar goes.
    last = json.loads(log.read_text()) | {
        "command": "drill", "started_at": "9999-12-31T23:59:59Z", "seconds": 5.0,
    }  # fmt: skip
    log.write_text(json.dumps(last) + "\n")

    result = brought_up("verify", "latest", CASEDB_ON_SUCCESS=f"/usr/bin/tee {calls}", **signals)

    assert result.code == 0
    assert "warning: the metrics: unexpected OverflowError" in result.err
    assert calls.exists()


def test_a_warning_that_nobody_reads_keeps_no_signal_back(
    brought_up: Casedb, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    environment = brought_up.environ(
        CASEDB_LOG_FILE="/dev/full", CASEDB_ON_SUCCESS=f"false; /usr/bin/tee {calls}"
    )
    with open("/dev/full", "w") as nobody:
        code = subprocess.call(
            brought_up.argv("verify", "latest"), cwd=brought_up.folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=nobody,
        )  # fmt: skip

    assert code == 0
    assert calls.exists()


def test_a_dump_that_cannot_reach_its_server_is_told_of_too(casedb: Casedb) -> None:
    result = casedb("dump", CASEDB_LOG_FILE="runs.jsonl")

    assert result.code == 4
    (line,) = lines_of(casedb.folder / "runs.jsonl")
    assert (line["outcome"], line["exit_code"], line["label"]) == ("failure", 4, None)


def test_status_says_per_store_what_would_be_lost_and_turns_red(brought_up: Casedb) -> None:
    well = brought_up("status", "--json")
    assert well.code == 0, well.out
    (loss,) = well.json["possible_loss_h"].values()
    assert 0 <= loss < 1

    # The table folds its cells, and how long they are depends on how old the backup is.
    late = brought_up("status", "--json", CASEDB_BACKUP_MAX_AGE="0s")
    assert late.code == 9
    assert "possible data loss" in late.out

    home = brought_up.folder / ".casedb/backups"
    two = brought_up("status", "--store", str(home), "--store", "/nowhere", "--json")
    assert two.code == 9
    wrong = [f for f in two.json["findings"] if not f["well"]]
    assert [f["store"] for f in wrong] == ["/nowhere"]


KILLED = {
    "MONITOR_SERVICE_RESULT": "oom-kill",
    "MONITOR_EXIT_CODE": "killed",
    "MONITOR_EXIT_STATUS": "KILL",
    "MONITOR_INVOCATION_ID": "0123abcd",
}


def bound_by_modes() -> list[str]:
    """Return the words before a command that the modes of files are to bind, root too."""
    if os.geteuid() != 0:
        return []
    capabilities = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]


def test_a_run_that_was_killed_is_told_of_by_the_unit_that_systemd_starts(
    brought_up: Casedb, tmp_path: Path
) -> None:
    log, metrics, calls = tmp_path / "runs.jsonl", tmp_path / "x.prom", tmp_path / "calls"
    environment = {
        "CASEDB_LOG_FILE": str(log),
        "CASEDB_METRICS_FILE": str(metrics),
        "CASEDB_ON_FAILURE": f"/usr/bin/tee -a {calls}",
        **KILLED,
    }

    for _twice in range(2):
        assert brought_up("report-failure", "dump", **environment).code == 0

    (line,) = lines_of(log)
    assert lines_of(calls) == [line]
    assert (line["command"], line["outcome"], line["exit_code"]) == ("dump", "failure", 137)
    assert line["message"] == "the machine was out of memory; ended by SIGKILL"
    about = '{command="dump",database="case_management"}'
    assert f"casedb_run_last_exit_code{about} 137\n" in metrics.read_text()


def test_a_run_that_told_of_itself_is_not_told_of_twice(brought_up: Casedb, tmp_path: Path) -> None:
    log, calls = tmp_path / "runs.jsonl", tmp_path / "calls"
    environment = {
        "CASEDB_LOG_FILE": str(log),
        "CASEDB_ON_FAILURE": f"/usr/bin/tee -a {calls}",
    }
    failed = brought_up(
        "dump", "--conninfo", "host=/nowhere", INVOCATION_ID="0123abcd", **environment
    )
    assert failed.code == 4

    told = brought_up("report-failure", "dump", "--json", **environment, **KILLED)

    assert told.json["told"] is False
    assert [line["exit_code"] for line in lines_of(calls)] == [4]


@pytest.mark.parametrize(
    ("state", "warning"),
    [
        ("unreadable", "warning: the log cannot be read: {log}: Permission denied."),
        ("closed", "warning: the log cannot be written: {log}: Permission denied."),
        ("a folder", "warning: the log cannot be written: {log}: it is no file, pipe or character"),
        ("a pipe", "warning: the log cannot be written: {log}: it is a pipe that nobody reads."),
        ("not UTF-8", None),
    ],
)
def test_a_killed_run_is_told_of_although_the_log_cannot_be_read(
    brought_up: Casedb, tmp_path: Path, state: str, warning: str | None
) -> None:
    log, metrics, calls = tmp_path / "runs.jsonl", tmp_path / "x.prom", tmp_path / "calls"
    if state == "a folder":
        log.mkdir()
    elif state == "a pipe":
        os.mkfifo(log)
    else:
        log.write_bytes(b'{"command": "\xff\xfe"}\n\xff')
        log.chmod({"unreadable": 0o200, "closed": 0}.get(state, 0o600))
    environment = brought_up.environ(
        CASEDB_LOG_FILE=str(log),
        CASEDB_METRICS_FILE=str(metrics),
        CASEDB_ON_FAILURE=f"/usr/bin/tee -a {calls}",
        **KILLED,
    )

    done = subprocess.run(
        [*bound_by_modes(), *brought_up.argv("report-failure", "dump", "--json")],
        cwd=brought_up.folder, env=environment, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["told"] is True
    about = '{command="dump",database="case_management"}'
    assert f"casedb_run_last_exit_code{about} 137\n" in metrics.read_text()
    assert [line["exit_code"] for line in lines_of(calls)] == [137]
    told = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    assert len(told) == (1 if warning else 0)
    assert all(line.startswith((warning or "").format(log=log)) for line in told)
    if state in ("unreadable", "not UTF-8"):
        assert b"ended by SIGKILL" in log.read_bytes().splitlines()[-1]


def test_metrics_are_written_without_the_log_that_cannot_be_read(
    brought_up: Casedb, tmp_path: Path
) -> None:
    log, metrics = tmp_path / "runs.jsonl", tmp_path / "x.prom"
    log.touch(0o200)
    environment = brought_up.environ(CASEDB_LOG_FILE=str(log), CASEDB_METRICS_FILE=str(metrics))

    done = subprocess.run(
        [*bound_by_modes(), *brought_up.argv("verify", "latest")],
        cwd=brought_up.folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0
    assert "note: no metrics of earlier runs: the log cannot be read" in done.stderr
    text = metrics.read_text()
    assert 'casedb_run_last_exit_code{command="verify",database="case_management"} 0\n' in text
    assert "casedb_backup_last_success_timestamp_seconds{" in text


def test_metrics_remember_the_last_run_of_each_command(brought_up: Casedb, tmp_path: Path) -> None:
    metrics = tmp_path / "x.prom"
    environment = {
        "CASEDB_LOG_FILE": str(tmp_path / "runs.jsonl"), "CASEDB_METRICS_FILE": str(metrics),
    }  # fmt: skip

    assert brought_up("verify", "latest", **environment).code == 0
    assert brought_up("dump", "--conninfo", "host=/nowhere", **environment).code == 4

    codes = [line for line in metrics.read_text().splitlines() if "run_last_exit_code{" in line]
    assert codes == [
        'casedb_run_last_exit_code{command="verify",database="case_management"} 0',
        'casedb_run_last_exit_code{command="dump",database="case_management"} 4',
    ]


def test_status_can_look_at_the_backups_alone(brought_up: Casedb) -> None:
    result = brought_up(
        "status", "--without-server", "--json", CASEDB_CONNINFO="host=/nowhere",
        CASEDB_STORE=str(brought_up.folder / ".casedb/backups"),
    )  # fmt: skip

    assert result.code == 0, result.out
    assert "server" not in [f["check"] for f in result.json["findings"]]
    (store,) = result.json["stores"]
    assert store["newest_at"]
