"""How the hosts of an inventory stand: late, failed, full or well. Pure: facts in, findings out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deploy.run_lines import ended_at
from deploy.timers import parse_unit

_LEAST_FREE = 0.10
_MOST_CONNECTIONS = 0.90


@dataclass(frozen=True)
class TimerStanding:
    """One timer, and the last run of its verb, by hand or by itself."""

    verb: str
    database: str
    state: str
    """"waits", "runs", or what is wrong with it."""
    last_at: datetime | None
    """When the last run ended; None: nobody knows of one."""
    last_exit_code: int | None
    next_at: datetime | None


@dataclass(frozen=True)
class HostStanding:
    """One host. Ages are by its own clock."""

    host: str
    error: str | None
    """Why it could not be asked; all else is empty then."""
    kind: str = ""
    now: datetime | None = None
    timers: tuple[TimerStanding, ...] = ()
    newest_backup_at: datetime | None = None
    newest_drilled_at: datetime | None = None
    """When the last drill that passed was made."""
    disk_free_bytes: int | None = None
    """Of the disk that is fullest."""
    disk_total_bytes: int | None = None
    connections: int | None = None
    connections_most: int | None = None
    problems: tuple[str, ...] = ()
    told_elsewhere: tuple[str, ...] = ()
    """What cannot be known from here, and which host tells it instead: no problem of this one."""

    @property
    def well(self) -> bool:
        """Whether it could be asked, and nothing is late, failed or full."""
        return not (self.error or self.problems)


Subject = tuple[str, str, str | None]
"""What was looked at: a check, a database, a store."""


def tellers(found: Iterable[tuple[str, Mapping[str, Any] | None]]) -> dict[Subject, str]:
    """Return which host could look at what, of all hosts and their facts.

    Whether it is well there is that host's own finding.
    """
    return {
        (finding["check"], database, finding["store"]): host
        for host, facts in found
        for database, status in (facts["status"] if facts else {}).items()
        for finding in status.get("findings", [])
        if finding.get("store") and finding.get("known", True)
    }


def assess(
    host: str,
    error: str | None,
    facts: Mapping[str, Any] | None,
    told: Mapping[Subject, str] | None = None,
) -> HostStanding:
    """Return how `host` stands, by what deploy/remote/standing.py found on it.

    What it cannot know by itself, because it may only put into a bucket, counts against it unless
    another host has `told` of the same.
    """
    if facts is None:
        return HostStanding(host, error or "nothing was gathered")
    runs = {(run["command"], run["database"]): run for run in facts["runs"] if ended_at(run)}
    timers = tuple(_timer(unit, found, runs) for unit, found in facts["timers"].items())
    stores = [s for found in facts["status"].values() for s in found.get("stores", [])]
    disks = [disk for disk in facts["disks"].values() if disk]
    fullest = min(disks, key=lambda disk: disk["free"] / disk["total"], default=None)
    connections = facts["connections"] or {}
    problems, elsewhere = _status_problems(facts["status"], told or {})
    return HostStanding(
        host=host,
        error=error,
        kind=facts["kind"],
        now=_time(facts["now_s"]),
        timers=timers,
        # Of several databases and stores the one that is worst off.
        newest_backup_at=_oldest(store["newest_at"] for store in stores),
        newest_drilled_at=_oldest(store["drilled_at"] for store in stores),
        disk_free_bytes=fullest["free"] if fullest else None,
        disk_total_bytes=fullest["total"] if fullest else None,
        connections=connections.get("used"),
        connections_most=connections.get("most"),
        problems=(
            *_timer_problems(timers, facts["timers"], runs),
            *problems,
            *_room_problems(facts["disks"], connections),
        ),
        told_elsewhere=tuple(elsewhere),
    )


def _timer(
    unit: str, found: Mapping[str, Any], runs: Mapping[tuple[str, str], Any]
) -> TimerStanding:
    verb, database = parse_unit(unit)
    last = runs.get((verb, database))
    if found["service"].get("activestate") == "activating":
        state = "runs"
    elif found["activestate"] != "active":
        state = "stopped"
    elif found["unitfilestate"] != "enabled":
        state = "not enabled"
    else:
        state = "waits"
    return TimerStanding(
        verb,
        database,
        state,
        ended_at(last),
        last["exit_code"] if last else None,
        _time(found["next_s"]),
    )


def _timer_problems(
    timers: Iterable[TimerStanding],
    found: Mapping[str, Any],
    runs: Mapping[tuple[str, str], Any],
) -> list[str]:
    problems = []
    for timer, unit in zip(timers, found, strict=True):
        if timer.state not in ("waits", "runs"):
            problems.append(f"the timer of {timer.verb} is {timer.state}: casedb host apply")
        last = runs.get((timer.verb, timer.database))
        if last and timer.last_exit_code:
            said = last["message"] or f"exit code {timer.last_exit_code}"
            problems.append(f"the last {timer.verb} of {timer.database} failed: {said}")
        elif _failed_unheard(found[unit]["service"], timer.last_at):
            said = found[unit]["service"]["result"]
            problems.append(f"{timer.verb} of {timer.database} failed: systemd says {said}")
    return problems


def _failed_unheard(service: Mapping[str, Any], last_at: datetime | None) -> bool:
    """Whether its last run failed without a line in the log, and none came later."""
    if service.get("result", "success") == "success":
        return False
    seconds = service.get("inactiveentertimestamp", "").removeprefix("@")
    # systemd's time has no fractions.
    return last_at is None or (seconds.isdigit() and int(seconds) > last_at.timestamp() + 2)


def _status_problems(
    status: Mapping[str, Any], told: Mapping[Subject, str]
) -> tuple[list[str], list[str]]:
    """Return what is not well, and what only another host can know."""
    problems, elsewhere = [], []
    for database, found in status.items():
        if "error" in found:
            problems.append(f"casedb status of {database}: {found['error']['message']}")
        for finding in found.get("findings", []):
            subject = (finding["check"], database, finding.get("store"))
            if not finding.get("known", True) and subject in told:
                elsewhere.append(
                    f"{finding['check']} of {database} in {finding['store']}: not readable from "
                    f"here; {told[subject]} tells"
                )
            elif not finding["well"]:
                advice = f"; {finding['advice']}" if finding["advice"] else ""
                problems.append(f"{finding['check']} of {database}: {finding['state']}{advice}")
    return problems, elsewhere


def _room_problems(disks: Mapping[str, Any], connections: Mapping[str, Any]) -> list[str]:
    problems = [
        f"the disk of {path} has {disk['free'] / disk['total']:.0%} left"
        for path, disk in disks.items()
        if disk and disk["free"] < _LEAST_FREE * disk["total"]
    ]
    if "error" in connections:
        problems.append(f"the server does not answer: {connections['error']}")
    elif connections and connections["used"] >= _MOST_CONNECTIONS * connections["most"]:
        problems.append(f"{connections['used']} of {connections['most']} connections are taken")
    return problems


def _oldest(times: Iterable[str | None]) -> datetime | None:
    found = list(times)
    # One that has none is worse off than any other.
    if not found or None in found:
        return None
    return min(datetime.fromisoformat(text) for text in found if text)


def _time(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
