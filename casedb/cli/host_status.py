"""`casedb host status`: one table of how all hosts stand."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from casedb.ages import format_age
from casedb.cli.options import json_option
from casedb.cli.output import print_json, print_table, progress
from casedb.errors import ExitCode
from deploy.runs import VERSION, host_standings
from deploy.standing import HostStanding, TimerStanding, assess, tellers

_HEADINGS = ["host", "", "timer", "last run", "next", "backup", "drill", "disk free", "connections"]


@click.command()
@click.argument("inventory", type=click.Path(path_type=Path))
@click.option(
    "--limit", multiple=True, metavar="HOST", help="Only this host or group; may be repeated."
)
@json_option
def status(inventory: Path, limit: tuple[str, ...], as_json: bool) -> int:
    """Show how the hosts of INVENTORY stand: timers, backups, drills, disks, connections.

    Exit code 9 when something is late, failed, stopped or full; 4 when a host cannot be reached,
    which is a row of its own.

    \b
    Example:
        casedb host status inventories/production.py
    """
    with progress("host status") as tell:
        found = host_standings(inventory, limit=limit, tell=tell)
    told = tellers((facts.host, facts.state) for facts in found)
    hosts = [assess(facts.host, facts.error, facts.state, told) for facts in found]
    if as_json:
        shown = [{"well": h.well, "host": h} for h in hosts]
        print_json({"version": VERSION, "action": "status", "hosts": shown})
    else:
        _print(hosts)
    failed = [h for h in hosts if h.error]
    if failed:
        unreachable = all((h.error or "").startswith("unreachable") for h in failed)
        return ExitCode.UNREACHABLE if unreachable else ExitCode.TOOL_FAILED
    return ExitCode.WELL if all(h.well for h in hosts) else ExitCode.DIFFERENT


def _print(hosts: Sequence[HostStanding]) -> None:
    rows: list[tuple[object, ...]] = []
    for found in hosts:
        if found.error:
            rows.append((found.host, "ERROR", *[""] * 7))
            continue
        about = (found.host, "well" if found.well else "NOT WELL")
        several = len({timer.database for timer in found.timers}) > 1
        shown = [_timer(timer, found.now, several) for timer in found.timers] or [("none", "", "")]
        rows.append((*about, *shown[0], *_room(found)))
        rows += [("", "", *timer, "", "", "", "") for timer in shown[1:]]
    print_table(_HEADINGS, rows)
    for found in hosts:
        if found.error:
            click.echo(f"ERROR:  {found.host}: {found.error}", err=True)
        for problem in found.problems:
            click.echo(f"NOT WELL:  {found.host}: {problem}", err=True)
        for line in found.told_elsewhere:
            click.echo(f"elsewhere:  {found.host}: {line}", err=True)


def _timer(timer: TimerStanding, now: datetime | None, several: bool) -> tuple[str, str, str]:
    name = f"{timer.verb} {timer.database}" if several else timer.verb
    last = "never"
    if timer.last_at and now:
        how = f"FAILED ({timer.last_exit_code})" if timer.last_exit_code else "well"
        last = f"{how} {format_age(now - timer.last_at)} ago"
    coming = timer.state if timer.state != "waits" else ""
    if timer.next_at and now and not coming:
        coming = f"in {format_age(timer.next_at - now)}"
    return name, last, coming


def _room(found: HostStanding) -> tuple[str, str, str, str]:
    def age(at: datetime | None) -> str:
        none = "elsewhere" if found.told_elsewhere else "none"
        return format_age(found.now - at) if at and found.now else none

    free = ""
    if found.disk_free_bytes is not None and found.disk_total_bytes:
        free = f"{found.disk_free_bytes / found.disk_total_bytes:.0%}"
    connections = ""
    if found.connections is not None:
        connections = f"{found.connections} of {found.connections_most}"
    return age(found.newest_backup_at), age(found.newest_drilled_at), free, connections
