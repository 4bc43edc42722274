"""Options and questions that several verbs share, each in one form everywhere."""

import functools
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from backups.interrupts import add_way_out
from backups.sealing import Keys, read_keys
from casedb.conninfo import SECRET_WORDS, Conninfo, libpq_variables
from casedb.conninfo_values import require_sound
from casedb.errors import CasedbError, RefusedError, UsageError
from casedb.settings import Settings, read_settings

_OPTIONS = (
    click.option("--conninfo", help="The server, in libpq's words: 'host=db1 user=case_backup'."),
    click.option("--database", help="The database's name.  [default: case_management]"),
    click.option("--data-dir", type=click.Path(path_type=Path), help="The embedded server's home."),
    click.option(
        "--config",
        "config_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Read this file instead of the nearest casedb.toml.",
    ),
)
_STORE = click.option(
    "--store",
    multiple=True,
    help="Where backups are kept: a folder, file:///path or s3://bucket/prefix.",
)
key_option = click.option(
    "--key",
    "key_file",
    # Whether it can be read is found out by reading: access(2) knows nothing of the capability by
    # which a host's administrator may.
    type=click.Path(exists=True, dir_okay=False, readable=False, path_type=Path),
    help="The secret key that opens encrypted backups.",
)
pooler_option = click.option(
    "--pooler",
    help="The console of a PgBouncer in front, paused for the swap, in libpq's words; '': none.",
)


def settings_options(*, store: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb the options that say which server and store, merged into one `settings`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, config_file: Path | None, **kwargs: Any) -> Any:
            names = ["conninfo", "database", "data_dir", *(["store"] if store else [])]
            # An option that may be given several times is () when it is not given.
            options = {name: kwargs.pop(name) or None for name in names}
            settings = read_settings(
                options=options,
                environment=dict(os.environ),
                folder=Path.cwd(),
                file=config_file,
            )
            # libpq itself reads these too, behind our back and after our precedence was settled.
            for name in libpq_variables():
                os.environ.pop(name, None)
            return function(*args, settings=settings, **kwargs)

        options = (*_OPTIONS, _STORE) if store else _OPTIONS
        return functools.reduce(lambda f, option: option(f), reversed(options), wrapper)

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def keys_of(settings: Settings, given: Path | None) -> Keys | None:
    """Return the secret keys of --key or of the settings; None if there are none."""
    path = given or settings.key_path
    return read_keys(path) if path else None


@contextmanager
def another_store(settings: Settings) -> Iterator[None]:
    """Let an error of the block, which looks into the first store, name the others."""
    try:
        yield
    except CasedbError as error:
        others = " or ".join(f"--store {shlex.quote(url)}" for url in settings.store_urls[1:])
        if others:
            add_way_out(error, f"There is another store: {others}")
        raise


def pooler_of(settings: Settings, given: str | None) -> Conninfo | None:
    """Return the console of the PgBouncer of --pooler or of the settings; None if there is none.

    An empty --pooler goes on without the one of the settings, which may be what is broken.

    Raises:
        ConfigurationError: they cannot be read, or one makes no sense.
        UsageError: if a password is among its words.
    """
    words = settings.values.pooler if given is None else given
    if not words:
        return None
    origin = "--pooler" if given else f"pooler ({settings.sources['pooler']})"
    found = Conninfo.parse(words, origin=origin)
    require_sound(found.words, lambda _word: origin)
    if SECRET_WORDS & found.words.keys():
        raise UsageError(
            "a password among the words of a pooler is not accepted",
            detail="Everybody can read it in the list of processes, or in casedb.toml.",
            hint="Put it into a passfile of mode 0600 (~/.pgpass) and name that one: passfile=...",
        )
    return found


def confirm_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb that destroys its `--confirm`; `what` says which name has to be typed."""
    return click.option("--confirm", help=f"Do not ask; VALUE must be {what}.", metavar="VALUE")


def require_confirmation(question: str, name: str, given: str | None) -> None:
    """Go on only if `name` was given with --confirm or is typed now.

    Whether this is a terminal decides nothing: without an answer it is refused.

    Raises:
        RefusedError: not confirmed, or by another name.
    """
    answer = given
    if answer is None:
        try:
            answer = click.prompt(
                f'{question}\nType "{name}" to go on', err=True, default="", show_default=False
            )
        except click.Abort:
            answer = ""
    if answer != name:
        raise RefusedError(
            "not confirmed, nothing was done",
            detail=f'"{answer}" was given where "{name}" was asked for.' if answer else None,
            hint=f"Type {name} when asked, or give --confirm {name} in a script.",
        )
