"""Backups run by themselves: fired by their timers, told of when they fail, made up for."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.hosts.conftest import MAJORS

if TYPE_CHECKING:
    from tests.hosts.conftest import Host, Rehearsal

pytestmark = pytest.mark.hosts

LOG = "/var/log/casedb/runs.jsonl"
ALARMS = "/var/log/casedb/alarms.jsonl"
STORE = "/srv/casedb-backups"
UNITS = "/etc/systemd/system"
WAIT_S = 120


def unit(verb: str, kind: str = "timer") -> str:
    return f"casedb-{verb}@case_management.{kind}"


def lines_of(host: "Host", path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.run(f"cat {path}", check=False).splitlines()]


def wait_for(host: "Host", path: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first line of JSON in `path` that is wanted."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for line in lines_of(host, path):
            if wanted(line):
                return line
        time.sleep(1)
    raise AssertionError(
        host.run("journalctl -n 30 --no-pager -u 'casedb-*'; systemctl list-timers --all")
    )


@contextmanager
def drop_in(host: "Host", verb: str, text: str) -> Iterator[None]:
    """Change one timer as `systemctl edit` does, and start it anew."""
    folder = f"{UNITS}/{unit(verb)}.d"
    host.run(f"mkdir -p {folder}; cat >{folder}/test.conf", f"[Timer]\n{text}\nAccuracySec=1s")
    host.run(f"systemctl daemon-reload; systemctl restart {unit(verb)}")
    try:
        yield
    finally:
        host.run(f"rm -r {folder}; systemctl daemon-reload; systemctl restart {unit(verb)}")


def fired(host: "Host", verb: str) -> dict[str, Any]:
    """Let one timer fire within seconds; return what its run left in the log."""
    before = {line["invocation"] for line in lines_of(host, LOG)}
    # Once, and not again while it runs.
    soon = host.run("date -d '+4 seconds' '+%F %T'")
    with drop_in(host, verb, f"OnCalendar=\nOnCalendar={soon}\nRandomizedDelaySec=0"):
        line = wait_for(
            host, LOG, lambda run: run["command"] == verb and run["invocation"] not in before
        )
    return line


@pytest.fixture
def watched(host: "Host", rehearsal: "Rehearsal") -> Iterator["Host"]:
    """A host with a store of its own, and somebody who is told of failures."""
    settings = {"store": STORE, "on_failure": [f"/usr/bin/tee -a {ALARMS}"]}
    inventory = rehearsal.inventory(**{host.name: {"toolkit_settings": settings}})
    code, found = rehearsal.host("apply", "--yes", "--limit", host.name, inventory=inventory)
    assert code == 0, found
    host.run(f"casedb dump && casedb drill; rm -f {ALARMS}")
    try:
        yield host
    finally:
        host.run(f"rm -rf {STORE} {ALARMS}")
        code, _found = rehearsal.host("apply", "--yes", "--limit", host.name)
        assert code == 0


def status(rehearsal: "Rehearsal", host: "Host") -> tuple[int, dict[str, Any]]:
    # As the fixture left it.
    inventory = rehearsal.folder / "some.py"
    code, found = rehearsal.host("status", "--limit", host.name, inventory=inventory)
    (about,) = found["hosts"]
    return code, about


def test_timers_fire_and_the_backup_is_there_verified_and_drilled(
    host: "Host", rehearsal: "Rehearsal"
) -> None:
    dumped, verified, drilled = (fired(host, verb) for verb in ("dump", "verify", "drill"))

    assert [run["outcome"] for run in (dumped, verified, drilled)] == ["success"] * 3
    backups = json.loads(host.run("casedb backups --json"))["backups"]
    (made,) = [found for found in backups if found["label"] == drilled["label"]]
    assert made["verified"]
    assert made["drilled"]["outcome"] == "passed"
    # By its own account, in a unit, and not by hand.
    by = host.run(
        f"journalctl --no-pager -o cat -u {unit('dump', 'service')} | grep {dumped['label']}"
    )
    assert "tables" in by
    folder = f"/var/lib/casedb/home/backups/case_management/{dumped['label']}"
    assert host.run(f"stat -c '%U %a' {folder} {folder}/manifest.json") == "casedb 700\ncasedb 600"
    metrics = host.run("cat /var/lib/casedb/metrics/case_management.prom")
    for verb in ("dump", "verify", "drill"):
        about = f'{{command="{verb}",database="case_management"}}'
        assert f"casedb_run_last_exit_code{about} 0" in metrics
    code, found = rehearsal.host("status", "--limit", host.name)
    (about,) = found["hosts"]
    assert (code, about["host"]["problems"]) == (0, [])
    assert {t["verb"]: t["state"] for t in about["host"]["timers"]} == dict.fromkeys(
        ("dump", "verify", "drill", "rotate"), "waits"
    )
    # Nothing of the throwaway cluster, which lay in a /tmp of its own.
    assert host.run("ls -d /tmp/casedb-* /var/tmp/casedb-*", check=False) == ""
    assert rehearsal.host("drift", "--limit", host.name)[0] == 0


def test_a_failing_dump_is_told_of_once_and_turns_the_status_red(
    watched: "Host", rehearsal: "Rehearsal"
) -> None:
    assert status(rehearsal, watched)[0] == 0
    watched.run(f"chown root {STORE}/case_management")

    watched.start(f"systemctl start {unit('dump', 'service')}")

    alarm = wait_for(watched, ALARMS, lambda run: run["command"] == "dump")
    watched.run("systemctl is-active -q 'casedb-dump-failed@*' && sleep 5; true")
    assert alarm["exit_code"] == 5
    assert len(lines_of(watched, ALARMS)) == 1
    metrics = watched.run("cat /var/lib/casedb/metrics/case_management.prom")
    assert 'casedb_run_last_exit_code{command="dump",database="case_management"} 5' in metrics
    code, about = status(rehearsal, watched)
    assert (code, about["well"]) == (9, False)
    assert any("last dump of case_management failed" in p for p in about["host"]["problems"])


def test_a_dump_that_was_killed_is_told_of_too(watched: "Host", rehearsal: "Rehearsal") -> None:
    # It waits for a lock while it is killed.
    watched.run(
        "cd /; nohup runuser -u postgres -- psql -qd case_management -c"
        " 'BEGIN; LOCK TABLE cases; SELECT pg_sleep(20)' >/dev/null 2>&1 &"
    )
    service = unit("dump", "service")
    watched.run(
        f"systemctl start --no-block {service}; sleep 6; systemctl kill --signal=KILL {service}"
    )

    alarm = wait_for(watched, ALARMS, lambda run: run["command"] == "dump")

    assert (alarm["exit_code"], alarm["message"]) == (137, "ended by SIGKILL")
    assert alarm["invocation"]
    assert lines_of(watched, LOG)[-1] == alarm
    assert status(rehearsal, watched)[0] == 9
    # The next one is well, and so is the host.
    watched.run(f"sleep 15; systemctl start {service}")
    assert status(rehearsal, watched) == (
        0,
        {"well": True, "host": status(rehearsal, watched)[1]["host"]},
    )


def test_what_was_missed_while_the_machine_was_off_is_made_up_for(host: "Host") -> None:
    before = len(lines_of(host, LOG))
    with drop_in(host, "dump", "RandomizedDelaySec=0"):
        host.run(f"systemctl stop {unit('dump')}")
        host.run(f"touch -d '3 days ago' /var/lib/systemd/timers/stamp-{unit('dump')}")
        quiet = len(lines_of(host, LOG))
        host.run(f"systemctl start {unit('dump')}")
        wait_for(host, LOG, lambda _run: len(lines_of(host, LOG)) > before)

    assert quiet == before
    assert lines_of(host, LOG)[-1]["command"] == "dump"


def test_a_timer_that_is_turned_off_and_those_that_encryption_forbids_are_gone(
    host: "Host", rehearsal: "Rehearsal"
) -> None:
    settings = {"recipients": ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]}
    data = {"toolkit_settings": settings, "timers": {"verify": None, "dump": "hourly"}}
    inventory = rehearsal.inventory(**{host.name: data})

    def there() -> str:
        return host.run(
            f"ls {UNITS} {UNITS}/timers.target.wants | grep casedb-.*@ | sort -u | xargs"
        )

    try:
        code, _found = rehearsal.host("apply", "--yes", "--limit", host.name, inventory=inventory)
        again, _found = rehearsal.host("drift", "--limit", host.name, inventory=inventory)
        left, shown = there(), host.run("systemctl list-timers --all --no-legend 'casedb-*'")
        calendar = host.run(f"systemctl show -p TimersCalendar {unit('dump')}")
        refused, answer = rehearsal.host(
            "plan", "--limit", host.name,
            inventory=rehearsal.inventory(**{host.name: {**data, "timers": {"drill": "weekly"}}}),
        )  # fmt: skip
    finally:
        rehearsal.host("apply", "--yes", "--limit", host.name)

    assert (code, again) == (0, 0)
    assert left == (
        "casedb-dump-failed@.service casedb-dump@.service casedb-dump@.timer"
        " casedb-dump@case_management.timer"
    )
    assert len(shown.splitlines()) == 1
    assert "*-*-* *:00:00" in calendar
    assert refused == 5
    assert "must not have the key" in answer["hosts"][0]["error"]
    assert "casedb-rotate@case_management.timer" in there()


def test_status_is_one_table_and_a_host_that_is_gone_is_a_row(
    rehearsal: "Rehearsal", proof: dict[str, Any]
) -> None:
    inventory = rehearsal.inventory("gone")

    done = rehearsal.casedb("host", "status", str(inventory))
    code, found = rehearsal.host("status", inventory=inventory)

    assert (done.returncode, code) == (4, 4)
    assert max(map(len, done.stdout.splitlines())) <= 100
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["gone", "ERROR"] in rows
    assert "ERROR:  gone: unreachable" in done.stderr
    hosts = {about["host"]["host"]: about["host"] for about in found["hosts"]}
    assert set(hosts) == {"gone", *MAJORS}
    for name in MAJORS:
        assert hosts[name]["connections_most"] > 10
        assert hosts[name]["disk_free_bytes"] > 0
        assert all(timer["next_at"] for timer in hosts[name]["timers"])
