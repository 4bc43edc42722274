"""How a host stands: each thing that is late, failed, stopped or full turns it red alone."""

import copy
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.remote import standing as remote
from deploy.sending import asking_how_it_stands
from deploy.standing import assess, tellers

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DUMP, DRILL = "casedb-dump@app.timer", "casedb-drill@app.timer"


def run(command: str, *, exit_code: int = 0, message: str | None = None) -> dict[str, Any]:
    return {
        "command": command, "database": "app", "exit_code": exit_code, "message": message,
        "started_at": "2026-11-23T11:00:00+00:00", "seconds": 60.0,
    }  # fmt: skip


def timer() -> dict[str, Any]:
    return {
        "activestate": "active", "unitfilestate": "enabled", "next_s": NOW.timestamp() + 3600,
        "service": {"activestate": "inactive", "result": "success", "inactiveentertimestamp": ""},
    }  # fmt: skip


def facts() -> dict[str, Any]:
    finding = {"check": "backup", "well": True, "state": "1h old", "advice": None, "store": "x"}
    store = {"newest_at": "2026-11-23T11:00:00+00:00", "drilled_at": "2026-11-22T11:00:00+00:00"}
    return {
        "kind": "database",
        "now_s": NOW.timestamp(),
        "timers": {DUMP: timer(), DRILL: timer()},
        "runs": [run("dump")],
        "status": {"app": {"well": True, "findings": [finding], "stores": [store]}},
        "disks": {"/var": {"free": 50, "total": 100}, "/srv": {"free": 20, "total": 100}},
        "connections": {"used": 3, "most": 100},
    }


def test_a_host_where_all_is_well_has_nothing_to_say() -> None:
    found = assess("db1", None, facts())

    assert (found.well, found.problems) == (True, ())
    assert found.newest_backup_at == datetime(2026, 11, 23, 11, tzinfo=UTC)
    assert (found.disk_free_bytes, found.connections, found.connections_most) == (20, 3, 100)
    dump, drill = found.timers
    assert (dump.state, dump.last_exit_code) == ("waits", 0)
    assert dump.last_at == datetime(2026, 11, 23, 11, 1, tzinfo=UTC)
    # It has not come to its first time yet, which is no fault.
    assert (drill.last_at, drill.last_exit_code) == (None, None)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a stopped timer": (
        lambda f: f["timers"][DUMP].update(activestate="inactive"),
        "the timer of dump is stopped",
    ),
    "a timer that does not come back": (
        lambda f: f["timers"][DUMP].update(unitfilestate="disabled"),
        "the timer of dump is not enabled",
    ),
    "a failed run": (
        lambda f: f.update(runs=[run("dump", exit_code=5, message="the disk is full")]),
        "the last dump of app failed: the disk is full",
    ),
    "a run that could not tell": (
        lambda f: f["timers"][DRILL]["service"].update(result="oom-kill"),
        "drill of app failed: systemd says oom-kill",
    ),
    "a run that did not even begin, after one that was well": (
        lambda f: f["timers"][DUMP]["service"].update(
            result="exit-code", inactiveentertimestamp=f"@{NOW.timestamp():.0f}"
        ),
        "dump of app failed: systemd says exit-code",
    ),
    "a late backup": (
        lambda f: f["status"]["app"]["findings"][0].update(well=False, advice="casedb dump"),
        "backup of app: 1h old; casedb dump",
    ),
    "no answer of casedb": (
        lambda f: f["status"].update(app={"error": {"message": "casedb is not installed"}}),
        "casedb status of app: casedb is not installed",
    ),
    "a full disk": (
        lambda f: f["disks"]["/srv"].update(free=9),
        "the disk of /srv has 9% left",
    ),
    "too many connections": (
        lambda f: f["connections"].update(used=90),
        "90 of 100 connections are taken",
    ),
    "a server that is down": (
        lambda f: f.update(connections={"error": "no"}),
        "the server does not answer: no",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_turns_red_and_says_why(what: str) -> None:
    spoil, message = WRONG[what]
    found = copy.deepcopy(facts())
    spoil(found)

    standing = assess("db1", None, found)

    assert not standing.well
    (problem,) = standing.problems
    assert message in problem


ODD: dict[str, Any] = {
    "no object": ["dump", "app"],
    "nothing": None,
    "no time": {"command": "dump", "database": "app", "exit_code": 5, "message": None},
    "no code": {key: value for key, value in run("dump").items() if key != "exit_code"},
    "no message": {key: value for key, value in run("dump").items() if key != "message"},
    "a list as command": run("dump") | {"command": ["dump"]},
    "a number as database": run("dump") | {"database": 7},
    "a word as code": run("dump") | {"exit_code": "5"},
    "true as code": run("dump") | {"exit_code": True},
    "an object as message": run("dump", exit_code=5) | {"message": {}},
    "a time without zone": run("dump") | {"started_at": "2026-11-23T11:00:00"},
    "a word as time": run("dump") | {"started_at": "yesterday"},
    "a number as time": run("dump") | {"started_at": 1795518000},
    "a word as length": run("dump") | {"seconds": "60"},
    "no number as length": run("dump") | {"seconds": math.nan},
    "a length without end": run("dump") | {"seconds": math.inf},
    "a length beyond the calendar": run("dump") | {"seconds": 1e12},
}


@pytest.mark.parametrize("what", ODD)
def test_a_line_with_odd_values_tells_of_no_run(what: str) -> None:
    found = facts()
    found["runs"].append(ODD[what])

    standing = assess("db1", None, found)

    assert standing == assess("db1", None, facts())
    found["runs"] = [ODD[what]]
    assert [timer.last_at for timer in assess("db1", None, found).timers] == [None, None]


def test_a_host_leaves_odd_lines_out_and_keeps_the_last_that_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "runs.jsonl"
    monkeypatch.setitem(remote.ASKED, "log", str(log))
    lines = [json.dumps(line) for line in (run("dump"), *ODD.values())]
    log.write_bytes("\n".join([*lines, "", '{"cut', "[" * 100_000]).encode() + b"\n\xff\n")

    assert remote.runs() == [run("dump")]


@pytest.mark.timeout(10)
def test_a_log_that_is_no_file_is_not_read_on_a_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "runs.jsonl"
    os.mkfifo(log)
    monkeypatch.setitem(remote.ASKED, "log", str(log))

    assert remote.runs() == []


def test_what_is_sent_to_a_host_has_all_that_it_imports(tmp_path: Path) -> None:
    asked = {
        "kind": "drill", "log": str(tmp_path / "runs.jsonl"),
        "timers": [], "databases": [], "disks": [],
    }  # fmt: skip
    (tmp_path / "runs.jsonl").write_text(json.dumps(run("dump")) + "\n")

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-"], input=asking_how_it_stands(asked), cwd="/",
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"] == [run("dump")]


def test_a_failure_that_a_later_run_has_made_good_is_forgotten() -> None:
    found = facts()
    # The unit's own last result stays, when somebody dumped by hand since.
    before = datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()
    found["timers"][DUMP]["service"].update(
        result="exit-code", inactiveentertimestamp=f"@{before:.0f}"
    )

    assert assess("db1", None, found).well


def test_of_several_databases_the_one_without_a_backup_counts() -> None:
    found = facts()
    found["status"]["other"] = {
        "findings": [], "stores": [{"newest_at": None, "drilled_at": None}]
    }  # fmt: skip

    assert assess("db1", None, found).newest_backup_at is None


def test_a_host_that_could_not_be_asked_is_not_well() -> None:
    found = assess("db1", "unreachable: no route", None)

    assert (found.well, found.error) == (False, "unreachable: no route")


def test_a_host_without_a_server_has_no_connections() -> None:
    found = facts()
    found.update(kind="drill", connections=None)

    standing = assess("drill1", None, found)

    assert (standing.well, standing.connections) == (True, None)


UNREAD = {
    "check": "backup",
    "well": False,
    "known": False,
    "state": "not readable from here",
    "advice": "ask a host that may read",
    "store": "s3://bucket/here",
}


def unread() -> dict[str, Any]:
    """What a host gathers that may only put into its bucket."""
    found = facts()
    found["status"]["app"] = {"well": False, "findings": [dict(UNREAD)], "stores": []}
    return found


def reader(*, well: bool = True, store: str = "s3://bucket/here") -> dict[str, Any]:
    """What a host gathers that may read it."""
    found = facts()
    found.update(kind="drill", connections=None)
    found["status"]["app"]["findings"][0].update(store=store, well=well)
    return found


def test_what_a_host_may_not_read_another_tells() -> None:
    hosts = {"db1": unread(), "drill1": reader()}
    told = tellers(hosts.items())

    db1, drill1 = (assess(host, None, found, told) for host, found in hosts.items())

    assert (db1.well, drill1.well) == (True, True)
    assert db1.told_elsewhere == (
        "backup of app in s3://bucket/here: not readable from here; drill1 tells",
    )
    assert drill1.told_elsewhere == ()


def test_what_is_not_well_is_red_where_it_can_be_read() -> None:
    hosts = {"db1": unread(), "drill1": reader(well=False)}
    told = tellers(hosts.items())

    assert not assess("drill1", None, hosts["drill1"], told).well


@pytest.mark.parametrize(
    "other", [None, unread(), reader(store="s3://other/here")], ids=["silent", "blind", "elsewhere"]
)
def test_what_nobody_can_tell_is_not_well(other: dict[str, Any] | None) -> None:
    told = tellers([("db1", unread()), ("drill1", other)])

    found = assess("db1", None, unread(), told)

    assert found.problems == ("backup of app: not readable from here; ask a host that may read",)
    assert found.told_elsewhere == ()


def test_a_verify_that_fails_for_want_of_rights_is_red_whoever_tells() -> None:
    found = unread()
    found["runs"].append(run("verify", exit_code=10, message="the store cannot be read"))
    found["timers"]["casedb-verify@app.timer"] = timer()

    standing = assess("db1", None, found, tellers([("drill1", reader())]))

    assert standing.problems == ("the last verify of app failed: the store cannot be read",)
