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
def watched(rehearsal: "Rehearsal", proof: dict[str, Any]) -> Iterator[list["Host"]]:
    """Both hosts with a store of their own, and somebody who is told of failures."""
    settings = {"store": STORE, "on_failure": [f"/usr/bin/tee -a {ALARMS}"]}
    spoiled = {name: {"toolkit_settings": settings} for name in rehearsal.hosts}
    code, found = rehearsal.host("apply", "--yes", inventory=rehearsal.inventory(**spoiled))
    assert code == 0, found
    hosts = list(rehearsal.hosts.values())
    for host in hosts:
        host.run(f"rm -f {ALARMS}; casedb dump && casedb drill")
    try:
        yield hosts
    finally:
        for host in hosts:
            host.run(f"rm -rf {STORE} {STORE}.away {ALARMS}")
        assert rehearsal.host("apply", "--yes")[0] == 0


def standings(rehearsal: "Rehearsal") -> tuple[int, dict[str, list[str]]]:
    """Return the exit code of `casedb host status`, and the problems of each host."""
    # As the fixture left it.
    code, found = rehearsal.host("status", inventory=rehearsal.folder / "some.py")
    return code, {about["host"]["host"]: about["host"]["problems"] for about in found["hosts"]}


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


def test_a_dump_that_fails_and_one_that_is_killed_are_told_of_once_and_turn_the_status_red(
    watched: list["Host"], rehearsal: "Rehearsal"
) -> None:
    service = unit("dump", "service")
    assert standings(rehearsal) == (0, {name: [] for name in rehearsal.hosts})
    for host in watched:
        # The store's disk is not there: systemd itself must not stumble over it.
        host.run(f"mv {STORE} {STORE}.away")
        host.start(f"systemctl start {service}")
        wait_for(host, ALARMS, lambda run: run["exit_code"] == 5)
        metrics = host.run("cat /var/lib/casedb/metrics/case_management.prom")
        about = '{command="dump",database="case_management"}'
        assert f"casedb_run_last_exit_code{about} 5" in metrics
    code, problems = standings(rehearsal)
    assert code == 9
    for found in problems.values():
        assert any("the last dump of case_management failed" in problem for problem in found)

    for host in watched:
        host.run(f"mv {STORE}.away {STORE}")
        # It waits for a lock while it is killed.
        host.run(
            "cd /; nohup runuser -u postgres -- psql -qd case_management -c"
            " 'BEGIN; LOCK TABLE cases; SELECT pg_sleep(15)' >/dev/null 2>&1 &"
        )
        host.run(f"systemctl start --no-block {service}; sleep 6; systemctl kill -s KILL {service}")
        killed = wait_for(host, ALARMS, lambda run: run["exit_code"] == 137)
        assert killed["message"] == "ended by SIGKILL"
        assert lines_of(host, LOG)[-1] == killed
        # One alarm for each: who told of himself is not told of again.
        assert [run["exit_code"] for run in lines_of(host, ALARMS)] == [5, 137]
    code, problems = standings(rehearsal)
    said = ["the last dump of case_management failed: ended by SIGKILL"]
    assert (code, problems) == (9, dict.fromkeys(problems, said))

    for host in watched:
        host.run(f"systemctl start {service}")
    assert standings(rehearsal)[0] == 0


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
