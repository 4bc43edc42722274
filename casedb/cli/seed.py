"""`casedb seed`: sample data."""

import click

from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, progress
from casedb.connections import Verb, target_for
from casedb.seed import SeedResult, seed_demo
from casedb.settings import Settings


@click.command()
@json_option
@settings_options()
def seed(settings: Settings, as_json: bool) -> None:
    """Load the demo users, the sample case and its log entry.

    What is there is left alone. Only into a database marked development: everybody knows the demo
    users' password.

    \b
    Example:
        casedb seed
    """
    with progress("seed") as on_step:
        on_step("writing")
        result = seed_demo(target_for(settings, Verb.SEED))
    if as_json:
        print_json(result)
    else:
        click.echo(told(result))


def told(result: SeedResult) -> str:
    """Return what was created and what was there, for people."""
    kinds = {"users": result.users, "cases": result.cases, "log entries": result.logs}
    if not result.changed:
        return "in place: " + ", ".join(f"{k.already_there} {name}" for name, k in kinds.items())
    return "created " + ", ".join(f"{k.created} {name}" for name, k in kinds.items())
