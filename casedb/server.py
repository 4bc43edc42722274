"""The embedded server of a checkout.

Below its home (`.casedb/` in the checkout) lie: data/ the cluster, pgpass the passwords (0600),
server.log, backups/ the local store, server.json what was chosen, lock.
"""

import hashlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from casedb import cluster
from casedb.conninfo import Conninfo
from casedb.errors import ConfigurationError, RefusedError, ServerUnreachableError, ToolFailedError
from casedb.home import prepare_home, unusable
from casedb.locks import file_lock
from casedb.passfile import read_passfile, write_passfile
from casedb.tools import PostgresTools
from casedb.unprivileged import Launcher, launcher

SUPERUSER = "postgres"
# Of folders in a place for temporary files: what it is, and whose.
_FOLDER_PREFIX = "casedb-home-"
_DEVELOPMENT = {
    "max_connections": "50",
    "shared_buffers": "128MB",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_min_duration_statement": "-1",
}


@dataclass(frozen=True)
class ServerStatus:
    """What there is of the embedded server."""

    home: Path
    data_dir: Path
    running: bool
    pid: int | None
    port: int | None
    socket_dir: str | None
    major: int | None
    """The major version of the data directory; None if there is none yet."""
    problem: str | None
    """Why it cannot be started as it lies there; None if nothing is known against it."""


@dataclass(frozen=True)
class Started:
    """What `start` found and did."""

    created: bool
    already_running: bool
    mended: tuple[str, ...]
    """What an earlier crash had left and was put right, in words for people."""


class EmbeddedServer:
    """The private server below one home folder."""

    def __init__(self, home: Path, *, run_as: Launcher | None = None) -> None:
        self.home = home.absolute()
        self._launcher = run_as or launcher()

    @property
    def data_dir(self) -> Path:
        """The cluster's data directory."""
        return self._cluster_home / "data"

    @property
    def passfile(self) -> Path:
        """The passwords of the superuser and the login roles, mode 0600, in libpq's format."""
        return self.home / "pgpass"

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self._cluster_home / "server.log"

    def status(self) -> ServerStatus:
        """Return what there is, without changing anything."""
        found = cluster.postmaster(self.data_dir) if self.data_dir.exists() else None
        return ServerStatus(
            home=self.home,
            data_dir=self.data_dir,
            running=found is not None,
            pid=found.pid if found else None,
            port=found.port if found else None,
            socket_dir=found.socket_dir if found else None,
            major=cluster.major_of(self.data_dir),
            problem=self._problem(),
        )

    def start(self, tools: PostgresTools, *, on_step: Callable[[str], None] = print) -> Started:
        """Make the cluster if there is none, start it if it does not run, mend what a crash left.

        Raises:
            ConfigurationError: the data directory cannot be used with `tools`, or at all.
            LockedError: another run starts or stops it right now.
            ToolFailedError: initdb or the server failed.
        """
        self._prepare_home()
        with file_lock(self.home / "lock", what=f"the server in {self.home}"):
            if cluster.postmaster(self.data_dir):
                return Started(created=False, already_running=True, mended=())
            cluster.require_server_programs(tools)
            if problem := self._problem(tools.major):
                raise problem_error(self.data_dir, problem)
            usable = self._launcher.reachable_tools(tools, self._cluster_home)
            mended = self._mend()
            created = not self.data_dir.exists()
            if created:
                on_step(f"making a PostgreSQL {tools.version} cluster")
                self._create(usable)
            on_step("starting the server")
            self._start(usable)
            return Started(created=created, already_running=False, mended=tuple(mended))

    def stop(self) -> bool:
        """Stop the server and keep its data; return False if it was not running."""
        if not self.home.exists():
            return False
        with file_lock(self.home / "lock", what=f"the server in {self.home}"):
            return cluster.stop(self.data_dir)

    def remove_data(self) -> None:
        """Stop the server and delete its cluster. Backups stay; the caller has asked before."""
        self.stop()
        with file_lock(self.home / "lock", what=f"the server in {self.home}"):
            if self.data_dir.exists():
                # One rename first: a run killed half-way must not leave half a data directory.
                going = self.data_dir.with_name("data.removing")
                shutil.rmtree(going, ignore_errors=True)
                self.data_dir.rename(going)
                shutil.rmtree(going)
            self.passfile.unlink(missing_ok=True)

    def conninfo(self, *, dbname: str, user: str) -> Conninfo:
        """Return how `user` reaches `dbname` on the running server, over its socket.

        Raises:
            ServerUnreachableError: if the server does not run.
        """
        found = cluster.postmaster(self.data_dir) if self.data_dir.exists() else None
        if found is None:
            known = cluster.major_of(self.data_dir) is not None
            raise ServerUnreachableError(
                "the embedded server is not running",
                detail=f"Its home is {self.home}."
                if known
                else f"There is none yet in {self.home}, and no other server is configured.",
                hint="Start it with `casedb up`.",
            )
        return Conninfo(
            {
                "host": found.socket_dir,
                "port": str(found.port),
                "dbname": dbname,
                "user": user,
                "passfile": str(self.passfile),
            }
        )

    def passwords(self) -> dict[str, str]:
        """Return the passwords in the passfile, by role."""
        return read_passfile(self.passfile)

    def add_passwords(self, roles: Iterable[str]) -> dict[str, str]:
        """Return a password for each of `roles`, made and kept in the passfile where missing."""
        roles = tuple(roles)
        known = self.passwords()
        missing = {role: secrets.token_urlsafe(24) for role in roles if role not in known}
        if missing:
            write_passfile(self.passfile, {**known, **missing})
        return {role: {**known, **missing}[role] for role in roles}

    @property
    def _cluster_home(self) -> Path:
        """Where the cluster lies: the home, or a place that the server's own user can enter."""
        if self._launcher.owner is None or not self.home.exists():
            return self.home
        if self._launcher.can_enter(self.home):
            return self.home
        tag = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        return Path("/var/tmp") / f"{_FOLDER_PREFIX}{os.getuid()}-{tag}"

    def _prepare_home(self) -> None:
        prepare_home(self.home)
        try:
            if self._cluster_home != self.home:
                _own_folder(self._cluster_home)
                self._launcher.give(self._cluster_home)
        except OSError as error:
            raise unusable(self.home, error) from error

    def _problem(self, major: int | None = None) -> str | None:
        if not self.data_dir.exists():
            return None
        made_by = cluster.major_of(self.data_dir)
        if made_by is None or not (self.data_dir / "global" / "pg_control").exists():
            return "it is not a complete PostgreSQL data directory"
        if major is not None and made_by != major:
            return f"it was made by PostgreSQL {made_by}, and the programs chosen are {major}"
        return None

    def _mend(self) -> list[str]:
        mended = []
        for left in ("data.making", "data.removing"):
            folder = self._cluster_home / left
            if folder.exists():
                shutil.rmtree(folder)
                mended.append(f"removed {left}, which an interrupted run had left")
        pid_file = self.data_dir / "postmaster.pid"
        if pid_file.exists():
            # `start` has seen that nobody serves this folder. PostgreSQL itself would refuse if
            # the number in the file belongs to some other living process.
            pid_file.unlink()
            mended.append("removed the stale postmaster.pid of a server that had crashed")
        return mended

    def _create(self, tools: PostgresTools) -> None:
        password = secrets.token_urlsafe(24)
        # The passfile first: a cluster whose password nobody knows could not be used.
        write_passfile(self.passfile, {SUPERUSER: password})
        cluster.create(
            tools,
            self.data_dir,
            launcher=self._launcher,
            superuser=SUPERUSER,
            password=password,
            durable=True,
        )

    def _start(self, tools: PostgresTools) -> None:
        attempts = 3
        for attempt in range(1, attempts + 1):
            settings = cluster.Settings(
                socket_dir=self._socket_dir(),
                port=free_port(),
                listen_addresses="127.0.0.1",
                server=_DEVELOPMENT,
            )
            cluster.configure(self.data_dir, settings, launcher=self._launcher)
            try:
                cluster.start(tools, self.data_dir, log=self.log, launcher=self._launcher)
                return
            except ToolFailedError as error:
                # Somebody took the port meanwhile, or the last backend of a killed server is
                # still on its way out.
                passing = ("Address already in use", "shared memory block")
                if attempt == attempts or not any(p in (error.detail or "") for p in passing):
                    raise

    def _socket_dir(self) -> Path:
        if cluster.socket_fits(self._cluster_home):
            return self._cluster_home
        tag = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        short = Path(tempfile.gettempdir()) / f"{_FOLDER_PREFIX}{os.getuid()}-{tag}"
        _own_folder(short)
        self._launcher.give(short)
        return short


def problem_error(data_dir: Path, problem: str) -> ConfigurationError:
    """Return the error for a data directory that cannot be used; it is never deleted for that."""
    return ConfigurationError(
        f"the data directory {data_dir} cannot be used",
        detail=f"Because {problem}.",
        hint="Choose its own version with PG_BIN or pg_major, move the folder away, or choose "
        "another home with CASEDB_DATA_DIR.",
    )


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _own_folder(path: Path) -> None:
    """Make `path` with mode 0700, or refuse one that somebody else made in a shared folder."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    ours = found.st_uid == os.getuid() or path.owner() in {"postgres", "nobody"}
    if not path.is_dir() or path.is_symlink() or not ours or found.st_mode & 0o077:
        raise RefusedError(
            f"{path} belongs to somebody else or is open to others",
            detail="A server's socket there could be replaced by another one.",
            hint="Remove it, or set TMPDIR to a folder of your own.",
        )
