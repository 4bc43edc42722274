"""What PostgreSQL wants of the kernel, computed from its settings. Pure."""

from collections.abc import Mapping

from deploy.sizes import KB, MB, parse_size

SYSCTL_FILE = "/etc/sysctl.d/60-casedb.conf"
LIMITS_FILE = "/etc/systemd/system/postgresql@.service.d/50-casedb.conf"

ASKED = ("vm.swappiness", "vm.overcommit_memory", "vm.overcommit_ratio", "vm.nr_hugepages")
"""The kernel settings that are ours to decide."""

_REASONS = {
    "vm.swappiness": "cached files go before a server's own memory does",
    "vm.overcommit_memory": "memory that is not there is refused, rather than postgres killed",
    "vm.overcommit_ratio": "percent of the memory that may be promised",
    "vm.nr_hugepages": "shared memory of the server, computed from its settings",
}
_RATIO = 90
# What may be promised already before strict accounting starts: beyond that, logins could fail.
_PROMISED_SHARE = 0.7
_FILES = 65536

# Measured with `postgres -C shared_memory_size` (15 and 18, 2 to 128 GB, 40 to 1000 connections):
# 2.3 % of shared_buffers, 0.06 MB a connection and 20 MB are what comes on top of it.
_OVERHEAD = 1.025
_CONNECTION_BYTES = MB // 10
_FIXED_BYTES = 64 * MB


def huge_pages(settings: Mapping[str, str], *, page_bytes: int) -> int:
    """Return how many huge pages a server with `settings` takes, a little more than it needs.

    0 where its settings do not ask for them.
    """
    if settings.get("huge_pages") not in ("try", "on"):
        return 0
    needed = (
        int(_amount(settings["shared_buffers"]) * _OVERHEAD)
        + int(settings.get("max_connections", "100")) * _CONNECTION_BYTES
        + _FIXED_BYTES
    )
    return -(-needed // page_bytes)


def wanted(
    settings: Mapping[str, str],
    found: Mapping[str, str],
    memory: Mapping[str, int],
    chosen: Mapping[str, object],
) -> tuple[dict[str, str], list[str]]:
    """Return the kernel settings for a server, and notes on what is better left as it is.

    `found` are those in force, `memory` is /proc/meminfo in bytes, `chosen` is what the inventory
    sets itself (None: leave it alone).
    """
    notes = []
    values = {"vm.swappiness": "1"}
    pages = huge_pages(settings, page_bytes=memory.get("Hugepagesize") or 2 * MB)
    if pages:
        values["vm.nr_hugepages"] = str(pages)
    limit = memory["MemTotal"] * _RATIO // 100 + memory.get("SwapTotal", 0)
    strict = found.get("vm.overcommit_memory") == "2"
    if strict or memory.get("Committed_AS", 0) < limit * _PROMISED_SHARE:
        values["vm.overcommit_memory"] = "2"
        values["vm.overcommit_ratio"] = str(_RATIO)
    else:
        notes.append(
            "vm.overcommit_memory is left alone: so much memory is promised already "
            f"({memory['Committed_AS'] // MB} of {limit // MB} MB) that programs would not start"
        )
    for name, value in chosen.items():
        values.pop(name, None)
        if value is not None:
            values[name] = str(value)
    return values, notes


def sysctl_text(values: Mapping[str, str]) -> str:
    """Return the file for /etc/sysctl.d."""
    lines = ["# Written by casedb; a change made here is put back."]
    for name, value in sorted(values.items()):
        lines.append(f"# {_REASONS.get(name, 'from the inventory')}")
        lines.append(f"{name} = {value}")
    return "\n".join(lines) + "\n"


def limits_text(hard_files: int) -> str:
    """Return what the server's unit adds; never more files than this host can give.

    A limit above the hard one would keep the unit from starting.
    """
    return (
        "# Written by casedb; a change made here is put back.\n"
        "[Service]\n"
        "# Each process keeps its tables' files open.\n"
        f"LimitNOFILE={min(_FILES, hard_files)}\n"
        "# A core dump would hold case data.\n"
        "LimitCORE=0\n"
    )


def in_words(values: Mapping[str, str]) -> str:
    """Return `values` on one line, for a note.

    >>> in_words({"vm.swappiness": "1"})
    'vm.swappiness = 1'
    """
    return ", ".join(f"{name} = {v}" for name, v in sorted(values.items()))


def _amount(text: str) -> int:
    # Without a unit, PostgreSQL counts shared_buffers in blocks.
    return int(text) * 8 * KB if text.strip().isdigit() else parse_size(text)
