"""Old files kept, new ones in place, the server told; and back again if it does not answer."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from deploy.remote.host import ASKED, HBA_PROBLEMS, cluster_port, query, unit


def keep(folder: Path) -> None:
    """Copy the files in place to `folder`: the last good configuration.

    Raises:
        OSError: they could not be copied; those kept before still are.
    """
    making = folder.with_name(folder.name + ".new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True, mode=0o700)
    index: dict[str, list[Any] | None] = {}
    for number, path in enumerate(ASKED["files"]):
        if Path(path).exists():
            shutil.copy2(path, making / str(number))
            about = Path(path).stat()
            index[path] = [str(number), about.st_uid, about.st_gid]
        else:
            index[path] = None
    written = beside(making / "index.json", json.dumps(index), 0o600, "root", "root")
    written.replace(making / "index.json")
    shutil.rmtree(folder, ignore_errors=True)
    making.rename(folder)


def put_back(folder: Path) -> None:
    for path, kept in json.loads((folder / "index.json").read_text()).items():
        if kept is None:
            Path(path).unlink(missing_ok=True)
            continue
        name, uid, gid = kept
        making = Path(f"{path}.casedb-new")
        shutil.copy2(folder / name, making)
        os.chown(making, uid, gid)
        making.replace(path)


def beside(path: Path, content: str, mode: int, user: str, group: str) -> Path:
    """Write what `path` is to become beside it, safe on the disk; return where."""
    making = Path(f"{path}.casedb-new")
    making.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    shutil.chown(making, user, group)
    return making


def put_in_place() -> None:
    """Replace all files, or none if the disk has no room for the new ones.

    Raises:
        OSError: they could not be written; nothing has been replaced.
    """
    made = []
    try:
        for path, file in ASKED["files"].items():
            made.append(Path(f"{path}.casedb-new"))
            beside(Path(path), file["content"], int(file["mode"], 8), file["user"], file["group"])
    except OSError:
        for making in made:
            making.unlink(missing_ok=True)
        raise
    for making in made:
        making.replace(str(making).removesuffix(".casedb-new"))


def restart(port: int) -> str:
    """Restart and return the problem, if there is one."""
    old = cluster_port()
    if old is not None:
        # The stop's own checkpoint then has little left to write: the outage is shorter.
        query("CHECKPOINT", port=old)
    subprocess.run(["systemctl", "reset-failed", unit()], capture_output=True, check=False)
    subprocess.run(
        ["systemctl", "restart", unit()],
        capture_output=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return health(port)


def reload(port: int) -> str:
    before, error = query("SELECT pg_conf_load_time()", port=port)
    if error:
        return error
    query("SELECT pg_reload_conf()", port=port)
    deadline = time.monotonic() + ASKED["timeout_s"]
    while query("SELECT pg_conf_load_time()", port=port)[0] in ("", before):
        if time.monotonic() > deadline:
            return "the server did not read its configuration again"
        time.sleep(0.05)
    return health(port)


def health(port: int) -> str:
    """Return what is wrong with the live server, or nothing."""
    deadline = time.monotonic() + ASKED["timeout_s"]
    while True:
        answer, error = query(f"SELECT 'well'; {HBA_PROBLEMS}", port=port)
        if answer == "well":
            return str(ASKED.get("inject_failure", ""))
        if answer:
            return answer.removeprefix("well").strip()
        if time.monotonic() > deadline:
            return error or "the server does not answer"
        time.sleep(0.1)
