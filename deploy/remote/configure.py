"""Give one cluster a new configuration: prove it first, keep the old one, put it back if need be.

Runs on the host, as root, with ASKED set to what is wanted; prints one line of JSON. It goes on to
its end when the connection breaks: a server must not stay between two configurations.

1. The candidate is started for real in a scratch cluster beside the live one. Whatever would not
   start is refused, and nothing has been touched.
2. The old files are kept, the new ones put in place, the server reloaded, or restarted where a
   changed setting needs that and ASKED allows it.
3. A query decides. If it fails, the old files come back by themselves.
"""

import contextlib
import fcntl
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from deploy.remote.host import ASKED, Refused, cluster_port, unit
from deploy.remote.preflight import preflight
from deploy.remote.swap import keep, put_back, put_in_place, reload, restart

STATE = Path("/var/lib/casedb/configure")


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


def in_words(error: OSError) -> str:
    return f"{error.filename or 'the disk'}: {error.strerror or error}"


def main() -> int:
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ASKED.get("check_only"):
            try:
                changed, _found = preflight()
                outcome = {"result": "would apply", "needs_restart": changed}
            except Refused as refused:
                outcome = {"result": "refused", "problem": str(refused)}
            except OSError as error:
                outcome = {"result": "refused", "problem": in_words(error)}
        else:
            outcome = configure()
    # Nobody may be listening any more.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(outcome), flush=True)
        if outcome["result"] not in ("applied", "would apply"):
            print(f"{outcome['result']}: {outcome['problem']}", file=sys.stderr, flush=True)
    return 0 if outcome["result"] in ("applied", "would apply") else 1


if __name__ == "__main__":
    sys.exit(main())
