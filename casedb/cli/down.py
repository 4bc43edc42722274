"""`casedb down`: stop the embedded server."""

import click

from casedb.cli.options import settings_options
from casedb.cli.output import progress
from casedb.server import EmbeddedServer
from casedb.settings import Settings


@click.command()
@settings_options()
def down(settings: Settings) -> None:
    """Stop the embedded server and keep its data.

    \b
    Example:
        casedb down
    """
    with progress("down") as on_step:
        on_step("stopping the server")
        stopped = EmbeddedServer(settings.home).stop()
    click.echo(
        f"stopped; its data stay in {settings.home}"
        if stopped
        else f"no server was running in {settings.home}"
    )
