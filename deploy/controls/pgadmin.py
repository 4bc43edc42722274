"""Controls of pgAdmin; a host without it has nothing that could break them."""

from collections.abc import Mapping
from typing import Any

from deploy import pgadmin
from deploy.controls.base import APPLY, Control


def _about(state: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = state.get("pgadmin") or {}
    return found


def _version(state: Mapping[str, Any]) -> list[str]:
    version = str(_about(state).get("current", "")).partition("-")[0]
    return [problem] if version and (problem := pgadmin.version_problem(version)) else []


def _reach(state: Mapping[str, Any]) -> list[str]:
    about = _about(state)
    if not about or not pgadmin.is_loopback(about["listen"]):
        # It was asked for.
        return []
    open_at = [at for at in about["listening"] if not pgadmin.is_loopback(at)]
    return [f"its port is open at {', '.join(open_at)}"] if open_at else []


def _files(state: Mapping[str, Any]) -> list[str]:
    places = {p: f for p, f in state["files"].items() if f and p.startswith(pgadmin.HOME)}
    return [
        f"{path} is {about['user']}'s with mode {about['mode']}"
        for path, about in places.items()
        if about["user"] != pgadmin.USER or int(about["mode"], 8) & 0o077
    ]


def _role(state: Mapping[str, Any]) -> list[str]:
    servers = (_about(state).get("store") or {}).get("servers", [])
    return [
        f"{server['Name']} is entered as {server['Username']}"
        for server in servers
        if server["Username"] != pgadmin.ROLE
    ]


_PGADMIN = "https://www.pgadmin.org/docs/pgadmin4/latest/"

CONTROLS = (
    Control("pgadmin.version", "pgAdmin has no known hole", APPLY,
            _PGADMIN + "release_notes.html", _version),
    Control("pgadmin.reach", "pgAdmin is open to this machine alone, unless asked", APPLY,
            _PGADMIN + "server_deployment.html", _reach),
    Control("pgadmin.files", "pgAdmin's store and passwords are its own", APPLY,
            _PGADMIN + "server_deployment.html", _files),
    Control("pgadmin.role", "pgAdmin enters our servers by a role that only reads", APPLY,
            _PGADMIN + "import_export_servers.html", _role),
)  # fmt: skip
