"""What pgAdmin's store says and what its port shows. Part of the program that gather.py is.

The store is read past pgAdmin: its own commands take seconds, and print errors with exit code 0.
"""

import contextlib
import json
import socket
import sqlite3
import ssl
from pathlib import Path
from typing import Any

_TIMEOUT_S = 5
_SERVERS = """
SELECT s.name, s.host, s.port, s.maintenance_db, s.username, s.connection_params
FROM server s JOIN servergroup g ON g.id = s.servergroup_id JOIN user u ON u.id = s.user_id
WHERE u.username = ? AND g.name = ? ORDER BY s.id
"""


def store(asked: dict[str, Any]) -> dict[str, Any] | None:
    """Return its schema version, whether the first user can log in, and his servers of our group.

    None: there is no store; {"error": ...}: it is none of pgAdmin's.
    """
    path = Path(asked["store"])
    if not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as found:
            return {
                "schema": schema(found),
                "user": user(found, asked["email"], asked["attempts"]),
                "servers": servers(found, asked["email"], asked["group"]),
            }
    except (sqlite3.Error, ValueError, TypeError) as error:
        return {"error": str(error)}


def schema(found: sqlite3.Connection) -> int:
    ((version,),) = found.execute("SELECT value FROM version WHERE name = 'ConfigDB'")
    return int(version)


def user(found: sqlite3.Connection, email: str, attempts: int) -> str:
    """Return "well", "missing", "locked" or "inactive"."""
    rows = found.execute(
        "SELECT active, locked, login_attempts FROM user"
        " WHERE username = ? AND auth_source = 'internal'",
        (email,),
    ).fetchall()
    if not rows:
        return "missing"
    ((active, locked, failed),) = rows
    if locked or (failed or 0) >= attempts:
        return "locked"
    return "well" if active else "inactive"


def servers(found: sqlite3.Connection, email: str, group: str) -> list[dict[str, Any]]:
    return [
        {
            "Name": name,
            "Group": group,
            "Host": host,
            "Port": port,
            "MaintenanceDB": database,
            "Username": username,
            "ConnectionParameters": json.loads(parameters or "{}"),
        }
        for name, host, port, database, username, parameters in found.execute(
            _SERVERS, (email, group)
        )
    ]


def addresses(port: int) -> list[str]:
    """Return the addresses at which somebody listens on `port`."""
    found = []
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                _number, local, _remote, state = line.split()[:4]
                digits, _, at = local.rpartition(":")
                if state == "0A" and int(at, 16) == port:
                    # Words of four bytes, each the other way round.
                    raw = bytes.fromhex(digits)
                    turned = b"".join(raw[n : n + 4][::-1] for n in range(0, len(raw), 4))
                    found.append(socket.inet_ntop(family, turned))
    return sorted(set(found))


def served(listen: str, port: int) -> str:
    """Return the certificate that is really served, as PEM; nothing: none is."""
    at = listen if listen not in ("0.0.0.0", "::", "*") else "127.0.0.1"
    try:
        return ssl.get_server_certificate((at, port), timeout=_TIMEOUT_S).strip()
    except (OSError, ValueError):
        return ""
