"""Gather how this host stands, in one go, as one line of JSON: timers, runs, backups, room.

Sent together with deploy/run_lines.py and deploy/remote/gather.py, with ASKED set to what is
wanted. Read-only.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from deploy.remote.gather import psql, run, shown
from deploy.run_lines import ended_at

ASKED: dict[str, Any] = globals().get("ASKED", {})
# Thousands of runs.
_LOG_BYTES = 1 << 20
# A bucket may be far away, or not answer at all.
_STATUS_TIMEOUT_S = 60
_CONNECTIONS = """
SELECT json_build_object(
    'used', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    'most', current_setting('max_connections')::int
)
"""


def timers() -> dict[str, Any]:
    """Return for each wanted timer its state, its next time, and how its service ended last."""
    _code, out, _err = run(["systemctl", "list-timers", "--all", "--output=json", "casedb-*"])
    try:
        listed = {found["unit"]: found for found in json.loads(out or "[]")}
    except ValueError:
        listed = {}
    found = {}
    for name in ASKED["timers"]:
        service = name.removesuffix(".timer") + ".service"
        about = shown(service, "ActiveState,Result,InactiveEnterTimestamp")
        found[name] = {
            **shown(name, "ActiveState,UnitFileState"),
            "next_s": (listed.get(name, {}).get("next") or 0) / 1e6 or None,
            "service": about,
        }
    return found


def runs() -> list[dict[str, Any]]:
    """Return the last run of each command and database, of those that the log's lines tell of."""
    log = Path(ASKED["log"])
    try:
        # A pipe would be waited for, and a device may have no end.
        if not log.is_file():
            return []
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _LOG_BYTES, 0))
            lines = file.read().splitlines()
    except OSError:
        return []
    found = {}
    for line in lines:
        try:
            one = json.loads(line)
        except (ValueError, RecursionError):
            # The first line may be cut.
            continue
        if ended_at(one):
            found[one["command"], one["database"]] = one
    return list(found.values())


def status(database: str) -> dict[str, Any]:
    """Return what the host's own `casedb status` says of one database."""
    words = [] if ASKED["kind"] == "database" else ["--without-server"]
    argv = [ASKED["command"], "status", "--json", "--database", database, *words]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=_STATUS_TIMEOUT_S,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout)
    except FileNotFoundError:
        return {"error": {"message": "casedb is not installed"}}
    except subprocess.TimeoutExpired:
        return {"error": {"message": f"casedb status did not end within {_STATUS_TIMEOUT_S} s"}}
    except ValueError:
        return {"error": {"message": done.stderr.strip()[-300:] or "casedb status said nothing"}}
    return found


def disk(path: str) -> dict[str, int] | None:
    """Return the room on the disk that `path` lies on, in bytes; None if it is not there."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return {"free": usage.free, "total": usage.total}


def connections() -> dict[str, Any] | None:
    """Return how many connections there are and may be; None where there is to be no server."""
    if ASKED["kind"] != "database":
        return None
    code, out, err = psql(ASKED["port"], "postgres", _CONNECTIONS)
    if code != 0:
        return {"error": " ".join(err.split())[-300:]}
    found: dict[str, Any] = json.loads(out)
    return found


if __name__ == "__main__":
    answer = {
        "kind": ASKED["kind"],
        "now_s": time.time(),
        "timers": timers(),
        "runs": runs(),
        "status": {name: status(name) for name in ASKED["databases"]},
        "disks": {path: disk(path) for path in ASKED["disks"]},
        "connections": connections(),
    }
    json.dump(answer, sys.stdout)
    print()
