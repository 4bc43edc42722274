"""The local stack of docker-compose.yml: started, watched, stopped, and reached like any server."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from casedb.compose_env import PORTS, checked, is_free, next_free_port, port_of, read_env
from casedb.conninfo import Conninfo, redact
from casedb.database import connect
from casedb.errors import ConfigurationError, ServerUnreachableError, ToolFailedError
from casedb.home import prepare_home
from casedb.passfile import write_passfile
from casedb.server import SUPERUSER
from casedb.tools import run

COMPOSE_FILE = "docker-compose.yml"
POOLER_PROFILE = "pooler"
START_TIMEOUT_S = 180
# Secrets out of the environment, `up --wait` and its timeout.
_OLDEST_COMPOSE = (2, 20)
_LOG_LINES = 12
_PUBLISHED = {"postgres": "POSTGRES_PORT", "pgadmin": "PGADMIN_PORT", "pgbouncer": "POOLER_PORT"}
# What PostgreSQL says of a password that is not the role's.
_WRONG_PASSWORD = "password authentication failed"
_FULL_DISK = "No space left on device"
_INSTEAD = "`make up` brings up a PostgreSQL of its own, without Docker."


@dataclass(frozen=True)
class Service:
    """One service as Docker sees it."""

    name: str
    image: str
    state: str
    """running, exited, restarting, ..."""
    health: str
    """healthy, unhealthy, starting, or empty."""
    address: str
    """Where it listens on this machine; empty if it does not."""


@dataclass(frozen=True)
class Stack:
    """The stack of one checkout."""

    root: Path
    """The folder of docker-compose.yml and .env."""
    home: Path
    """Where the password file goes."""
    environment: Mapping[str, str]
    """Ours: what it says goes before what .env says, as docker compose has it."""

    @property
    def passfile(self) -> Path:
        """libpq's password file of the composed server."""
        return self.home / "compose.pgpass"

    def settings(self) -> dict[str, str]:
        """Return what .env and the environment say; raises as `read_env` does.

        Raises:
            ConfigurationError: also where there is no stack at all.
        """
        if not (self.root / COMPOSE_FILE).exists():
            raise ConfigurationError(
                f"there is no {COMPOSE_FILE} in {self.root}",
                hint="Go to a checkout of casedb; a wheel does not carry the stack.",
            )
        return read_env(self.root, self.environment)

    def passwords(self) -> dict[str, str]:
        """Return the passwords by role; raises as `read_env` and `checked` do."""
        return checked(self.settings())

    def add_passwords(self, roles: Iterable[str]) -> dict[str, str]:
        """Return the password of each of `roles`: they are all in .env from the start."""
        known = self.passwords()
        return {role: known[role] for role in roles}

    def conninfo(self, *, dbname: str, user: str) -> Conninfo:
        """Return how `user` reaches `dbname`, past the pooler."""
        return self.server().replace(dbname=dbname, user=user)

    def server(self) -> Conninfo:
        """Return the server's own words, for `casedb --conninfo`."""
        port = port_of(self.settings(), "POSTGRES_PORT")
        return Conninfo({"host": "127.0.0.1", "port": str(port), "passfile": str(self.passfile)})


def up(stack: Stack, *, pooler: bool = False, tell: Callable[[str], None] = print) -> list[Service]:
    """Start the services that do not run, wait until all are healthy, and return them.

    Raises:
        ConfigurationError: no Docker, no .env, a password missing, or a port is taken.
        RefusedError: a weak password, or an .env open to others.
        ToolFailedError: a service did not become healthy; the detail is what it logged.
    """
    _require_docker()
    found = stack.settings()
    passwords = checked(found)
    before = services(stack)
    _require_ports(found, before, pooler=pooler)
    prepare_home(stack.home)
    write_passfile(stack.passfile, passwords)
    tell("starting the services")
    wait = ["--detach", "--wait", f"--wait-timeout={START_TIMEOUT_S}"]
    try:
        _compose(stack, "up", *wait, pooler=pooler, timeout_s=None)
    except ToolFailedError as error:
        raise _why_not_up(stack, error) from error
    _require_login(stack)
    return services(stack)


def down(stack: Stack) -> None:
    """Stop and remove the containers; the data stay. Raises as `up` does."""
    _require_docker()
    stack.settings()
    _compose(stack, "down", "--remove-orphans", pooler=True)


def remove_data(stack: Stack) -> None:
    """Remove the containers and all their data; the caller has asked before."""
    _require_docker()
    stack.settings()
    _compose(stack, "down", "--remove-orphans", "--volumes", pooler=True)
    stack.passfile.unlink(missing_ok=True)


def project(stack: Stack) -> str:
    """Return the name under which Docker knows this stack: that of its folder, or one chosen.

    Raises as `up` does.
    """
    _require_docker()
    stack.settings()
    whole = json.loads(_compose(stack, "config", "--format=json"))
    return str(whole["name"])


def status(stack: Stack) -> list[Service]:
    """Return the services that have a container, running or not. Raises as `up` does."""
    _require_docker()
    stack.settings()
    return services(stack)


def services(stack: Stack) -> list[Service]:
    """Return the services that have a container, running or not, sorted by name."""
    printed = _compose(stack, "ps", "--all", "--format=json", pooler=True)
    # One object a line; before 2.21, one list.
    lines = printed.strip().splitlines()
    rows = json.loads(printed) if printed.startswith("[") else [json.loads(line) for line in lines]
    found = []
    for row in rows:
        published = {
            f"{p['URL']}:{p['PublishedPort']}"
            for p in row.get("Publishers") or []
            if p.get("PublishedPort")
        }
        found.append(
            Service(
                name=str(row["Service"]),
                image=str(row["Image"]),
                state=str(row["State"]),
                health=str(row.get("Health") or ""),
                address=", ".join(sorted(published)),
            )
        )
    return sorted(found, key=lambda service: service.name)


def _require_docker() -> None:
    if shutil.which("docker") is None:
        raise ConfigurationError("Docker is not installed", hint=_INSTEAD)
    try:
        printed = run(["docker", "compose", "version", "--short"])
    except ToolFailedError as error:
        raise ConfigurationError(
            "Docker has no compose",
            detail=error.detail,
            hint=f"Install its plugin (docker-compose-plugin, docker-compose-v2). {_INSTEAD}",
        ) from error
    version = printed.strip().lstrip("v")
    numbers = tuple(int(n) for n in version.split("-")[0].split(".")[:2] if n.isdigit())
    if numbers < _OLDEST_COMPOSE:
        raise ConfigurationError(
            f"Docker's compose {version} is too old",
            detail=f"{'.'.join(map(str, _OLDEST_COMPOSE))} is the first that will do.",
            hint=_INSTEAD,
        )
    try:
        run(["docker", "version", "--format={{.Server.Version}}"])
    except ToolFailedError as error:
        raise ConfigurationError(
            "Docker does not answer",
            detail=error.detail,
            hint=f"Start it, or join group docker. {_INSTEAD}",
        ) from error


def _require_ports(found: Mapping[str, str], before: list[Service], *, pooler: bool) -> None:
    ours = {s.name for s in before if s.state == "running"}
    for service, name in _PUBLISHED.items():
        port = port_of(found, name)
        if service in ours or (service == "pgbouncer" and not pooler) or is_free(port):
            continue
        raise ConfigurationError(
            f"port {port} of 127.0.0.1 is taken",
            detail=f"Another program listens there, and {service} is to.",
            hint=f"Set {name}={next_free_port(PORTS[name])} in .env, or stop the other one.",
        )


def _require_login(stack: Stack) -> None:
    """Say it in our words when the volume was made with other passwords than .env has now."""
    try:
        with connect(stack.conninfo(dbname="postgres", user=SUPERUSER), purpose="compose up"):
            pass
    except ServerUnreachableError as error:
        if _WRONG_PASSWORD not in (error.detail or ""):
            raise
        raise ConfigurationError(
            "the passwords in .env are not those of the stack's data",
            detail="A volume keeps the passwords with which it was made.",
            hint="Bring the .env of that time back, or start over: `casedb compose reset`.",
        ) from error


def _why_not_up(stack: Stack, error: ToolFailedError) -> ToolFailedError:
    unwell = [s for s in services(stack) if (s.state, s.health) != ("running", "healthy")]
    told = [error.detail or ""]
    for service in unwell:
        printed = _compose(stack, "logs", "--no-color", "--no-log-prefix",
                           f"--tail={_LOG_LINES * 10}", service.name, pooler=True)  # fmt: skip
        lines = redact(printed).splitlines()
        told.append(f"{service.name} ({service.state} {service.health}) logged:")
        # It is started again and again, and the next start may have pushed the reason away.
        reason = [line for line in lines[:-_LOG_LINES] if _FULL_DISK in line][-1:]
        told += [f"    {line}" for line in [*reason, *lines[-_LOG_LINES:]]]
        if service.health == "unhealthy":
            told.append(f"its health check says: {_last_check(stack, service.name)}")
    names = ", ".join(service.name for service in unwell)
    detail = "\n".join(filter(None, told))
    if _FULL_DISK in detail:
        # Starting over would lose what a full disk has not.
        return ToolFailedError(
            f"the disk is full: {names or 'docker compose'} did not start",
            detail=detail,
            hint="Make room (`docker system df` tells what takes it), and run it again: "
            "what was committed is there.",
        )
    return ToolFailedError(
        f"{names} did not become healthy" if names else "docker compose failed",
        detail=detail,
        hint="`casedb compose status` tells the state; `casedb compose reset` starts over.",
    )


def _last_check(stack: Stack, service: str) -> str:
    container = _compose(stack, "ps", "--all", "--quiet", service, pooler=True).strip()
    what = "--format={{range .State.Health.Log}}{{println .Output}}{{end}}"
    lines = run(["docker", "inspect", what, container]).strip().splitlines()
    return redact(lines[-1]) if lines else "nothing"


def _compose(
    stack: Stack, verb: str, *words: str, pooler: bool = False, timeout_s: float | None = 120
) -> str:
    # Without --file: a docker-compose.override.yml beside the file counts, as developers expect.
    argv = ["docker", "compose", f"--project-directory={stack.root}", "--progress=quiet"]
    argv += [f"--profile={POOLER_PROFILE}"] if pooler else []
    return run([*argv, verb, *words], timeout_s=timeout_s)
