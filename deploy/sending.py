"""How our programs and files reach a host: on standard input, never in an argument list."""

import inspect
import json
from types import ModuleType
from typing import Any

from pyinfra.api import QuoteString, StringCommand

import deploy.machine
import deploy.run_lines
from deploy import pgadmin, pgadmin_files, pgadmin_state
from deploy.remote import (
    candidate,
    configure,
    gather,
    gather_pgadmin,
    install,
    pooler_probe,
    pooling,
    preflight,
    standing,
    swap,
)
from deploy.remote import host as remote_host
from deploy.remote import pgadmin as remote_pgadmin

# A verifier is not a password, but whoever has it can try passwords against it at leisure.
_SILENT = """\
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET client_min_messages = 'warning';
SET lock_timeout = '10s';
"""


# Each module keeps its name, so that the imports of one from another work as they do here.
_LOADER = """\
import json, sys, types
asked = json.loads({asked!r})
for name, text in json.loads({sources!r}):
    module = types.ModuleType(name)
    module.ASKED = asked
    sys.modules[name] = module
    exec(compile(text, name, "exec"), module.__dict__)
"""


def program(modules: list[ModuleType], asked: dict[str, Any]) -> str:
    """Return one Python program made of `modules`, that knows what is `asked` of it.

    The last one is run as the program; it and all before may import those before by their names.
    """
    sources = [[module.__name__, inspect.getsource(module)] for module in modules]
    sources[-1][0] = "__main__"
    return _LOADER.format(asked=json.dumps(asked), sources=json.dumps(sources))


def gathering(asked: dict[str, Any]) -> str:
    """Return the program that gathers the facts."""
    return program([deploy.machine, gather_pgadmin, pooler_probe, gather], asked)


def asking_how_it_stands(asked: dict[str, Any]) -> str:
    """Return the program that gathers how a host stands."""
    modules = [deploy.machine, deploy.run_lines, gather_pgadmin, pooler_probe, gather, standing]
    return program(modules, asked)


def configuring(asked: dict[str, Any]) -> StringCommand:
    """Return the command that puts a configuration in place, or refuses or undoes it."""
    return StringCommand("python3", "-", _stdin=configuring_program(asked))


def configuring_program(asked: dict[str, Any]) -> str:
    """Return the program that puts a configuration in place."""
    return program([remote_host, candidate, preflight, swap, configure], asked)


def pooling_command(asked: dict[str, Any]) -> StringCommand:
    """Return the command that gives PgBouncer a configuration, or refuses or undoes it."""
    return StringCommand("python3", "-", _stdin=pooling_program(asked))


def pooling_program(asked: dict[str, Any]) -> str:
    """Return the program that gives PgBouncer a configuration."""
    return program([remote_host, candidate, preflight, swap, pooler_probe, pooling], asked)


def installing(asked: dict[str, Any]) -> StringCommand:
    """Return the command that installs casedb."""
    return StringCommand("python3", "-", _stdin=program([install], asked))


def bringing_pgadmin(wish: pgadmin.Wish) -> StringCommand:
    """Return the command that makes pgAdmin what is wished."""
    asked = {
        **pgadmin_state.asked(email=wish.email, listen=wish.listen, port=wish.port),
        "folder": pgadmin.FOLDER,
        "identity": wish.release.identity,
        "requirements": wish.release.requirements,
        "user": pgadmin.USER,
        "password": wish.password,
        "servers": pgadmin.servers_json(wish.servers),
        "private_files": pgadmin_files.private(wish),
        "socket": pgadmin.SOCKET,
        "authority": pgadmin.AUTHORITY_FILE,
        "in_force": pgadmin_files.in_force(wish),
        "in_force_file": pgadmin.IN_FORCE_FILE,
    }
    modules = [gather_pgadmin, install, remote_pgadmin]
    return StringCommand("python3", "-", _stdin=program(modules, asked))


def file_command(path: str, content: str, *, user: str, group: str, mode: str) -> StringCommand:
    """Return the command that writes a file whole or not at all, and readable by nobody meanwhile.

    `content` has to end with a line break: pyinfra would add one.
    """
    quoted = QuoteString(path)
    return StringCommand(
        "umask 022 && mkdir -p", _parent(path), "&& umask 077 && t=$(mktemp", _beside(path), ")",
        "&& cat >$t && chown", QuoteString(f"{user}:{group}"), "$t && chmod", mode, "$t",
        "&& mv -fT $t", quoted, "|| { rm -f $t; exit 1; }",
        _stdin=content,
    )  # fmt: skip


def sql_command(sql: str, *, port: int, database: str) -> StringCommand:
    """Return the command that runs `sql` as postgres up to its first error, unlogged."""
    return StringCommand(
        "cd / && LC_ALL=C runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -p", str(port),
        "-d", QuoteString(database), "-f -",
        _stdin=_SILENT + sql + "\n",
    )  # fmt: skip


def failing(message: str) -> StringCommand:
    """Return a command that fails with `message`: an operation's only way to fail its host alone.

    An exception raised while operations run would end the run for every host.
    """
    return StringCommand("echo", QuoteString(message), ">&2; exit 1")


def _parent(path: str) -> QuoteString:
    return QuoteString(path.rpartition("/")[0] or "/")


def _beside(path: str) -> QuoteString:
    return QuoteString(f"{path}.XXXXXXXX")
