"""A password for sudo that nobody else on the host gets to see.

pyinfra gives it as a variable of `env`, whose words stand in the host's list of processes for as
long as a command runs. Here it lies in a file of mode 0700 that sudo runs to be told, written by
way of standard input and removed at the end of the run.
"""

import shlex
from typing import Any, NoReturn, TextIO

from pyinfra.api import QuoteString, StringCommand
from pyinfra.connectors import util

from deploy.facts import HostFailedError

# pyinfra's own names: with these it takes the file for its own and hands over no password.
_PATH_KEY = "sudo_askpass_path__"
_PROMPTED = "prompted_sudo_password"
_NO_SECRET = "in-the-askpass-file"


def never_prompt() -> None:
    """Keep pyinfra from asking: it would wait for an answer on the pipe of our orders."""

    def refuse(prompt: str = "", stream: TextIO | None = None) -> NoReturn:
        raise HostFailedError("sudo asks for a password; the inventory names none (sudo_password)")

    util.getpass = refuse


def prepare(host: Any, password: str) -> None:
    """Let sudo on `host` be told `password`, and try it.

    Raises:
        HostFailedError: sudo does not take it.
    """
    script = f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(password)}\n"
    done, output = host.run_shell_command(
        StringCommand(
            'umask 077 && f=$(mktemp "${XDG_RUNTIME_DIR:-/tmp}/casedb-askpass-XXXXXXXXXXXX")'
            ' && cat >"$f" && chmod 700 "$f" && echo "$f"'
        ),
        _stdin=script,
        _sudo=False,
    )
    if not done or not output.stdout_lines:
        raise HostFailedError("sudo's password could not be handed over")
    host.connector_data[_PATH_KEY + host.get_temp_dir_config()] = output.stdout_lines[0]
    host.connector_data[_PROMPTED] = _NO_SECRET
    done, output = host.run_shell_command(StringCommand("true"), _sudo=True)
    if not done:
        remove(host)
        raise HostFailedError("sudo refuses the password that sudo_password names")


def remove(host: Any) -> None:
    """Remove the file again."""
    path = host.connector_data.pop(_PATH_KEY + host.get_temp_dir_config(), None)
    host.connector_data.pop(_PROMPTED, None)
    if path:
        host.run_shell_command(StringCommand("rm -f", QuoteString(path)), _sudo=False)
