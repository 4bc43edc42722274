"""The .env of docker-compose.yml: random passwords and free ports, made once."""

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from casedb.errors import ConfigurationError, RefusedError
from casedb.passfile import SHORTEST_PASSWORD
from casedb.roles import LOGIN_ROLES, POOLER
from casedb.server import SUPERUSER

ENV_FILE = ".env"
PORTS: Mapping[str, int] = {"POSTGRES_PORT": 5432, "PGADMIN_PORT": 8080, "POOLER_PORT": 6432}
"""The ports on this machine's loopback interface, and the plan's numbers for them."""

_PASSWORD_BYTES = 24
# Of the superuser and of pgAdmin under the plan's own names, then one a login role.
_SUPERUSER_NAME = "DB_PASSWORD"
_PASSWORD_NAMES: Mapping[str, str] = {
    SUPERUSER: _SUPERUSER_NAME,
    **{role: f"{role.upper()}_PASSWORD" for role in LOGIN_ROLES},
}
_PGADMIN = "PGADMIN_PASSWORD"
# What a password file or an ini file would have to quote, and a shell too.
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+=@%/,")


def is_free(port: int) -> bool:
    """Whether nobody listens on this TCP port of the loopback interface."""
    with socket.socket() as probe:
        # As Docker binds it: a connection that lingers from before is no listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def next_free_port(wanted: int, *, free: Callable[[int], bool] = is_free) -> int:
    """Return `wanted` or the next port above it that nobody listens on.

    Raises:
        ConfigurationError: none of the next hundred is free.
    """
    for port in range(wanted, min(wanted + 100, 65536)):
        if free(port):
            return port
    raise ConfigurationError(f"no port from {wanted} to {wanted + 99} is free on 127.0.0.1")


def make_env(root: Path) -> dict[str, int] | None:
    """Write `root`/.env with random passwords and free ports, mode 0600 from its first byte.

    Returns:
        The ports chosen; None if there is such a file, which is left as it is.
    """
    path = root / ENV_FILE
    ports = {name: next_free_port(port) for name, port in PORTS.items()}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written", detail=f"{error.strerror}.") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(_content(ports))
        file.flush()
        os.fsync(file.fileno())
    return ports


def _content(ports: Mapping[str, int]) -> str:
    names = [_SUPERUSER_NAME, _PGADMIN, *(_PASSWORD_NAMES[role] for role in LOGIN_ROLES)]
    lines = [
        "# Passwords and ports of docker-compose.yml, by `casedb compose env`. Never commit it.",
        "# The volumes remember the passwords they were made with: keep this file as long.",
        *(f"{name}={port}" for name, port in ports.items()),
        *(f"{name}={secrets.token_urlsafe(_PASSWORD_BYTES)}" for name in names),
        "# The same once more, as pgAdmin's and PgBouncer's files want them.",
        'PGADMIN_PGPASS="postgres:5432:*:case_readonly:${CASE_READONLY_PASSWORD}"',
        f'PGBOUNCER_USERLIST="\\"{POOLER}\\" \\"${{CASE_POOLER_PASSWORD}}\\""',
    ]
    return "\n".join(lines) + "\n"


def read_env(root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what docker compose would read: `root`/.env, under what `environment` says.

    Raises:
        ConfigurationError: there is no .env, or it cannot be read.
        RefusedError: others may read it.
    """
    path = root / ENV_FILE
    try:
        text = path.read_text("utf-8")
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no {path}",
            detail="It has the passwords and ports of docker-compose.yml.",
            hint="Make one: `make env` (casedb compose env).",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read", detail=f"{error}.") from error
    if mode & 0o077:
        raise RefusedError(
            f"{path} is open to others",
            detail=f"Its mode is {mode & 0o777:o}; it has every password of the stack in it.",
            hint=f"chmod 600 {path}",
        )
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    found = {
        name.strip(): value.strip().strip("\"'")
        for name, _, value in pairs
        if not name.lstrip().startswith("#")
    }
    return {**found, **{name: environment[name] for name in found if environment.get(name)}}


def checked(found: Mapping[str, str]) -> dict[str, str]:
    """Return the passwords by role, the superuser's included.

    Raises:
        ConfigurationError: one is missing, or cannot be written into the files that need it.
        RefusedError: one is so short that it can be guessed.
    """
    wanted = {**_PASSWORD_NAMES, "pgAdmin": _PGADMIN}
    passwords = {role: found.get(name, "") for role, name in wanted.items()}
    for role, password in passwords.items():
        name = wanted[role]
        if not password:
            raise ConfigurationError(
                f"{name} is missing from {ENV_FILE}",
                hint="Put it there, or delete the file and run `make env` for a whole one.",
            )
        if len(password) < SHORTEST_PASSWORD:
            raise RefusedError(
                f"{name} in {ENV_FILE} is weak",
                detail=f"It has {len(password)} characters; {SHORTEST_PASSWORD} are the least.",
                hint="`python3 -c 'import secrets; print(secrets.token_urlsafe(24))'` makes one.",
            )
        if not set(password) <= _SAFE:
            raise ConfigurationError(
                f"{name} in {ENV_FILE} has characters that need quoting",
                detail="Letters, digits and -_.+=@%/, are safe in all files that it gets into.",
            )
    del passwords["pgAdmin"]
    return passwords


def port_of(found: Mapping[str, str], name: str) -> int:
    """Return one port of PORTS.

    Raises:
        ConfigurationError: it is no port number.
    """
    text = found.get(name) or str(PORTS[name])
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise ConfigurationError(f'{name} cannot be "{text}"', hint="A port: 1 to 65535.")
    return int(text)
