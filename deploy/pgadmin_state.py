"""How pgAdmin on a host is, against what it has to be: what to ask, and what differs. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any

from deploy.pgadmin import (
    CERTIFICATE_FILE,
    CONFIG_FILE,
    CURRENT,
    FOLDER,
    HOME,
    IN_FORCE_FILE,
    LOGIN_ATTEMPTS,
    NGINX_FILE,
    SERVER_GROUP,
    STORE,
    UNIT,
    USER,
    WEB_UNIT,
    Wish,
    servers_json,
)
from deploy.pgadmin_files import in_force, private, private_paths


def asked(*, email: str, listen: str, port: int) -> dict[str, Any]:
    """Return what has to be gathered of pgAdmin."""
    return {
        "current": CURRENT,
        "store": STORE,
        "email": email,
        "attempts": LOGIN_ATTEMPTS,
        "group": SERVER_GROUP,
        "listen": listen,
        "port": port,
        "units": [UNIT, WEB_UNIT],
    }


def asked_files(email: str) -> dict[str, bool]:
    """Return the files to be gathered, and whether their content must not leave the host."""
    passfile, authority = private_paths(email)
    return {
        CONFIG_FILE: False,
        NGINX_FILE: False,
        IN_FORCE_FILE: False,
        HOME: False,
        STORE: True,
        passfile: True,
        authority: False,
    }


def port_problem(state: Mapping[str, Any], wish: Wish) -> str:
    """Return that somebody else has the port, or nothing."""
    about, conf = state["pgadmin"], state["files"][NGINX_FILE] or {}
    ours = about["units"][WEB_UNIT]["active"] == "active" and (
        f":{wish.port} ssl;" in conf.get("content", "")
    )
    if about["listening"] and not ours:
        return f"port {wish.port} is taken on this host; pgadmin_port chooses another one"
    return ""


def differences(state: Mapping[str, Any], wish: Wish) -> list[tuple[str, tuple[str, ...]]]:
    """Return what differs on a host whose state is gathered: the thing, and how."""
    about = state["pgadmin"]
    found: list[tuple[str, tuple[str, ...]]] = []
    store = about["store"] or {}
    if about["current"] != wish.release.identity:
        lines = [f"-{about['current']}"] if about["current"] else []
        found.append((f"pgAdmin in {FOLDER}", (*lines, f"+{wish.release.identity}")))
    if "schema" not in store:
        found.append((STORE, (f"+made: {store.get('error', 'there is none')}",)))
    elif (is_now := _owner_and_mode(state["files"][STORE])) != (USER, "600"):
        found.append((STORE, (f"-{' '.join(is_now)}", f"+{USER} 600")))
    if (user := store.get("user", "missing")) != "well":
        found.append((f"pgAdmin's user {wish.email}", (f"-{user}", "+well")))
    has, wanted = store.get("servers", []), servers_json(wish.servers)
    if has != wanted:
        gone = [f"-{_shown(server)}" for server in has if server not in wanted]
        new = [f"+{_shown(server)}" for server in wanted if server not in has]
        found.append(("pgAdmin's servers", (*gone, *new) or ("-more than once",)))
    for path, content in private(wish).items():
        file = state["files"][path] or {}
        same = file.get("sha256") == hashlib.sha256(content.encode()).hexdigest()
        if not same or _owner_and_mode(file) != (USER, "600"):
            found.append((path, ("(its content is secret)",)))
    for name, unit_now in about["units"].items():
        if (unit_now["active"], unit_now["enabled"]) != ("active", "enabled"):
            was = f"-{unit_now['active']}, {unit_now['enabled']}"
            found.append((name, (was, "+active, enabled")))
    if (state["files"][IN_FORCE_FILE] or {}).get("content") != in_force(wish):
        found.append((f"{UNIT} and {WEB_UNIT}", ("+as they are configured",)))
    certificate = (state["files"][CERTIFICATE_FILE] or {}).get("content", "")
    if not about["served"] or about["served"] != certificate.strip():
        found.append((f"certificate at port {wish.port}", (f"+{CERTIFICATE_FILE}",)))
    return found


def _owner_and_mode(file: Mapping[str, Any]) -> tuple[str, str]:
    return str(file.get("user")), str(file.get("mode"))


def _shown(server: Mapping[str, Any]) -> str:
    return f"{server['Name']}: {server['Username']}@{server['Host']}:{server['Port']}"
