"""Gather everything provisioning compares on this host, in one go, as one line of JSON.

Sent together with deploy/machine.py and gather_pgadmin.py, with ASKED set to what is wanted.
Read-only, but for the trial of sql/roles/, which is rolled back.
"""

import contextlib
import grp
import hashlib
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.machine import local_facts
from deploy.remote.gather_pgadmin import addresses, served, store
from deploy.remote.pooler_probe import state as pooler_state

ASKED: dict[str, Any] = globals().get("ASKED", {})
# Larger files are compared by their hash alone.
_CONTENT_BYTES = 256 * 1024
_TIMEOUT_S = 30
UNITS = "/etc/systemd/system"
TIMER = "ActiveState,UnitFileState,NeedDaemonReload"
SERVICE = "User,NoNewPrivileges,ProtectSystem,PrivateTmp,UMask,NeedDaemonReload"


def run(argv: list[str], text: str = "") -> tuple[int, str, str]:
    """Return exit code, output and errors of one program."""
    environment = {**os.environ, "LC_ALL": "C", "PGOPTIONS": "-c lock_timeout=2s"}
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
            cwd="/",
        )
    except FileNotFoundError:
        return 127, "", f"{argv[0]} is missing"
    except subprocess.TimeoutExpired:
        return 124, "", f"{argv[0]} did not end within {_TIMEOUT_S} s"
    return done.returncode, done.stdout, done.stderr


def operating_system() -> dict[str, str]:
    found = {}
    for line in Path("/etc/os-release").read_text("utf-8").splitlines():
        key, _, value = line.partition("=")
        found[key.lower()] = value.strip('"')
    return found


def packages(names: list[str]) -> dict[str, Any]:
    """Return version and whether it is held, of those that are installed."""
    _code, out, _err = run(
        ["dpkg-query", "-W", "-f", "${Package}\t${Version}\t${db:Status-Abbrev}\n", *names]
    )
    found = {}
    for line in out.splitlines():
        name, version, status = line.split("\t")
        if status[1:2] == "i":
            found[name] = {"version": version, "held": status[0] == "h"}
    return found


def file(path: str, *, secret: bool) -> dict[str, Any] | None:
    place = Path(path)
    try:
        about = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    found: dict[str, Any] = {
        "kind": _kind(about.st_mode),
        "mode": f"{stat.S_IMODE(about.st_mode):o}",
        "user": _name(pwd.getpwuid, about.st_uid),
        "group": _name(grp.getgrgid, about.st_gid),
    }
    if found["kind"] == "file":
        data = place.read_bytes()
        found["sha256"] = hashlib.sha256(data).hexdigest()
        if not secret and len(data) <= _CONTENT_BYTES:
            found["content"] = data.decode("utf-8", "replace")
    return found


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "link"
    return "directory" if stat.S_ISDIR(mode) else "file"


def _name(lookup: Any, number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def clusters() -> list[dict[str, Any]]:
    _code, out, _err = run(["pg_lsclusters", "--no-header"])
    found = []
    for line in out.splitlines():
        major, name, port, status, owner, data = line.split()[:6]
        found.append(
            {
                "major": int(major),
                "name": name,
                "port": int(port),
                "running": status.startswith("online"),
                "owner": owner,
                "data": data,
            }
        )
    return found


def psql(port: int, database: str, sql: str) -> tuple[int, str, str]:
    return run(
        [
            "runuser", "-u", "postgres", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1",
            "-p", str(port), "-d", database, "-f", "-",
        ],
        sql,
    )  # fmt: skip


def server(port: int) -> dict[str, Any]:
    """Return what the catalog says; {"error": ...} if the server does not answer."""
    code, out, err = psql(port, "postgres", ASKED["server_sql"])
    if code != 0:
        return {"error": err.strip()}
    found: dict[str, Any] = json.loads(out)
    found["contents"] = {}
    found["access"] = {}
    for database in ASKED["databases"]:
        if database in found["databases"]:
            code, out, err = psql(port, database, ASKED["database_sql"])
            found["contents"][database] = json.loads(out) if code == 0 else {"error": err.strip()}
    for database, roles_sql in ASKED["roles_sql"].items():
        if database in found["databases"]:
            found["access"][database] = trial(port, database, roles_sql)
    return found


def trial(port: int, database: str, roles_sql: str) -> dict[str, Any]:
    """Return the access before and after `roles_sql`, which is rolled back."""
    state = ASKED["access_sql"]
    code, out, err = psql(
        port,
        database,
        f"BEGIN;\nSET LOCAL log_statement = 'none';\n{state}\n{roles_sql}\n{state}\nROLLBACK;\n",
    )
    if code != 0:
        return {"error": err.strip()}
    before, after = [json.loads(line) for line in out.splitlines() if line.startswith("[")]
    return {"before": before, "after": after}


def unit(name: str) -> dict[str, str]:
    return {
        "active": run(["systemctl", "is-active", name])[1].strip(),
        "enabled": run(["systemctl", "is-enabled", name])[1].strip(),
    }


def timers(wanted: list[str]) -> dict[str, Any]:
    """Return our timers, wanted or not, each with what it starts, and all drop-ins of ours."""
    _code, out, _err = run(
        ["systemctl", "list-units", "--all", "--plain", "--no-legend", "casedb-*@*.timer"]
    )
    loaded = [line.split()[0] for line in out.splitlines()]
    enabled = [place.name for place in Path(UNITS, "timers.target.wants").glob("casedb-*@*.timer")]
    found = {}
    for name in dict.fromkeys([*wanted, *loaded, *enabled]):
        service = name.removesuffix(".timer") + ".service"
        found[name] = {**shown(name, TIMER), "service": shown(service, SERVICE)}
    dropped = [
        str(place)
        for root in (UNITS, "/run/systemd/system")
        for place in sorted(Path(root).glob("casedb-*@*.d"))
    ]
    return {"wanted": wanted, "units": found, "dropins": dropped}


def shown(unit_name: str, properties: str) -> dict[str, str]:
    """Return some properties of a unit, by their names in small letters."""
    words = ["--timestamp=unix", f"--property={properties}", "--", unit_name]
    _code, out, _err = run(["systemctl", "show", *words])
    pairs = (line.partition("=") for line in out.splitlines())
    return {key.lower(): value for key, _, value in pairs}


def kernel(names: list[str]) -> dict[str, Any]:
    """Return the kernel settings, whether they may be changed here, and memory in bytes."""
    values, fixed = {}, []
    for name in names:
        place = Path("/proc/sys", *name.split("."))
        with contextlib.suppress(OSError):
            values[name] = place.read_text().strip()
        # In a container /proc/sys is read-only, whoever asks.
        if not os.access(place, os.W_OK):
            fixed.append(name)
    memory = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        number, *unit_name = rest.split()
        memory[name] = int(number) * (1024 if unit_name else 1)
    return {"values": values, "fixed": fixed, "memory": memory, "hard_files": hard_files()}


def hard_files() -> int:
    """Return how many open files the service manager may give a service."""
    for line in Path("/proc/1/limits").read_text().splitlines():
        if line.startswith("Max open files"):
            hard = line.split()[4]
            return 1 << 30 if hard == "unlimited" else int(hard)
    return 0


def listening() -> list[int]:
    """Return the TCP ports that somebody listens on."""
    found = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                _number, local, _remote, state = line.split()[:4]
                if state == "0A":
                    found.add(int(local.rpartition(":")[2], 16))
    return sorted(found)


def account(name: str) -> dict[str, str] | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return {"home": found.pw_dir, "shell": found.pw_shell}


def firewall(table: str, loaded: str) -> dict[str, Any]:
    """Return whether our rules are in force, and are what they were when they were loaded."""
    code, out, _err = run(["nft", "list", "table", *table.split()])
    there = code == 0
    try:
        same = there and Path(loaded).read_text() == out
    except OSError:
        same = False
    return {"loaded": there, "unchanged": same}


def pgadmin(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what there is of pgAdmin."""
    link = Path(asked["current"])
    return {
        "current": link.readlink().name if link.is_symlink() else "",
        "store": store(asked),
        "listening": addresses(asked["port"]),
        "served": served(asked["listen"], asked["port"]),
        "units": {name: unit(name) for name in asked["units"]},
        # For the controls, which know no inventory.
        "listen": asked["listen"],
    }


def disk_bytes(path: str) -> int:
    place = Path(path)
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).total


def gather() -> dict[str, Any]:
    system = operating_system()
    major = ASKED["major"] or {"12": 15, "13": 17}.get(system.get("version_id", ""))
    names = [name.replace("{major}", str(major)) for name in ASKED["packages"]]
    found: dict[str, Any] = {
        "os": {k: system.get(k, "") for k in ("id", "version_id", "version_codename")},
        "major": major,
        "hostname": os.uname().nodename,
        "machine": {
            **local_facts(),
            "data_disk_bytes": disk_bytes("/var/lib/postgresql"),
        },
        "packages": packages(names),
        "clusters": clusters(),
        "files": {},
        "server": None,
        "data_directory": file(f"/var/lib/postgresql/{major}/{ASKED['cluster']}", secret=True),
        "unit": unit(f"postgresql@{major}-{ASKED['cluster']}.service"),
        "kernel": kernel(ASKED["sysctl"]),
        "listening": listening(),
        "accounts": {name: account(name) for name in ASKED["accounts"]},
        "kind": ASKED["kind"],
        "timers": timers(ASKED["timers"]),
        "firewall": firewall(**ASKED["firewall"]),
        "firewall_unit": unit(ASKED["firewall_unit"]),
        "pooler": {**unit(ASKED["pooler"]["unit"]), **pooler_state(ASKED["pooler"])},
        "pgadmin": pgadmin(ASKED["pgadmin"]) if ASKED["pgadmin"] else None,
    }
    for path, secret in ASKED["files"].items():
        name = path.replace("{major}", str(major))
        found["files"][name] = file(name, secret=secret)
    for cluster in found["clusters"]:
        if (cluster["major"], cluster["name"]) == (major, ASKED["cluster"]) and cluster["running"]:
            found["server"] = server(cluster["port"])
    return found


if __name__ == "__main__":
    json.dump(gather(), sys.stdout)
    print()
