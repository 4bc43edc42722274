"""What `query`, `explain` and `shell` share: acting as a user of the application, parameters."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from psycopg import Connection

from casedb.acting import APPLICATION, Actor, acting_as, find_actor
from casedb.connections import Verb, target_for
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import UsageError
from casedb.settings import Settings

as_option = click.option(
    "--as", "email", metavar="EMAIL", help="Act as this user: row security decides what is seen."
)


def param_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `--param NAME=VALUE`, any number of times."""
    return click.option(
        "--param", "words", multiple=True, metavar="NAME=VALUE", help="A parameter of the query."
    )(function)


def read_params(words: Sequence[str]) -> dict[str, object]:
    """Return NAME=VALUE words as a dict.

    Raises:
        UsageError: a word without "=", or one name twice.
    """
    found: dict[str, object] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name or name in found:
            raise UsageError(
                f'--param "{word}" is not NAME=VALUE, or its name was given twice',
                hint="For instance: --param page_size=10.",
            )
        found[name] = value
    return found


def actor_named(settings: Settings, email: str) -> Actor:
    """Return the user with this e-mail, looked up by the shell's login role."""
    with connect(target_for(settings, Verb.SHELL), purpose="look up") as reader:
        return find_actor(reader, email)


def application_target(settings: Settings) -> Conninfo:
    """Return how case_app reaches the database."""
    return target_for(settings, Verb.SHELL, user=APPLICATION)


@contextmanager
def reading(settings: Settings, actor: Actor | None, *, purpose: str) -> Iterator[Connection[Any]]:
    """Open a read-only transaction as `actor`, or as the shell's login role without one."""
    target = application_target(settings) if actor else target_for(settings, Verb.SHELL)
    with connect(target, purpose=purpose) as connection, acting_as(connection, actor):
        yield connection
