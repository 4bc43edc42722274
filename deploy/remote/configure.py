"""Give one cluster a new configuration: prove it first, keep the old one, put it back if need be.

Runs on the host, as root, with ASKED set to what is wanted; prints one line of JSON. It goes on to
its end when the connection breaks: a server must not stay between two configurations.

1. The candidate is started for real in a scratch cluster beside the live one. Whatever would not
   start is refused, and nothing has been touched.
2. The old files are kept, the new ones put in place, the server reloaded, or restarted where a
   changed setting needs that and ASKED allows it.
3. A query decides. If it fails, the old files come back by themselves.
"""

import subprocess
import sys
import time
from typing import Any

from deploy.remote.host import ASKED, STATE, Refused, cluster_port, in_words, to_its_end, unit
from deploy.remote.preflight import preflight
from deploy.remote.swap import keep, put_back, put_in_place, reload, restart


def configure() -> dict[str, Any]:
    folder = STATE / f"{ASKED['major']}-{ASKED['cluster']}"
    marker = folder / "in-progress"
    kept = folder / "last-good"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if marker.exists() and (kept / "index.json").exists():
        # A run was killed between the first new file and the last.
        put_back(kept)
        marker.unlink()
    try:
        changed, found = preflight()
        keep(kept)
        marker.touch()
        put_in_place()
    except Refused as refused:
        return {"result": "refused", "problem": str(refused)}
    except OSError as error:
        # A full disk, mostly. No file has been replaced yet.
        marker.unlink(missing_ok=True)
        return {"result": "refused", "problem": in_words(error)}
    old_port = cluster_port()
    new_port = int(found["port"])
    began = time.monotonic()
    may = ASKED["restart"]
    restarting = old_port is None or (bool(changed) and may)
    problem = restart(new_port) if restarting else reload(int(old_port or new_port))
    took = round(time.monotonic() - began, 2)
    outcome: dict[str, Any] = {
        "restarted": restarting,
        "seconds": took,
        "pending": [] if restarting else changed,
    }
    if not problem:
        marker.unlink()
        return {"result": "applied", **outcome}
    put_back(kept)
    marker.unlink()
    if old_port is None:
        subprocess.run(["systemctl", "stop", unit()], capture_output=True, check=False)
        return {"result": "undone", "problem": problem, **outcome}
    ASKED.pop("inject_failure", None)
    again = restart(old_port) if restarting or cluster_port() is None else reload(old_port)
    if again:
        return {"result": "broken", "problem": f"{problem}; and after the undo: {again}", **outcome}
    return {"result": "undone", "problem": problem, **outcome}


def work() -> dict[str, Any]:
    if not ASKED.get("check_only"):
        return configure()
    try:
        changed, _found = preflight()
        return {"result": "would apply", "needs_restart": changed}
    except Refused as refused:
        return {"result": "refused", "problem": str(refused)}
    except OSError as error:
        return {"result": "refused", "problem": in_words(error)}


if __name__ == "__main__":
    sys.exit(to_its_end(work))
