"""`casedb prisma`: the back end's contract with the database."""

import os
from pathlib import Path

import click

from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, progress
from casedb.connections import Verb, target_for
from casedb.errors import ExitCode
from casedb.node import find_node
from casedb.prisma import check_drift, prepare
from casedb.settings import Settings


@click.group()
def prisma() -> None:
    """The back end's contract."""


@prisma.command()
@click.option(
    "--schema",
    type=click.Path(path_type=Path),
    help="Compare this schema.prisma, the back end's own, instead of the one that casedb brings.",
)
@json_option
@settings_options()
def check(settings: Settings, schema: Path | None, as_json: bool) -> int:
    """Compare a Prisma schema with the database.

    Tables, columns, types, defaults, keys, indexes, enums and their values. Needs Node.js 20.19 or
    later, and npm packages, which the first run installs. Exit code 9 where they differ.

    \b
    Example:
        casedb prisma check
    """
    node = find_node()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "casedb"
    with progress("prisma check") as tell:
        place = prepare(cache, node, on_progress=tell)
        tell("comparing")
        drift = check_drift(target_for(settings, Verb.DUMP), place, node, schema=schema)
    if as_json:
        print_json({"schema": drift.schema, "same": not drift.found, "differs": drift.differences})
    elif drift.found:
        click.echo(
            f"the database differs from {drift.schema.name}; to become what the schema says:"
        )
        click.echo("\n".join(drift.differences))
    else:
        click.echo(f'database "{settings.values.database}" is what {drift.schema.name} says')
    return ExitCode.DIFFERENT if drift.found else ExitCode.WELL
