"""`casedb server`: the embedded server."""

import click

from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, print_table
from casedb.connections import embedded_tools
from casedb.errors import ExitCode
from casedb.server import EmbeddedServer
from casedb.settings import Settings


@click.group()
def server() -> None:
    """The embedded server."""


@server.command()
@json_option
@settings_options()
def status(settings: Settings, as_json: bool) -> int:
    """Tell version, port, socket, data directory and whether it runs.

    Exit code 4 when it does not run.

    \b
    Example:
        casedb server status --json
    """
    found = EmbeddedServer(settings.home).status()
    shown = {
        "running": found.running,
        "version": embedded_tools(settings).version,
        "port": found.port,
        "socket": found.socket_dir,
        "data_directory": found.data_dir if found.major else None,
        "pid": found.pid,
        "home": found.home,
        "problem": found.problem,
    }
    if as_json:
        print_json(shown)
    else:
        print_table(["embedded server", ""], [(k.replace("_", " "), v) for k, v in shown.items()])
    if not found.running:
        click.echo("It is not running; start it with `casedb up`.", err=True)
    return ExitCode.WELL if found.running else ExitCode.UNREACHABLE
