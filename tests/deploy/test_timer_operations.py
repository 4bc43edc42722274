"""Timers and folders of backups: known facts in, exact commands out."""

from typing import Any

from deploy.defaults import DEFAULTS
from deploy.operations.system import account_folders
from deploy.operations.timers import timers
from deploy.timers import SYSTEMD, Kind, units, wanted
from tests.deploy.conftest import Host, file

DATA = {**DEFAULTS, "databases": {"app": "production"}}
WANTED = wanted(DATA, Kind.DATABASE)
UNITS = units(WANTED, {})
DUMP = "casedb-dump@app.timer"


def unit(**different: str) -> dict[str, Any]:
    return {
        "activestate": "active", "unitfilestate": "enabled", "needdaemonreload": "no",
        "service": {"needdaemonreload": "no"}, **different,
    }  # fmt: skip


def standing() -> dict[str, Any]:
    """Return the facts of a host where all is as wanted."""
    return {
        "files": {path: file(text) if text else None for path, text in UNITS.items()},
        "timers": {
            "wanted": [t.unit for t in WANTED],
            "units": {t.unit: unit() for t in WANTED},
            "dropins": [],
        },
    }


def test_timers_that_wait_as_wanted_need_nothing(on_host: Host) -> None:
    assert on_host(timers, standing(), WANTED, UNITS) == []


def test_a_bare_host_gets_the_units_and_each_timer_starts(on_host: Host) -> None:
    facts = standing()
    facts["files"] = dict.fromkeys(facts["files"])
    facts["timers"]["units"] = {}

    commands = on_host(timers, facts, WANTED, UNITS)

    assert commands[0].startswith("systemd-analyze calendar daily")
    assert sum("<<# Written by casedb" in command for command in commands) == len(UNITS)
    assert commands.index("systemctl daemon-reload") == len(commands) - len(WANTED) - 1
    assert commands[-len(WANTED)] == f"systemctl enable --quiet {DUMP} && systemctl restart {DUMP}"


def test_a_calendar_that_systemd_does_not_know_is_refused_first(on_host: Host) -> None:
    odd = wanted({**DATA, "timers": {"dump": "every 5 o'clock"}}, Kind.DATABASE)

    commands = on_host(timers, standing(), odd, units(odd, {}))

    # Its exit code ends the operation.
    assert commands[0].startswith("systemd-analyze calendar 'every 5 o'\"'\"'clock'")


def test_a_stopped_timer_is_started_and_the_others_are_left_alone(on_host: Host) -> None:
    facts = standing()
    facts["timers"]["units"][DUMP] = unit(activestate="inactive")

    commands = on_host(timers, facts, WANTED, UNITS)

    assert [c for c in commands if "restart" in c] == [
        f"systemctl enable --quiet {DUMP} && systemctl restart {DUMP}"
    ]
    assert "-inactive, enabled" in on_host.changes


def test_a_masked_timer_is_unmasked(on_host: Host) -> None:
    facts = standing()
    facts["timers"]["units"][DUMP] = unit(activestate="inactive", unitfilestate="masked")

    assert f"systemctl unmask --quiet {DUMP}" in on_host(timers, facts, WANTED, UNITS)


def test_an_edited_timer_is_put_back_and_started_anew(on_host: Host) -> None:
    facts = standing()
    path = f"{SYSTEMD}/casedb-dump@.timer"
    facts["files"][path] = file("OnCalendar=yearly\n")

    commands = on_host(timers, facts, WANTED, UNITS)

    assert "casedb-dump@.timer" in commands[4]
    assert [c for c in commands if "restart" in c] == [
        f"systemctl enable --quiet {DUMP} && systemctl restart {DUMP}"
    ]


def test_a_drop_in_goes_and_its_timer_starts_anew(on_host: Host) -> None:
    facts = standing()
    path = f"{SYSTEMD}/casedb-dump@app.timer.d"
    facts["timers"]["dropins"] = [path]

    commands = on_host(timers, facts, WANTED, UNITS)

    assert f"rm -rf {path}" in commands
    assert f"systemctl enable --quiet {DUMP} && systemctl restart {DUMP}" in commands


def test_a_timer_that_is_turned_off_leaves_nothing_behind(on_host: Host) -> None:
    fewer = wanted({**DATA, "timers": {"dump": None}}, Kind.DATABASE)

    commands = on_host(timers, standing(), fewer, units(fewer, {}))

    text = "\n".join(commands)
    assert f"systemctl disable --quiet --now {DUMP}" in text
    assert f"/var/lib/systemd/timers/stamp-{DUMP}" in text
    for name in ("casedb-dump@.timer", "casedb-dump@.service", "casedb-dump-failed@.service"):
        assert f"rm -rf {SYSTEMD}/{name}" in commands
    assert "restart" not in text


def test_folders_are_made_for_the_account_and_never_removed(on_host: Host) -> None:
    there = {"kind": "directory", "mode": "700", "user": "casedb", "group": "casedb"}
    facts = {"files": {"/a": there, "/b": {**there, "user": "root"}, "/c": None}}

    commands = on_host(account_folders, facts, dict.fromkeys(("/a", "/b", "/c"), "700"),
                       owner="casedb")  # fmt: skip

    assert [c.split()[5] for c in commands] == ["/b", "/c"]
