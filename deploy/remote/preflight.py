"""Would the candidate start? Arithmetic, then its places, then a real start."""

import json
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from deploy.remote.candidate import OVERRIDES, Scratch
from deploy.remote.host import (
    ASKED,
    HBA_PROBLEMS,
    MB,
    Refused,
    as_postgres,
    cluster_port,
    etc,
    live_data,
    meminfo,
    query,
)

# The kernel, and everything else on the machine, need some memory too.
MEMORY_SHARE = 0.9
# Overridden above or by path: what the candidate says of them is asked for without starting it.
ASKED_ALONE = (
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "cluster_name",
    "external_pid_file",
    "data_directory",
    "hba_file",
    "ident_file",
    "huge_pages",
    "archive_mode",
    "archive_command",
    "archive_library",
    "logging_collector",
    "log_directory",
)
LEFT_OUT_OF_COMPARISON = {*OVERRIDES, *ASKED_ALONE, "config_file", "archive_library"}


POSTMASTER_SETTINGS = """
SELECT jsonb_object_agg(name, current_setting(name)) FROM pg_settings WHERE context = 'postmaster'
"""


def preflight() -> tuple[list[str], dict[str, str]]:
    """Return which changed settings need a restart, and what the candidate says of its places.

    Raises:
        Refused: the candidate would not start.
    """
    home = Path("/var/lib/postgresql")
    folder = Path(tempfile.mkdtemp(prefix=".casedb-preflight-", dir=home))
    scratch = Scratch(folder)
    try:
        scratch.prepare()
        # Most mistakes are found here already, before a cluster has to be made.
        found = alone(scratch)
        scratch.make_cluster()
        arithmetic(scratch)
        with scratch.started():
            problems, error = query(HBA_PROBLEMS, folder=folder, port=5432)
            if problems or error:
                raise Refused(problems or error)
            wanted = json.loads(query(POSTMASTER_SETTINGS, folder=folder, port=5432)[0])
    except Refused as refused:
        raise Refused(scratch.named_as_live(str(refused))) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    port = cluster_port()
    if port is None:
        return [], found
    live = json.loads(query(POSTMASTER_SETTINGS, port=port)[0] or "{}")
    changed = [
        name
        for name, value in {**wanted, **{k: v for k, v in found.items() if k in live}}.items()
        if live.get(name) != value and (name not in LEFT_OUT_OF_COMPARISON or name in found)
    ]
    return sorted(changed), found


def too_large(needed_bytes: int, memory_bytes: int) -> str:
    """Return why shared memory of that size does not fit; empty if it does."""
    if needed_bytes <= memory_bytes * MEMORY_SHARE:
        return ""
    return (
        f"shared memory of {needed_bytes // MB} MB does not fit into "
        f"{memory_bytes // MB} MB of memory"
    )


def arithmetic(scratch: Scratch) -> None:
    """Refuse what cannot fit, before anything of it is tried."""
    memory = meminfo()
    needed = int(scratch.value("shared_memory_size", isolated=True)) * MB
    there = min(memory["MemTotal"], ASKED.get("memory_limit_bytes") or memory["MemTotal"])
    if problem := too_large(needed, there):
        raise Refused(problem)
    if scratch.value("huge_pages") != "on":
        return
    pages = int(scratch.value("shared_memory_size_in_huge_pages", isolated=True))
    free = memory.get("HugePages_Free", 0)
    port = cluster_port()
    if port is not None:
        held, _error = query(
            "SELECT CASE WHEN current_setting('huge_pages') = 'on'"
            " THEN current_setting('shared_memory_size_in_huge_pages') ELSE '0' END",
            port=port,
        )
        free += max(int(held or 0), 0)
    if pages > free:
        raise Refused(f"huge_pages=on needs {pages} huge pages and {free} are free")


def alone(scratch: Scratch) -> dict[str, str]:
    """Check what the scratch server cannot show, because there it is overridden."""
    found = {name: scratch.value(name) for name in ASKED_ALONE if name != "archive_library"}
    found["archive_library"] = scratch.value("archive_library") if ASKED["major"] >= 15 else ""
    for name, expected in (
        ("data_directory", live_data()),
        ("hba_file", etc() / "pg_hba.conf"),
        ("ident_file", etc() / "pg_ident.conf"),
    ):
        if Path(found[name]) != expected:
            raise Refused(f"{name} is {found[name]} and has to be {expected}")
    if found["archive_command"] not in ("", "(disabled)") and found["archive_library"]:
        raise Refused("archive_command and archive_library are both set")
    check_sockets(found)
    port = int(found["port"])
    check_addresses(
        "listen_addresses", found["listen_addresses"], port, held=port == cluster_port()
    )
    if found["logging_collector"] == "on":
        check_writable(live_data() / found["log_directory"], "log_directory")
    if found["external_pid_file"]:
        check_writable(Path(found["external_pid_file"]).parent, "external_pid_file")
    return found


def check_sockets(found: dict[str, str]) -> None:
    for folder in filter(None, (f.strip() for f in found["unix_socket_directories"].split(","))):
        if not Path(folder).is_dir():
            raise Refused(f"unix_socket_directories: {folder} is no folder")
        check_writable(Path(folder), "unix_socket_directories")


def check_addresses(what: str, addresses: str, port: int, *, held: bool) -> None:
    """Refuse addresses that cannot be listened on; `held`: it is ours that has the port now."""
    for name in (name.strip() for name in addresses.split(",") if name.strip()):
        host = {"*": None, "0.0.0.0": "0.0.0.0", "::": "::"}.get(name, name)
        try:
            places = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as error:
            raise Refused(f"{what}: {name}: {error.strerror or error}") from None
        problems = [problem for place in places if (problem := bind(place, 0 if held else port))]
        # A name may stand for an address of a family that this machine does not have.
        if len(problems) == len(places):
            raise Refused(f"cannot listen on {name}, port {port}: {problems[0]}")


def bind(place: Any, port: int) -> str:
    family, kind, protocol, _name, address = place
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address[0], port, *address[2:]))
            return ""
        except OSError as error:
            return error.strerror or str(error)


def check_writable(path: Path, what: str) -> None:
    while not path.exists():
        path = path.parent
    if as_postgres("test", "-w", str(path), "-a", "-d", str(path)).returncode != 0:
        raise Refused(f"{what}: postgres cannot write to {path}")
