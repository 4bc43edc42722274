"""Controls of what takes backups by itself."""

import tomllib
from collections.abc import Mapping
from typing import Any

from deploy import toolkit
from deploy.controls.base import APPLY, Control


def _timers(state: Mapping[str, Any]) -> list[str]:
    found = state["timers"]
    problems = []
    for name in found["wanted"]:
        unit = found["units"].get(name, {})
        how = f"{unit.get('activestate', 'not there')}, {unit.get('unitfilestate') or 'no unit'}"
        if how != "active, enabled":
            problems.append(f"{name} is {how}")
    problems += [f"{path} changes a timer" for path in found["dropins"]]
    dumped = any(name.startswith("casedb-dump@") for name in found["wanted"])
    if state["kind"] == "database" and not dumped:
        problems.append("no timer takes backups")
    return problems


def _confined(state: Mapping[str, Any]) -> list[str]:
    wanted = {
        "nonewprivileges": "yes", "protectsystem": "strict", "privatetmp": "yes", "umask": "0077",
    }  # fmt: skip
    problems = []
    for name, unit in state["timers"]["units"].items():
        service = unit["service"]
        if service.get("user") in ("", "root", None):
            problems.append(f"what {name} starts runs as root")
        loose = [key for key, value in wanted.items() if service.get(key) != value]
        if loose:
            problems.append(f"what {name} starts lacks {', '.join(loose)}")
    return problems


def _key(state: Mapping[str, Any]) -> list[str]:
    file = state["files"].get(toolkit.SETTINGS_FILE) or {}
    try:
        settings = tomllib.loads(file.get("content", ""))
    except tomllib.TOMLDecodeError:
        return [f"{toolkit.SETTINGS_FILE} cannot be read"]
    if state["kind"] != "database" or not settings.get("recipients"):
        return []
    there = state["files"].get(toolkit.KEY_FILE)
    return [
        *(["casedb.toml names a key_file"] if "key_file" in settings else []),
        *([f"{toolkit.KEY_FILE} lies here"] if there else []),
    ]


CONTROLS = (
    Control("backups.timers", "backups are taken and checked by themselves", APPLY,
            "backup.html", _timers, everywhere=True),
    Control("backups.confined", "what runs by itself is no root and can write nowhere else",
            APPLY, "backup.html", _confined, everywhere=True),
    Control("backups.key", "who writes encrypted backups cannot read them",
            f"move the key to a host of group drill, and remove {toolkit.KEY_FILE}",
            "backup.html", _key, everywhere=True),
)  # fmt: skip
