"""What pgAdmin on a host has to be: which version, for whom, and its servers. Pure.

https://www.pgadmin.org/docs/pgadmin4/latest/server_deployment.html
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from casedb.passfile import SHORTEST_PASSWORD

GROUP = "pgadmin"
"""The inventory's group of the hosts that have it, and nobody else has."""

USER = "pgadmin"
ROLE = "case_readonly"
SERVER_GROUP = "casedb"
"""pgAdmin's server group that belongs to the inventory; all others are their users'."""

FLOOR = (9, 17)
"""Older ones have known holes: CVE-2026-12046 (before 9.16, without a login), CVE-2026-17348,
CVE-2026-17349 and CVE-2026-17350 (before 9.17)."""

REQUIREMENTS = "requirements/pgadmin.txt"
PACKAGES = ("python3-venv", "nginx-light")
# Debian's would open port 80 to everybody; ours is a unit of its own.
UNSTARTED = {"nginx-light": "nginx.service"}
FOLDER = "/opt/pgadmin"
CURRENT = f"{FOLDER}/current"
HOME = "/var/lib/pgadmin"
STORE = f"{HOME}/pgadmin4.db"
ETC = "/etc/pgadmin"
CONFIG_FILE = f"{ETC}/config_system.py"
NGINX_FILE = f"{ETC}/nginx.conf"
IN_FORCE_FILE = f"{ETC}/in-force"
"""Names the configuration that the running services have read; written last."""
UNIT = "casedb-pgadmin.service"
WEB_UNIT = "casedb-pgadmin-web.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
WEB_UNIT_FILE = f"/etc/systemd/system/{WEB_UNIT}"
SOCKET = "/run/pgadmin/pgadmin.sock"
LOGIN_ATTEMPTS = 5
"""After as many wrong passwords in a row pgAdmin locks a user."""

AUTHORITY_FILE = "/etc/casedb/tls/ca.crt"
CERTIFICATE_FILE = "/etc/casedb/tls/server.crt"
KEY_FILE = "/etc/casedb/tls/server.key"
_EMAIL = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;\\]+)", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """One server as pgAdmin's tree has it, entered as ROLE."""

    name: str
    address: str
    port: int
    database: str
    password: str


@dataclass(frozen=True)
class Release:
    """One version of pgAdmin with all that it needs."""

    version: str
    requirements: str

    @property
    def identity(self) -> str:
        """The name of its environment: the version, and which other packages."""
        return f"{self.version}-{hashlib.sha256(self.requirements.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Wish:
    """What pgAdmin on a host has to be."""

    release: Release
    email: str
    password: str
    servers: tuple[Server, ...]
    listen: str
    port: int
    names: tuple[str, ...]
    """What the host is called in a browser; every other name is refused."""
    bindir: str
    authority_pem: str


def release(requirements: str) -> Release:
    """Return the version that hashed `requirements` pin.

    Raises:
        ValueError: they pin none, one older than FLOOR, or leave a package without its hash.
    """
    pins = {m["name"].lower(): m["version"] for m in _PIN.finditer(requirements)}
    for name in ("pgadmin4", "gunicorn"):
        if name not in pins:
            raise ValueError(f"pgAdmin's requirements pin no {name}")
    version = pins["pgadmin4"]
    if problem := version_problem(version):
        raise ValueError(problem)
    for block in re.split(r"\n(?=\S)", requirements.strip()):
        if _PIN.match(block) and "--hash=sha256:" not in block:
            raise ValueError(f"pgAdmin's requirements have no hash for {block.split()[0]}")
    return Release(version, requirements)


def version_problem(version: str) -> str:
    """Return why this version of pgAdmin may not run, or nothing.

    >>> version_problem("9.18"), version_problem("10.0")
    ('', '')
    >>> version_problem("9.9")
    'pgAdmin 9.9 has known holes; 9.17 is the oldest without'
    """
    if not re.fullmatch(r"\d+(\.\d+)+", version):
        return f"{version!r} is no released version of pgAdmin"
    if tuple(int(part) for part in version.split(".")) < FLOOR:
        return f"pgAdmin {version} has known holes; {FLOOR[0]}.{FLOOR[1]} is the oldest without"
    return ""


def check(wish: Wish) -> list[str]:
    """Return what is wrong with the data, a sentence each; none of it shows a secret."""
    problems = []
    if not _EMAIL.fullmatch(wish.email):
        problems.append(f"pgadmin_email {wish.email!r} is no address; its domain needs a dot")
    if len(wish.password) < SHORTEST_PASSWORD:
        problems.append(
            f"pgadmin_password is weak: it has {len(wish.password)} characters, "
            f"{SHORTEST_PASSWORD} are the least"
        )
    try:
        ip_address(wish.listen)
    except ValueError:
        problems.append(f"pgadmin_listen {wish.listen!r} is no address such as 127.0.0.1")
    if not 0 < wish.port < 65536:
        problems.append(f"pgadmin_port cannot be {wish.port}")
    return problems


def is_loopback(address: str) -> bool:
    """Whether only this machine gets there."""
    return ip_address(address).is_loopback


def servers_json(servers: Sequence[Server]) -> list[dict[str, Any]]:
    """Return the servers in the form that pgAdmin loads, TLS checked, without passwords."""
    return [
        {
            "Name": server.name,
            "Group": SERVER_GROUP,
            "Host": server.address,
            "Port": server.port,
            "MaintenanceDB": server.database,
            "Username": ROLE,
            # Both are looked for in the user's own folder.
            "ConnectionParameters": {
                "sslmode": "verify-full",
                "sslrootcert": "/ca.crt",
                "passfile": "/.pgpass",
                "connect_timeout": 10,
            },
        }
        for server in servers
    ]
