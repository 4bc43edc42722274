"""The timers of backups: their units, in force and nothing beside."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from deploy.changes import Change, note, text_change
from deploy.facts import forget, host_state
from deploy.operations.system import Commands, file_differences
from deploy.sending import file_command
from deploy.timers import SYSTEMD, Timer

_FILES = {"user": "root", "group": "root", "mode": "644"}
_STAMPS = "/var/lib/systemd/timers"


@operation()
def timers(wanted: Sequence[Timer], units: Mapping[str, str | None]) -> Commands:
    """Have just these timers waiting, as `units` say; others of ours end, with their drop-ins.

    A calendar that systemd does not understand is refused, before anything is touched.
    """
    state = host_state()
    found: dict[str, dict[str, Any]] = state["timers"]["units"]
    names = [timer.unit for timer in wanted]
    written = _files_to_write(state, units)
    removed = [p for p, text in units.items() if text is None and state["files"][p]]
    dropped: list[str] = state["timers"]["dropins"]
    stale = [n for n in names if n in found and _reload_missed(found[n])]
    gone = [n for n in found if n not in names and found[n]["activestate"] != "inactive"]
    gone += [n for n in found if n not in [*names, *gone] and found[n]["unitfilestate"]]
    # A timer goes by the calendar that it read when it was started.
    edited = {PurePosixPath(path).name for path in (*written, *dropped)}
    restarted = [
        t.unit
        for t in wanted
        if not _waits(found.get(t.unit))
        or t.unit in stale
        or any(name.startswith(f"casedb-{t.verb}@") and ".timer" in name for name in edited)
    ]
    for path in removed:
        note(host, text_change(path, state["files"][path].get("content"), ""))
    for path in dropped:
        note(host, Change(path, ("-a drop-in that nobody asked for",)))
    for name in gone:
        note(host, Change(name, (f"-{_shown(found[name])}",)))
    for name in names:
        if not _waits(found.get(name)):
            note(host, Change(name, (f"-{_shown(found.get(name))}", "+active, enabled")))
    for name in stale:
        note(host, Change(name, ("+as its file says: systemd was not told of it",)))
    if not (written or removed or dropped or gone or stale or restarted):
        host.noop("the timers wait")
        return
    for calendar in dict.fromkeys(timer.calendar for timer in wanted):
        yield StringCommand("systemd-analyze calendar", QuoteString(calendar), ">/dev/null")
    for name in gone:
        quoted = QuoteString(name)
        # Its unit file may be gone already, by another hand.
        yield StringCommand("systemctl disable --quiet --now", quoted, "|| systemctl stop", quoted)
        yield StringCommand(
            "rm -f", QuoteString(f"{SYSTEMD}/timers.target.wants/{name}"),
            QuoteString(f"{_STAMPS}/stamp-{name}"),
        )  # fmt: skip
    for path, text in written.items():
        yield file_command(path, text, **_FILES)
    for path in (*removed, *dropped):
        yield StringCommand("rm -rf", QuoteString(path))
    for name in names:
        if found.get(name, {}).get("unitfilestate", "").startswith("masked"):
            yield StringCommand("systemctl unmask --quiet", QuoteString(name))
            yield StringCommand("systemctl unmask --quiet --runtime", QuoteString(name))
    yield StringCommand("systemctl daemon-reload")
    for name in restarted:
        quoted = QuoteString(name)
        yield StringCommand("systemctl enable --quiet", quoted, "&& systemctl restart", quoted)
    forget()


def _files_to_write(state: Mapping[str, Any], units: Mapping[str, str | None]) -> dict[str, str]:
    """Return the unit files that are not as they should be; what differs is noted."""
    found = {}
    for path, text in units.items():
        file = state["files"][path]
        if text is not None and (problems := file_differences(file, text, **_FILES)):
            change = text_change(path, (file or {}).get("content"), text)
            note(host, Change(path, (*problems, *change.lines)))
            found[path] = text
    return found


def _waits(unit: Mapping[str, Any] | None) -> bool:
    return unit is not None and (unit["activestate"], unit["unitfilestate"]) == (
        "active",
        "enabled",
    )


def _reload_missed(unit: Mapping[str, Any]) -> bool:
    return "yes" in (unit["needdaemonreload"], unit["service"]["needdaemonreload"])


def _shown(unit: Mapping[str, Any] | None) -> str:
    if not unit:
        return "it is not there"
    return f"{unit['activestate']}, {unit['unitfilestate'] or 'not there'}"
