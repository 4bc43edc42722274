"""`casedb shell`: pgcli or psql on the right database, as a role or as one user."""

import os
import sys
from importlib.util import find_spec

import click

from casedb.acting import session_as
from casedb.cli.acting import actor_named, application_target
from casedb.cli.options import settings_options
from casedb.connections import Verb, client_tools, target_for
from casedb.conninfo import Conninfo
from casedb.database import connect, server_major
from casedb.errors import ConfigurationError, UsageError
from casedb.settings import Settings
from casedb.tools import child_environment


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--psql", is_flag=True, help="Open psql instead of pgcli.")
@click.option("--login", "user", metavar="ROLE", help="Log in as this role.")
@click.option("--as", "email", metavar="EMAIL", help="Be this user, under row security.")
@click.option("--write", is_flag=True, help="With --as: may change what that user may.")
@settings_options()
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def shell(
    settings: Settings,
    psql: bool,
    user: str | None,
    email: str | None,
    write: bool,
    words: tuple[str, ...],
) -> None:
    """Open pgcli on the database, read-only, or as one user.

    Without an option, as the role that reads everything and changes nothing.
    WORDS go to pgcli or psql as they are. With --as you are one user of the application: what row
    security hides from him is hidden from you. On the embedded server, --login postgres is the
    superuser and --login case_seed may change data.

    \b
    Example:
        casedb shell
        casedb shell --as chair@example.com
        casedb shell --psql -- -c 'SELECT count(*) FROM cases'
    """
    if email and user:
        raise UsageError("--as and --login exclude each other", hint="Choose one of them.")
    if write and not email:
        raise UsageError(
            "--write needs --as",
            hint="A role may write what it may: --login case_seed, for instance.",
        )
    if email:
        actor = actor_named(settings, email)
        target = session_as(application_target(settings), actor, write=write)
    else:
        target = target_for(settings, Verb.SHELL, user=user)
    # A server that cannot be reached is our error with our hint, not pgcli's prompt.
    with connect(target, purpose="shell") as connection:
        major = server_major(connection)
    _become(_argv(settings, words, psql=psql, major=major), target)


def _argv(settings: Settings, words: tuple[str, ...], *, psql: bool, major: int) -> list[str]:
    if psql:
        return [client_tools(settings, major)["psql"], *words]
    if find_spec("pgcli"):
        return [sys.executable, "-m", "pgcli", *words]
    raise ConfigurationError("pgcli is not installed", hint="Use `casedb shell --psql`.")


def _become(argv: list[str], target: Conninfo) -> None:
    """Replace this process; nothing of the connection goes into the arguments, which `ps` shows."""
    environment = child_environment(target)
    environment.pop("LC_ALL", None)
    if "LC_ALL" in os.environ:
        environment["LC_ALL"] = os.environ["LC_ALL"]
    sys.stdout.flush()
    os.execve(argv[0], argv, environment)
