"""`casedb shell`: pgcli or psql on the right database."""

import os
import sys
from importlib.util import find_spec

import click

from casedb.cli.options import settings_options
from casedb.connections import Verb, client_tools, target_for
from casedb.database import connect
from casedb.errors import ConfigurationError
from casedb.settings import Settings
from casedb.tools import child_environment


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--psql", is_flag=True, help="Open psql instead of pgcli.")
@click.option("--login", "user", metavar="ROLE", help="Log in as this role.")
@settings_options()
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def shell(settings: Settings, psql: bool, user: str | None, words: tuple[str, ...]) -> None:
    """Open pgcli (or psql) on the database, to read.

    Logs in as the role that reads everything and changes nothing. WORDS go to pgcli or psql as they
    are. On the embedded server, --login postgres is the superuser and --login case_seed may change
    data.

    \b
    Example:
        casedb shell
        casedb shell --psql -- -c 'SELECT count(*) FROM cases'
    """
    target = target_for(settings, Verb.SHELL, user=user)
    # A server that cannot be reached is our error with our hint, not pgcli's prompt.
    with connect(target, purpose="shell") as connection:
        major = connection.info.server_version // 10000
    # Nothing of the connection goes into the arguments, which `ps` shows to everybody.
    environment = child_environment(target)
    environment.pop("LC_ALL", None)
    if "LC_ALL" in os.environ:
        environment["LC_ALL"] = os.environ["LC_ALL"]
    if psql:
        argv = [client_tools(settings, major)["psql"], *words]
    elif find_spec("pgcli"):
        argv = [sys.executable, "-m", "pgcli", *words]
    else:
        raise ConfigurationError("pgcli is not installed", hint="Use `casedb shell --psql`.")
    sys.stdout.flush()
    os.execve(argv[0], argv, environment)
