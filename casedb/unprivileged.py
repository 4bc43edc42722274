"""Running PostgreSQL's server programs as root: they refuse user 0, so they get another one.

In a user namespace of its own the server sees another user id while the files stay root's, so it
works in any folder that root can enter. Where namespaces are forbidden (many containers), a system
user and a folder that it can enter take their place.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from casedb.errors import ConfigurationError
from casedb.tools import PostgresTools, tools_in

_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
# postgres where a PostgreSQL package made it, nobody on every other machine.
_SYSTEM_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class Launcher:
    """How server programs are started: the words before their own, and who then owns the files."""

    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None
    """User and group id the server's files must have; None where they stay the caller's."""

    def give(self, path: Path) -> None:
        """Make `path` and all below it the server's own, if the server runs as another user."""
        if self.owner is None:
            return
        os.chown(path, *self.owner)
        for folder, names, files in os.walk(path):
            for name in (*names, *files):
                os.chown(Path(folder) / name, *self.owner, follow_symlinks=False)

    def can_enter(self, path: Path) -> bool:
        """Whether a server program started this way can read and search the folder `path`."""
        return _succeeds([*self.prefix, "sh", "-c", 'test -r "$1" && test -x "$1"', "-", str(path)])

    def reachable_tools(self, tools: PostgresTools, home: Path) -> PostgresTools:
        """Return `tools`, or a copy of them below `home` where the server's user can run them.

        A virtual environment below root's own home cannot be entered by anybody else.
        """
        if self.can_enter(tools.bindir):
            return tools
        copy = home / f"postgresql-{tools.version}"
        if not (copy / "bin" / "postgres").exists():
            making = home / f".making-postgresql-{tools.version}"
            shutil.rmtree(making, ignore_errors=True)
            shutil.copytree(tools.bindir.parent, making, symlinks=True)
            self.give(making)
            making.rename(copy)
        return tools_in(copy / "bin", source=tools.source)


def launcher() -> Launcher:
    """Return how to start server programs for the current user.

    Raises:
        ConfigurationError: as root on a machine with no way to become somebody else.
    """
    if os.geteuid() != 0:
        return Launcher()
    if namespaces_work():
        return Launcher(prefix=_NAMESPACE)
    return as_system_user()


@cache
def namespaces_work() -> bool:
    """Whether root may make a user namespace here."""
    return shutil.which("unshare") is not None and _succeeds([*_NAMESPACE, "true"])


def as_system_user() -> Launcher:
    """Return the launcher that becomes a system user, for root where namespaces are forbidden."""
    for name in _SYSTEM_USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        prefix = (
            "setpriv",
            f"--reuid={user.pw_uid}",
            f"--regid={user.pw_gid}",
            "--clear-groups",
            "--",
        )
        if shutil.which("setpriv") and _succeeds([*prefix, "true"]):
            return Launcher(prefix=prefix, owner=(user.pw_uid, user.pw_gid))
    raise ConfigurationError(
        "PostgreSQL cannot be started as root here",
        detail="User namespaces are forbidden and no system user could be taken instead.",
        hint="Run casedb as an ordinary user.",
    )


def _succeeds(argv: list[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
