"""Bring pgAdmin on this host to a version, with its store, first user and servers.

Runs as root with ASKED set. What fails is undone: the version and the store of before serve again.
"""

import contextlib
import fcntl
import http.client
import json
import os
import pwd
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploy.remote.gather_pgadmin import schema, servers, store, user
from deploy.remote.install import in_use, make, run, switch, tidy

ASKED: dict[str, Any] = globals().get("ASKED", {})
# A busy machine took 76 s.
_UP_S = 240
_KEEP_FREE_BYTES = 1_500 * 1024**2


class Failed(Exception):  # noqa: N818
    """It did not come to what was asked."""


def main() -> None:
    os.umask(0o022)
    with alone():
        bring_up()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait for another run: two at once would move the store under each other."""
    with open("/run/casedb-pgadmin.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def bring_up() -> None:
    folder, identity = Path(ASKED["folder"]), ASKED["identity"]
    place, current, path = folder / identity, folder / "current", Path(ASKED["store"])
    if not (place / "installed").is_file():
        install(place)
    before = in_use(current)
    saved = plan_store(path, place, before)
    systemctl("stop", *reversed(ASKED["units"]))
    try:
        with undone(path, current, before):
            move_store(path, saved, before)
            set_up(place)
            switch(current, identity)
            start()
    except Failed as error:
        sys.exit(str(error))
    except (OSError, sqlite3.Error) as error:
        # Before the first step: the disk that has no room for a copy.
        systemctl("start", *ASKED["units"])
        sys.exit(f"pgAdmin's store cannot be copied ({error}); nothing has been changed")
    tidy(folder, identity, before)
    Path(ASKED["in_force_file"]).write_text(ASKED["in_force"])


def install(place: Path) -> None:
    above = next(p for p in place.parents if p.exists())
    free = shutil.disk_usage(above).free
    if free < _KEEP_FREE_BYTES:
        sys.exit(
            f"{above} has {free // 1024**2} MB free; pgAdmin needs {_KEEP_FREE_BYTES // 1024**2} MB"
        )

    def complete() -> None:
        (found,) = place.glob("lib/python3*/site-packages/pgadmin4")
        # A path without Python's version, for the unit.
        (place / "pgadmin4").symlink_to(found.relative_to(place))
        run(str(place / "bin/gunicorn"), "--version")

    make(place, ASKED["requirements"], complete)


def schema_of(place: Path) -> int:
    """Return the version of the store that this pgAdmin works with."""
    text = (place / "pgadmin4/pgadmin/model/__init__.py").read_text("utf-8")
    found = re.search(r"^SCHEMA_VERSION = (\d+)", text, re.MULTILINE)
    if not found:
        sys.exit(f"{place} has no SCHEMA_VERSION")
    return int(found[1])


def version(identity: str) -> tuple[int, ...]:
    return tuple(int(part) for part in identity.partition("-")[0].split("."))


def copy_of(path: Path, identity: str) -> Path:
    return path.with_name(f"{path.name}.{identity.partition('-')[0]}")


def plan_store(path: Path, place: Path, before: str) -> Path | None:
    """Return the copy that an older version gets back; refuse what it could not read."""
    if not path.exists():
        return None
    with opened(path) as found:
        has = schema(found)
    if before and version(place.name) < version(before):
        saved = copy_of(path, place.name)
        if saved.is_file():
            return saved
    if has > schema_of(place):
        sys.exit(
            f"{path} is of a newer pgAdmin (its schema is {has}, {place.name} knows "
            f"{schema_of(place)}) and there is no copy of before; nothing has been changed"
        )
    return None


def move_store(path: Path, saved: Path | None, before: str) -> None:
    """Keep a copy of the store beside it when the version changes, and bring an older one back."""
    if not path.exists():
        return
    with opened(path) as found:
        has = schema(found)
    if before and before != ASKED["identity"]:
        copy(path, copy_of(path, before))
    elif not before:
        # Of a pgAdmin that we have not installed.
        copy(path, path.with_name(f"{path.name}.schema-{has}"))
    if saved:
        copy(saved, path)


@contextlib.contextmanager
def undone(path: Path, current: Path, before: str) -> Iterator[None]:
    """Put store and version back if the block fails, and start what ran."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".undo-") as name:
        held = Path(name) / "store"
        if path.exists():
            copy(path, held)
        try:
            yield
        except BaseException as error:
            systemctl("stop", *reversed(ASKED["units"]))
            if held.exists():
                # Moved, not copied: a full disk has room for that.
                held.replace(path)
            else:
                path.unlink(missing_ok=True)
            if before:
                switch(current, before)
                systemctl("start", *ASKED["units"])
            else:
                current.unlink(missing_ok=True)
            reason = str(error) or type(error).__name__
            end = f"{before} is back in place" if before else "nothing of it runs"
            raise Failed(f"{reason}; {end}") from error


@contextlib.contextmanager
def opened(path: Path, *, writing: bool = False) -> Iterator[sqlite3.Connection]:
    found = sqlite3.connect(f"file:{path}?mode={'rw' if writing else 'ro'}", uri=True, timeout=20)
    try:
        yield found
        if writing:
            found.commit()
    except sqlite3.Error as error:
        sys.exit(f"{path} cannot be read as pgAdmin's store: {error}")
    finally:
        found.close()


def copy(source: Path, target: Path) -> None:
    """Copy a store, whole or not at all, for pgAdmin alone."""
    making = target.with_name(target.name + ".new")
    making.unlink(missing_ok=True)
    os.close(os.open(making, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with (
        contextlib.closing(sqlite3.connect(source)) as here,
        contextlib.closing(sqlite3.connect(making)) as there,
    ):
        here.backup(there)
    own(making)
    making.replace(target)


def own(path: Path) -> None:
    about = pwd.getpwnam(ASKED["user"])
    os.chown(path, about.pw_uid, about.pw_gid)


def set_up(place: Path) -> None:
    """Make or migrate the store; make the first user, his folder and his servers."""
    path = Path(ASKED["store"])
    if path.exists():
        own(path)
        path.chmod(0o600)
    first = {"PGADMIN_SETUP_EMAIL": ASKED["email"], "PGADMIN_SETUP_PASSWORD": ASKED["password"]}
    said = setup(place, "setup-db", **first)
    # What its commands print is no proof, and neither is their exit code.
    found = store(ASKED)
    if not found or found.get("schema") != schema_of(place):
        raise Failed(f"pgAdmin's store could not be made or migrated: {found}; {said}")
    if found["user"] == "missing":
        said = add_user(place)
    with opened(path, writing=True) as writing:
        writing.execute(
            "UPDATE user SET active = 1, locked = 0, login_attempts = 0"
            " WHERE username = ? AND auth_source = 'internal'",
            (ASKED["email"],),
        )
    with opened(path) as reading:
        if (is_now := user(reading, ASKED["email"], ASKED["attempts"])) != "well":
            raise Failed(f"pgAdmin's user {ASKED['email']} is {is_now}: {said}")
    for name, content in ASKED["private_files"].items():
        private(Path(name), content)
    set_servers(place, path)


def add_user(place: Path) -> str:
    entry = {
        "username": ASKED["email"], "email": ASKED["email"], "password": ASKED["password"],
        "role": "Administrator", "active": True, "auth_source": "internal",
    }  # fmt: skip
    return with_file(place, {"users": [entry]}, "load-users")


def set_servers(place: Path, path: Path) -> None:
    """Make our group of the tree what it has to be; others, and what users made, stay."""
    wanted = ASKED["servers"]
    with opened(path) as reading:
        if servers(reading, ASKED["email"], ASKED["group"]) == wanted:
            return
    with opened(path, writing=True) as writing:
        # load-servers adds to what is there, and --replace takes away what users made.
        writing.execute(
            "DELETE FROM server WHERE servergroup_id IN (SELECT g.id FROM servergroup g"
            " JOIN user u ON u.id = g.user_id WHERE g.name = ? AND u.username = ?)",
            (ASKED["group"], ASKED["email"]),
        )
    # Its checks want the parts that it can do without.
    listed = {str(n): {**s, "SSLMode": "verify-full"} for n, s in enumerate(wanted, 1)}
    said = with_file(place, {"Servers": listed}, "load-servers", "--user", ASKED["email"])
    with opened(path) as reading:
        if servers(reading, ASKED["email"], ASKED["group"]) != wanted:
            raise Failed(f"pgAdmin's servers could not be loaded: {said}")


def private(path: Path, content: str) -> None:
    for folder in (path.parents[1], path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        own(folder)
    making = path.with_name(path.name + ".new")
    making.unlink(missing_ok=True)
    with os.fdopen(os.open(making, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(content)
    own(making)
    making.replace(path)


def with_file(place: Path, content: Any, command: str, *words: str) -> str:
    """Run one of pgAdmin's commands on a file that nobody else can read."""
    descriptor, name = tempfile.mkstemp(suffix=".json")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
        own(Path(name))
        return setup(place, command, name, *words)
    finally:
        Path(name).unlink(missing_ok=True)


def setup(place: Path, *words: str, **variables: str) -> str:
    """Run one command of pgAdmin's as its user; return its last words."""
    about = pwd.getpwnam(ASKED["user"])
    done = subprocess.run(
        [str(place / "bin/python"), str(place / "pgadmin4/setup.py"), *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/",
        user=about.pw_uid, group=about.pw_gid, extra_groups=(), umask=0o077,
        # Passwords by environment: only this user and root see it, unlike a list of words.
        env={"PATH": os.environ["PATH"], "HOME": about.pw_dir, "LC_ALL": "C.UTF-8", **variables},
    )  # fmt: skip
    text = done.stdout + done.stderr
    text = text.replace(ASKED["password"], "***")
    lines = [line for line in text.splitlines() if line.strip(" -=")]
    said = "; ".join(lines[-3:])
    if done.returncode != 0:
        raise Failed(f"pgAdmin's {words[0]} failed (exit {done.returncode}): {said}")
    return said


def systemctl(verb: str, *units: str) -> None:
    subprocess.run(
        ["systemctl", verb, *units],
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip


def start() -> None:
    """Start both services and wait for their answer."""
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--quiet", *ASKED["units"])
    for unit in ASKED["units"]:
        done = subprocess.run(
            ["systemctl", "restart", unit],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Failed(f"{unit} does not start: {journal(unit)}")
    until(lambda: answer(Local(ASKED["socket"])), ASKED["units"][0])
    until(lambda: answer(secure()), ASKED["units"][1])


def until(works: Callable[[], str], unit: str) -> None:
    deadline = time.monotonic() + _UP_S
    while (said := works()) and time.monotonic() < deadline:
        time.sleep(0.5)
    if said:
        raise Failed(f"{unit} does not answer ({said}): {journal(unit)}")


class Local(http.client.HTTPConnection):
    """HTTP by a socket of this machine."""

    def __init__(self, path: str) -> None:
        super().__init__("127.0.0.1", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


def secure() -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=ASKED["authority"])
    found = http.client.HTTPSConnection(ASKED["listen"], ASKED["port"], timeout=10, context=context)
    # It may listen on an address that the certificate does not have.
    context.check_hostname = False
    return found


def answer(connection: http.client.HTTPConnection) -> str:
    """Return what is wrong with the answer to a ping, or nothing."""
    try:
        connection.request("GET", "/misc/ping", headers={"Host": "127.0.0.1"})
        found = connection.getresponse()
        found.read()
    except (OSError, http.client.HTTPException) as error:
        return f"{error}"
    finally:
        connection.close()
    return "" if found.status == 200 else f"status {found.status}"


def journal(unit: str) -> str:
    """Return the last words of a unit."""
    done = subprocess.run(
        ["journalctl", "--no-pager", "-q", "-o", "cat", "-n", "12", "-u", unit],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    chatter = re.compile("(Start|Stopp|Failed to start )|.*(Scheduled|Consumed|Deactivated)")
    telling = [line for line in done.stdout.splitlines() if not chatter.match(line)]
    return "; ".join(telling[-4:])


if __name__ == "__main__":
    main()
