"""`casedb host`: plan, apply, drift and prove what hosts become."""

import json
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from casedb.cli.host_status import status
from casedb.cli.options import json_option
from casedb.cli.output import plain, print_json, print_table, progress
from casedb.errors import ConfigurationError, ExitCode, RefusedError
from deploy.check import check as judge
from deploy.proof import prove as prove_hosts
from deploy.runs import VERSION, HostRun, host_states, session

_LINES_SHOWN = 20

_inventory = click.argument("inventory", type=click.Path(path_type=Path))
_limit = click.option(
    "--limit", multiple=True, metavar="HOST", help="Only this host or group; may be repeated."
)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    return _inventory(_limit(json_option(function)))


@click.group()
def host() -> None:
    """Make Debian hosts into PostgreSQL servers, prove it, and see how they stand."""


host.add_command(status)


@host.command()
@_options
def plan(inventory: Path, limit: tuple[str, ...], as_json: bool) -> int:
    """Show what would change on the hosts of INVENTORY, with its effect on the server.

    \b
    Example:
        casedb host plan inventories/containers.py --limit trixie
    """
    with progress("host plan") as tell, session(inventory, limit=limit, tell=tell) as run:
        hosts = run.plan
    _report("plan", inventory, hosts, as_json)
    return _code(hosts)


@host.command()
@_options
def drift(inventory: Path, limit: tuple[str, ...], as_json: bool) -> int:
    """Like plan, but exit code 9 if anything differs.

    \b
    Example:
        casedb host drift inventories/containers.py
    """
    with progress("host drift") as tell, session(inventory, limit=limit, tell=tell) as run:
        hosts = run.plan
    _report("drift", inventory, hosts, as_json)
    differs = any(found.changed for found in hosts)
    return _code(hosts) or (ExitCode.DIFFERENT if differs else ExitCode.WELL)


@host.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@_options
def apply(inventory: Path, limit: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Plan, ask, and make the hosts of INVENTORY what they should be.

    A host that fails stops alone; the others go on. Exit code 5 if any failed.

    \b
    Example:
        casedb host apply inventories/containers.py --yes
    """
    with progress("host apply") as tell, session(inventory, limit=limit, tell=tell) as run:
        if not yes:
            _show(run.plan, err=as_json)
            _ask()
        hosts = run.apply()
    _report("apply", inventory, hosts, as_json)
    return _code(hosts)


@host.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the proof to this file (JSON).",
)
@_options
def prove(
    inventory: Path, limit: tuple[str, ...], yes: bool, report: Path | None, as_json: bool
) -> int:
    """Apply, apply again, which must change nothing, and judge the security controls.

    Exit code 9 if the second run changes something or a control does not hold.

    \b
    Example:
        casedb host prove inventories/containers.py --yes --report proof.json
    """

    def agree(plan: Sequence[HostRun]) -> None:
        if not yes:
            _show(plan, err=as_json)
            _ask()

    with progress("host prove") as tell:
        proof = prove_hosts(inventory, limit=limit, agree=agree, tell=tell)
    if report is not None:
        report.write_text(json.dumps(plain(proof), indent=2) + "\n", "utf-8")
    if as_json:
        print_json(proof)
    else:
        _summary("first run", proof.first_run)
        _summary("second run", proof.second_run)
        _errors([*proof.first_run, *proof.second_run])
        checked = sum(map(len, proof.checks.values()))
        click.echo(f"\n{checked} security controls checked, {proof.checks_failed} do not hold")
    return (
        _code(proof.first_run)
        or _code(proof.second_run)
        or (ExitCode.WELL if proof.holds else ExitCode.DIFFERENT)
    )


@host.command()
@click.option(
    "--waivers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='TOML: control = "why it need not hold".',
)
@_options
def check(inventory: Path, limit: tuple[str, ...], waivers: Path | None, as_json: bool) -> int:
    """Judge the security controls on the hosts of INVENTORY.

    Exit code 9 if one that is not waived does not hold.

    \b
    Example:
        casedb host check inventories/containers.py
    """
    reasons = _read_waivers(waivers)
    with progress("host check") as tell:
        states = host_states(inventory, limit=limit, tell=tell)
    try:
        found = {s.host: judge(s.state, reasons) if s.state else [] for s in states}
    except ValueError as error:
        raise ConfigurationError(f"{waivers} cannot be used", detail=f"{error}.") from None
    failed = [s for s in states if s.error]
    if as_json:
        hosts = [{"host": s.host, "error": s.error, "findings": found[s.host]} for s in states]
        print_json({"version": VERSION, "action": "check", "hosts": hosts})
    else:
        rows = [
            (name, f.control, "well" if f.holds else "waived" if f.waived else "FAILS",
             f.title if f.holds else f"{f.found}. {f.waived or f.mend}")
            for name, findings in found.items()
            for f in findings
        ]  # fmt: skip
        print_table(["host", "control", "", ""], rows)
        for s in failed:
            click.echo(f"ERROR:  {s.host}: {s.error}", err=True)
    if failed:
        return ExitCode.TOOL_FAILED
    well = all(f.well for findings in found.values() for f in findings)
    return ExitCode.WELL if well else ExitCode.DIFFERENT


def _read_waivers(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        return {str(k): str(v) for k, v in tomllib.loads(path.read_text("utf-8")).items()}
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read", detail=f"{error}.") from None


def _ask() -> None:
    try:
        agreed = click.confirm("Apply this?", err=True)
    except click.Abort:
        agreed = False
    if not agreed:
        raise RefusedError(
            "not confirmed, nothing was done", hint="Answer y, or give --yes in a script."
        )


def _report(action: str, inventory: Path, hosts: Sequence[HostRun], as_json: bool) -> None:
    if as_json:
        print_json(
            {"version": VERSION, "action": action, "inventory": inventory, "hosts": list(hosts)}
        )
        return
    _show(hosts)
    _summary(action, hosts)
    _errors(hosts)


def _show(hosts: Sequence[HostRun], *, err: bool = False) -> None:
    for found in hosts:
        for step in found.changed:
            click.echo(f"{found.host}: {step.name}", err=err)
            for change in step.changes:
                effect = f"  ({change.effect})" if change.effect else ""
                click.echo(f"    {change.what}{effect}", err=err)
                for line in change.lines[:_LINES_SHOWN]:
                    click.echo(f"        {line}", err=err)
                if len(change.lines) > _LINES_SHOWN:
                    more = len(change.lines) - _LINES_SHOWN
                    click.echo(f"        ... {more} lines more (--json has all)", err=err)


def _summary(action: str, hosts: Sequence[HostRun]) -> None:
    rows = [
        (
            found.host,
            "FAILED" if found.error else "well",
            len(found.changed),
            len(found.steps),
            found.commands,
            f"{found.seconds:.1f}s",
        )
        for found in hosts
    ]
    print_table([action, "", "changes", "of steps", "remote commands", "took"], rows)


def _errors(hosts: Sequence[HostRun]) -> None:
    for line in dict.fromkeys(f"{found.host}: {text}" for found in hosts for text in found.remarks):
        click.echo(f"NOTE:  {line}", err=True)
    for found in hosts:
        if found.error:
            click.echo(f"ERROR:  {found.host}: {found.error}", err=True)


def _code(hosts: Sequence[HostRun]) -> int:
    failed = [found for found in hosts if found.error]
    if not failed:
        return ExitCode.WELL
    unreachable = all((found.error or "").startswith("unreachable") for found in failed)
    return ExitCode.UNREACHABLE if unreachable else ExitCode.TOOL_FAILED
