"""casedb itself, for a host: what it is made of, and the wheel. No pyinfra in here."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casedb.sqlfiles import folder
from deploy.conf import SERVICE_USER, Place

FOLDER = "/opt/casedb"
CURRENT = f"{FOLDER}/current"
INSTALLED_FILE = f"{CURRENT}/installed"
"""Names what is installed; written last, so that half an installation has none."""
COMMAND_FILE = "/usr/local/bin/casedb"
SETTINGS_FILE = "/etc/casedb/casedb.toml"
HOME = "/var/lib/casedb/home"
LOG_FOLDER = "/var/log/casedb"
LOG_FILE = f"{LOG_FOLDER}/runs.jsonl"
METRICS_FOLDER = "/var/lib/casedb/metrics"
KEY_FILE = "/etc/casedb/backup.key"
"""The secret key that opens backups: where dumps are encrypted, on the hosts that drill alone."""
CREDENTIALS_FILE = f"{HOME}/.aws/credentials"
"""Of the account, where boto3 looks for them."""
PACKAGES = ("python3-venv",)

COMMAND = f"""\
#!/bin/sh
# Written by casedb; a change made here is put back.
cd {Path(SETTINGS_FILE).parent} || exit
umask 077
[ "$(id -u)" = 0 ] || exec {CURRENT}/bin/casedb "$@"
export HOME={HOME}
verb=
for verb; do
    case $verb in -*) ;; *) break ;; esac
done
case $verb in
restore | undo-restore | drop-kept)
    # These need PostgreSQL's superuser, whom no account of the timers may be, and that account's
    # files, which postgres may not read: so root alone gets here. What they write there is given
    # to the account; nothing is to be compiled into the installation.
    exec setpriv --reuid=postgres --regid=postgres --init-groups \\
        --inh-caps=-all,+dac_override,+chown --ambient-caps=-all,+dac_override,+chown \\
        env PYTHONDONTWRITEBYTECODE=1 {CURRENT}/bin/casedb "$@"
    ;;
esac
# Else the service's account: it is the one that PostgreSQL lets in by its socket.
exec runuser -u {SERVICE_USER} -- {CURRENT}/bin/casedb "$@"
"""

_ROOT = Path(__file__).parents[1]
_SOURCES = ("casedb", "backups", "deploy", "migrations", "sql", "pyproject.toml", "README.md")
_REQUIREMENTS = "requirements/run.txt"
_building = threading.Lock()


@dataclass(frozen=True)
class Toolkit:
    """What this checkout would install on a host."""

    root: Path
    identity: str
    """A hash of all that goes in: the same on every machine that has the same checkout."""

    @property
    def requirements(self) -> str:
        """The packages it needs, each with its hashes."""
        return (self.root / _REQUIREMENTS).read_text("utf-8")

    def wheel(self, cache: Path) -> Path:
        """Return the wheel, built in a folder of `cache` if it is not there yet.

        Raises:
            ValueError: it cannot be built.
        """
        place = cache / self.identity
        with _building:
            if found := sorted(place.glob("casedb-*.whl")):
                return found[0]
            argv = [
                sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
                "--no-build-isolation", "--no-index", "--disable-pip-version-check",
                "--wheel-dir", str(place), str(self.root),
            ]  # fmt: skip
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                why = done.stderr.strip().splitlines()[-1:]
                raise ValueError(f"casedb's wheel cannot be built: {' '.join(why)}")
            return next(place.glob("casedb-*.whl"))


def toolkit(root: Path = _ROOT) -> Toolkit:
    """Return what the checkout in `root` would install.

    Raises:
        ValueError: it is no checkout.
    """
    if not (root / _REQUIREMENTS).is_file():
        raise ValueError(
            "only a checkout can install casedb on a host; run this one's .venv/bin/casedb, "
            "or say toolkit = False in the inventory"
        )
    digest = hashlib.sha256()
    for name in (*_SOURCES, _REQUIREMENTS):
        place = root / name
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{file.relative_to(root)} {content}\n".encode())
    return Toolkit(root, digest.hexdigest()[:16])


def settings_text(place: Place, *, port: int, database: str, chosen: Mapping[str, Any]) -> str:
    """Return casedb.toml for a host; `chosen` is what the inventory sets itself.

    Raises:
        ValueError: a value that TOML cannot say.
    """
    values: dict[str, Any] = {
        "conninfo": f"host=/var/run/postgresql port={port}",
        "database": database,
        "data_dir": HOME,
        "pg_bin": place.bindir,
        **chosen,
    }
    lines = ["# Written by casedb from the inventory; a change made here is put back."]
    lines += [f"{name} = {_toml(value)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def local_stores(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the folders of this host among the stores that `settings` name.

    Raises:
        ValueError: a path that is not absolute, or has what a unit file cannot say.
    """
    named = settings.get("store") or ()
    words = named.split(";") if isinstance(named, str) else named
    found = []
    for word in (word.strip() for word in words):
        path = word.removeprefix("file://")
        if "://" in path or not path:
            continue
        if not path.startswith("/") or any(ord(c) < 33 or c in '"\\' for c in path):
            raise ValueError(f"the store {path} of a host is no absolute path without spaces")
        found.append(path.rstrip("/"))
    return tuple(found)


def folders(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the account's folders beside its home, each with its mode."""
    stores = dict.fromkeys(local_stores(settings), "700")
    # The collector of metrics is another user.
    return {LOG_FOLDER: "750", METRICS_FOLDER: "755", **stores}


def migrations() -> tuple[str, ...]:
    """Return the names of the migrations that the toolkit brings, in their order."""
    files = (file.name for file in folder("migrations").glob("*.sql"))
    return tuple(sorted(n.removesuffix(".sql") for n in files if not n.endswith(".rollback.sql")))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        if any(ord(character) < 32 for character in value):
            raise ValueError("a setting has no line breaks")
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    raise ValueError(f"a setting is a text, a number or a list, not {type(value).__name__}")
