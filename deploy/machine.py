"""What tuning has to know of a machine, and where to read it on the local one."""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

# In cgroup v1 "no limit" is a number near 2^63, rounded down to a page.
_NO_LIMIT = 1 << 60


class Disk(StrEnum):
    """What the data lie on."""

    HDD = "hdd"
    SSD = "ssd"
    SAN = "san"
    NVME = "nvme"


@dataclass(frozen=True)
class Machine:
    """The facts that decide the settings."""

    memory_bytes: int
    """The physical memory."""
    cpus: int
    disk: Disk = Disk.SSD
    memory_limit_bytes: int | None = None
    """The control group's limit, if there is one below the physical memory."""
    wal_disk_bytes: int | None = None
    """The size of the disk that the WAL lies on; None: unknown. Never what is free of it, which
    changes with every file that somebody writes: the configuration must not."""
    pg_major: int = 17
    has_lz4: bool = True
    """Whether the server was built with lz4; Debian's are."""

    @property
    def usable_bytes(self) -> int:
        """The memory that can really be had: never more than the control group allows."""
        if self.memory_limit_bytes is None:
            return self.memory_bytes
        return min(self.memory_bytes, self.memory_limit_bytes)


def machine_from_facts(
    facts: dict[str, Any], *, pg_major: int, disk: Disk | None = None
) -> Machine:
    """Return the machine that the gathered `facts` describe (deploy/remote/gather.py)."""
    limit = facts.get("memory_limit_bytes")
    return Machine(
        memory_bytes=int(facts["memory_bytes"]),
        cpus=int(facts["cpus"]),
        disk=disk or (Disk.HDD if facts.get("rotational") else Disk.SSD),
        memory_limit_bytes=int(limit) if limit else None,
        wal_disk_bytes=facts.get("data_disk_bytes"),
        pg_major=pg_major,
    )


def local_facts(root: Path = Path("/")) -> dict[str, Any]:
    """Return the facts of the machine this runs on; `root` is where proc and sys are looked for."""
    return {
        "memory_bytes": _meminfo(root, "MemTotal"),
        "memory_available_bytes": _meminfo(root, "MemAvailable"),
        "memory_limit_bytes": cgroup_limit(root),
        "cpus": len(os.sched_getaffinity(0)),
        "rotational": None,
        "data_disk_bytes": None,
    }


def cgroup_limit(root: Path = Path("/")) -> int | None:
    """Return the lowest memory limit of this process's control groups, v1 or v2; None: no limit."""
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == "":
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # A limit of any group above holds too. In a container the path may lead nowhere: then
        # what is mounted at the top is the container's own group.
        place = top / path.lstrip("/")
        for folder in (place, *place.parents):
            text = _text(folder / name).strip()
            if text.isdigit() and int(text) < _NO_LIMIT:
                found.append(int(text))
            if folder == top:
                break
    return min(found, default=None)


def _meminfo(root: Path, key: str) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == key:
            return int(rest.split()[0]) * 1024
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
