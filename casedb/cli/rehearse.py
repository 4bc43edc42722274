"""`casedb rehearse`: real Debian hosts in Docker, to practise on."""

import os
from collections.abc import Mapping
from pathlib import Path

import click

from casedb import rehearse as hosts_in_docker
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, print_table, progress
from casedb.settings import Settings

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
