"""`casedb config`: what holds, and where it came from."""

import click

from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, print_table
from casedb.settings import Settings


@click.group()
def config() -> None:
    """Settings."""


@config.command()
@json_option
@settings_options(store=True)
def show(settings: Settings, as_json: bool) -> None:
    """Show every setting, its value and where it came from, secrets masked.

    \b
    Example:
        casedb config show
    """
    rows = settings.shown()
    if as_json:
        print_json({key: {"value": value, "source": source} for key, value, source in rows})
        return
    print_table(["setting", "value", "from"], rows)
