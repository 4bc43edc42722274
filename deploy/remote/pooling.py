"""Give PgBouncer a new configuration: prove it first, keep the old one, put it back if need be.

Runs on the host, as root, with ASKED set to what is wanted; prints one line of JSON.

1. The candidate is started beside the live one, on a port and in a folder of its own. It has to
   take every line, to show its certificate, and to log in to the server and ask for a verifier.
   PgBouncer itself only warns of a rule that it does not understand, and goes on without it.
2. The old files are kept, the new ones put in place, PgBouncer reloaded or, where ASKED says so,
   restarted: its clients then lose their connections.
3. The same questions decide. If they fail, the old files come back by themselves.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.remote.host import ASKED, Refused, environment, in_words, to_its_end
from deploy.remote.pooler_probe import ask, config, first_password, live_port, served, way
from deploy.remote.preflight import check_addresses
from deploy.remote.swap import keep, put_back, put_in_place

_PROGRAM = "/usr/sbin/pgbouncer"
_PORT_OF_DEBIAN = 6432
# What is another while a candidate is tried, or is no way in.
_PLACES = frozenset({"listen_addr", "listen_port", "unix_socket_dir", "auth_file", "auth_hba_file"})


def pooling() -> dict[str, Any]:
    folder = Path(ASKED["state_folder"])
    marker, kept = folder / "in-progress", folder / "last-good"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if marker.exists() and (kept / "index.json").exists():
        # A run was killed between the first new file and the last.
        put_back(kept)
        marker.unlink()
    was_active = is_active()
    try:
        prove()
        keep(kept)
        marker.touch()
        put_in_place()
    except Refused as refused:
        return {"result": "refused", "problem": str(refused)}
    except OSError as error:
        marker.unlink(missing_ok=True)
        return {"result": "refused", "problem": in_words(error)}
    restarting = ASKED["restart"] or not was_active
    problem = bring_in(restarting=restarting)
    # Without a restart it stays at its port, even if another is asked for.
    port = ASKED["port"] if restarting else live_port(ASKED["sockets"]) or ASKED["port"]
    problem = problem or renew(port) or health(ASKED["sockets"], port)
    if problem:
        put_back(kept)
        marker.unlink()
        again = bring_in(restarting=restarting) if was_active else stop()
        if again:
            return {"result": "broken", "problem": f"{problem}; and after the undo: {again}"}
        return {"result": "undone", "problem": problem}
    marker.unlink()
    return {"result": "applied", "restarted": restarting}


def prove() -> None:
    """Try the candidate.

    Raises:
        Refused: it is not good enough; nothing has been touched.
    """
    # Debian starts one with the package, whose console is not ours to ask.
    live = live_port(ASKED["sockets"]) or _PORT_OF_DEBIAN
    held = is_active() and live == ASKED["port"]
    check_addresses("listen_addr", ASKED["settings"]["listen_addr"], ASKED["port"], held=held)
    folder = Path(tempfile.mkdtemp(prefix="casedb-pooler-", dir="/run"))
    try:
        with candidate(folder) as port:
            if problem := health(folder, port, apart=_PLACES):
                raise Refused("; ".join([problem, *of_the_server(folder / "log")]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def candidate(folder: Path) -> Iterator[int]:
    """Start the candidate in `folder`; yields its port."""
    paths = {}
    for path, file in ASKED["files"].items():
        paths[path] = folder / Path(path).name
        paths[path].touch(mode=0o600)
        paths[path].write_text(file["content"], "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    # What comes last counts.
    apart = {
        "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": folder, "pidfile": "",
        "logfile": "", "auth_file": paths[ASKED["passwords_file"]],
        "auth_hba_file": paths[ASKED["rules_file"]],
    }  # fmt: skip
    ini = paths[ASKED["ini_file"]]
    with ini.open("a") as text:
        # Ours ends with section [pgbouncer]; a second one would begin with the defaults again.
        text.write("".join(f"{name} = {value}\n" for name, value in apart.items()))
    subprocess.run(["chown", "-R", f"{ASKED['account']}:", str(folder)], check=True)
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["runuser", "-u", ASKED["account"], "--", _PROGRAM, str(ini)],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/", env=environment(),
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + ASKED["timeout_s"]
        while config(folder, port)[1]:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Refused(reasons(log, folder) or "it did not start in time")
            time.sleep(0.1)
        if problem := reasons(log, folder):
            raise Refused(problem)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def reasons(log: Path, folder: Path) -> str:
    """Return the log's warnings and errors, with the live files' names."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        for word in ("WARNING ", "ERROR ", "FATAL "):
            # Lines about one client or server say so in psql's words as well.
            if word in line and "@" not in line:
                said = line[line.index(word) + len(word) :]
                found.append(said.replace(str(folder), str(Path(ASKED["ini_file"]).parent)))
    return "; ".join(dict.fromkeys(found))


def of_the_server(log: Path) -> list[str]:
    """Return what the log says of connections to the server that came to nothing."""
    lines = re.findall(r"S-0x\S+ \S+@(\S+) (.*)", log.read_text(errors="replace"))
    said = [
        f"{address}: {re.sub('closing because: | .age=.*', '', text)}"
        for address, text in lines
        if not text.startswith(("new connection", "SSL established"))
    ]
    return list(dict.fromkeys(said))


def bring_in(*, restarting: bool) -> str:
    """Let PgBouncer take what is in place; return the problem, if there is one."""
    run("systemctl", "daemon-reload")
    if not restarting:
        return run("systemctl", "reload", ASKED["unit"])
    run("systemctl", "reset-failed", ASKED["unit"])
    return run("systemctl", "restart", ASKED["unit"])


def renew(port: int) -> str:
    """Have each session with the server end when its client's transaction does; return the problem.

    One that was used while the reset was off still has what that client left in it, and a reload
    keeps it for the next one. Clients notice nothing.
    """
    return ask(ASKED["sockets"], port, "RECONNECT;", user="pgbouncer", database="pgbouncer")[1]


def health(folder: Path | str, port: int, *, apart: frozenset[str] = frozenset()) -> str:
    """Return what is wrong with the PgBouncer in `folder`; nothing: it is as wanted.

    `apart` are settings that differ there, and those that wait for a restart do for now.
    """
    left_out = {*apart, *ASKED["pending"]}
    wanted = {name: value for name, value in ASKED["settings"].items() if name not in left_out}
    deadline = time.monotonic() + ASKED["timeout_s"]
    while True:
        found, problem = config(folder, port)
        problem = problem or "; ".join(
            f"{name} is {found[name]['value'] if name in found else 'unknown'}, not {value}"
            for name, value in wanted.items()
            if name not in found or found[name]["value"] != value
        )
        if not problem or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    secret = first_password(ASKED["files"][ASKED["passwords_file"]]["content"])
    return (
        problem
        or served(first_address(found), port, Path(ASKED["authority_file"]))
        or way(folder, port, ASKED["database"], secret)
        or str("" if apart else ASKED.get("inject_failure", ""))
    )


def first_address(found: dict[str, dict[str, str]]) -> str:
    """Return an address that it listens on."""
    first = found["listen_addr"]["value"].split(",")[0].strip()
    return {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(first, first)


def is_active() -> bool:
    return run("systemctl", "is-active", "--quiet", ASKED["unit"]) == ""


def stop() -> str:
    return run("systemctl", "stop", ASKED["unit"])


def run(*argv: str) -> str:
    """Return what the program said if it failed; nothing if it did not."""
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode == 0:
        return ""
    return " ".join(done.stderr.split()) or f"{argv[0]} ended with {done.returncode}"


if __name__ == "__main__":
    sys.exit(to_its_end(pooling))
