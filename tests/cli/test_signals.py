"""What monitoring gets of each run: a line, a command, and `casedb status`."""

import json
from pathlib import Path

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


def test_a_command_that_fails_is_a_warning_and_the_run_went_well(brought_up: Casedb) -> None:
    result = brought_up("verify", "latest", CASEDB_ON_SUCCESS="/nowhere/tell; false")

    assert result.code == 0
    assert "warning: /nowhere/tell cannot be run" in result.err
    assert "warning: false failed with exit code 1" in result.err


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

    late = brought_up("status", CASEDB_BACKUP_MAX_AGE="0s")
    assert late.code == 9
    assert "possible data loss" in late.out

    home = brought_up.folder / ".casedb/backups"
    two = brought_up("status", "--store", str(home), "--store", "/nowhere", "--json")
    assert two.code == 9
    wrong = [f for f in two.json["findings"] if not f["well"]]
    assert [f["store"] for f in wrong] == ["/nowhere"]
