"""`casedb up`: from nothing to a proven restore."""

import click

from casedb.cli.bringup import BringUp, Step
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, print_table, progress, seconds
from casedb.settings import Settings


@click.command()
@json_option
@settings_options(store=True)
def up(settings: Settings, as_json: bool) -> None:
    """Bring up an embedded PostgreSQL and prove a backup of it.

    Starts the server, makes roles, migrates, seeds, takes a backup and restores it for real into a
    second cluster. Safe to repeat: what is in place is left alone. It is always the embedded
    server, whatever other server is configured.

    \b
    Example:
        casedb up
    """
    with progress("up") as on_step:
        steps = BringUp(settings, on_step).run()
    if as_json:
        print_json({"steps": steps, "store": settings.store_url, "home": settings.home})
        return
    print_steps(steps)
    click.echo(
        f"""
Connect:      casedb shell                     (or: make shell)
Passwords:    {settings.home / "pgpass"}
Backups:      {settings.store_url}
Try next:     casedb status                    is everything well?
              casedb dump                      take another backup
              casedb drill latest              restore it for real, and compare
              casedb restore latest --into copy
              casedb down                      stop the server, keep its data"""
    )


def print_steps(steps: list[Step]) -> None:
    """Print each step, its result and its time."""
    print_table(
        ["step", "result", "time"], [(s.name, s.result, seconds(s.duration_s)) for s in steps]
    )
