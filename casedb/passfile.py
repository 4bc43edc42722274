"""A libpq password file of ours: one line a role, mode 0600 from its first byte.

https://www.postgresql.org/docs/current/libpq-pgpass.html
"""

import os
from collections.abc import Mapping
from pathlib import Path

SHORTEST_PASSWORD = 16
"""A password that somebody has to give, and could give too short, has this many characters."""


def write_passfile(path: Path, passwords: Mapping[str, str]) -> None:
    """Write `passwords` by role, for any server: the port changes with every start.

    Whole or not at all, and never readable for others in between.
    """
    making = path.with_name(path.name + ".making")
    making.unlink(missing_ok=True)
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(passfile_line(role, password) for role, password in passwords.items())
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)


def passfile_line(role: str, password: str, *, host: str = "*", port: str = "*") -> str:
    """Return the line with one role's password, for every database of a server."""
    return ":".join((_quoted(host), port, "*", _quoted(role), _quoted(password))) + "\n"


def read_passfile(path: Path) -> dict[str, str]:
    """Return the passwords by role; empty if there is no such file."""
    if not path.exists():
        return {}
    lines = path.read_text().splitlines()
    fields = [_split(line) for line in lines if line and not line.startswith("#")]
    return {line[3]: line[4] for line in fields if len(line) == 5}


def _quoted(field: str) -> str:
    return field.replace("\\", "\\\\").replace(":", "\\:")


def _split(line: str) -> list[str]:
    fields, current, quoted = [], "", False
    for letter in line:
        if quoted or letter not in ":\\":
            current, quoted = current + letter, False
        elif letter == "\\":
            quoted = True
        else:
            fields.append(current)
            current = ""
    return [*fields, current]
