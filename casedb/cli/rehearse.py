"""`casedb rehearse`: real Debian hosts in Docker, to practise on."""

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from casedb import rehearse as hosts_in_docker
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import plain, print_json, print_table, progress
from casedb.errors import ExitCode, RefusedError
from casedb.settings import Settings
from deploy.proof import prove
from deploy.rehearsal import Rehearsal, as_markdown, work_on

_INVENTORY = Path("inventories/containers.py")

_HEADINGS = ["host", "release", "running", "ssh"]


@click.group()
def rehearse() -> None:
    """Real Debian hosts in Docker, to practise on."""


@rehearse.command()
@click.option(
    "--release",
    "releases",
    multiple=True,
    type=click.Choice(list(hosts_in_docker.RELEASES)),
    help="Debian release; may be repeated.  [default: all]",
)
@json_option
@settings_options()
def up(settings: Settings, releases: tuple[str, ...], as_json: bool) -> None:
    """Boot one host of each release; hosts that run already are left as they are.

    Needs Docker and mmdebstrap. The first run makes the images (minutes).

    \b
    Example:
        casedb rehearse up --release trixie
    """
    with progress("rehearse up") as tell:
        found = hosts_in_docker.up(
            settings.home / "rehearsal",
            releases or tuple(hosts_in_docker.RELEASES),
            cache=_cache(os.environ),
            tell=tell,
        )
    _show(found, as_json)
    if not as_json:
        click.echo("They are the inventory: casedb host plan inventories/containers.py", err=True)


@rehearse.command()
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to this file: JSON if it is called so, else Markdown.",
)
@click.option("--keep", is_flag=True, help="Leave the hosts running.")
@json_option
@settings_options()
def run(settings: Settings, report: Path | None, keep: bool, as_json: bool) -> int:
    """Rehearse all of it: hosts up, apply, apply again, seed, dump, drill, hosts away.

    Run it in the root of the checkout. Exit code 9 if anything did not go well.

    \b
    Example:
        casedb rehearse run --report rehearsal.md
    """
    home = settings.home / "rehearsal"
    if hosts_in_docker.status(home):
        raise RefusedError(
            "there are rehearsal hosts already",
            detail="A rehearsal begins with bare ones.",
            hint="`casedb rehearse down` removes them.",
        )
    with progress("rehearse run") as tell:
        try:
            found = _rehearse(home, tell)
        finally:
            if not keep:
                tell("removing the hosts")
                hosts_in_docker.down(home)
    markdown = as_markdown(found)
    if report is not None:
        as_text = json.dumps(plain(found), indent=2) + "\n"
        report.write_text(as_text if report.suffix == ".json" else markdown, "utf-8")
    if as_json:
        print_json(found)
    else:
        click.echo(markdown, nl=False)
    return ExitCode.WELL if found.passed else ExitCode.DIFFERENT


def _rehearse(home: Path, tell: Callable[[str], None]) -> Rehearsal:
    started = datetime.now(UTC)
    hosts = {
        host.name: host for host in hosts_in_docker.up(home, cache=_cache(os.environ), tell=tell)
    }
    booted = datetime.now(UTC)
    proof = prove(_INVENTORY, tell=tell)
    tell("seeding, dumping and drilling on the hosts")
    well = [run.host for run in proof.second_run if not run.error]
    steps = work_on(well, lambda name: partial(hosts_in_docker.run_on, hosts[name]))
    return Rehearsal(
        started=started,
        ended=datetime.now(UTC),
        hosts={h.name: f"Debian {hosts_in_docker.RELEASES[h.release]}" for h in hosts.values()},
        boot_seconds=(booted - started).total_seconds(),
        proof=proof,
        steps=steps,
    )


@rehearse.command()
@json_option
@settings_options()
def status(settings: Settings, as_json: bool) -> None:
    """List the rehearsal hosts.

    \b
    Example:
        casedb rehearse status
    """
    _show(hosts_in_docker.status(settings.home / "rehearsal"), as_json)


@rehearse.command()
@json_option
@settings_options()
def down(settings: Settings, as_json: bool) -> None:
    """Remove the rehearsal hosts and all that is on them; their images stay.

    \b
    Example:
        casedb rehearse down
    """
    removed = hosts_in_docker.down(settings.home / "rehearsal")
    if as_json:
        print_json({"removed": removed})
        return
    for name in removed:
        click.echo(f"removed {name}")
    if not removed:
        click.echo("there was none")


def _show(found: list[hosts_in_docker.RehearsalHost], as_json: bool) -> None:
    if as_json:
        print_json({"hosts": found})
        return
    rows = [
        (h.name, h.release, "yes" if h.running else "no", f"{h.user}@{h.address}:{h.port}")
        for h in found
    ]
    print_table(_HEADINGS, rows)


def _cache(environment: Mapping[str, str]) -> Path:
    """Return where images are kept between checkouts, as the XDG base directories have it."""
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "casedb" / "rehearsal"
