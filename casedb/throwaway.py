"""Throwaway clusters for drills and tests: no TCP port, no fsync, gone afterwards."""

import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from casedb import cluster
from casedb.conninfo import Conninfo
from casedb.errors import ConfigurationError, ToolFailedError
from casedb.server import SUPERUSER
from casedb.tools import PostgresTools
from casedb.unprivileged import launcher

_FOLDER_PREFIX = "casedb-scratch-"
_SOCKET_PREFIX = "casedb-socket-"
# A run makes its folder and the lock in it within a moment.
_ABANDONED_S = 3600
# Nothing of a throwaway cluster has to outlive a crash, and much has to be loaded into it.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    # For each of the indexes that are built at once. With 256 MB a drill takes as long.
    "maintenance_work_mem": "64MB",
    "shared_buffers": "128MB",
    "autovacuum": "off",
    # Without a restart behind their back, whoever uses it finds out that it died under them, and
    # takes nothing that it did not do for somebody else's fault.
    "restart_after_crash": "off",
}
# CREATE EXTENSION refuses these in a server that has not loaded them from its start: a dump that
# has one would not restore.
_TO_BE_LOADED = ("pgaudit",)


@contextmanager
def throwaway_cluster(
    tools: PostgresTools,
    *,
    superuser: str = SUPERUSER,
    settings: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Conninfo]:
    """Run a cluster for the length of the block and yield its superuser's conninfo.

    No TCP port, no fsync, in a folder of mode 0700 below `folder` (default: the system's folder for
    temporary files) that is gone afterwards. What a killed run left is swept by the next one.

    Raises:
        ConfigurationError: no server programs.
        ToolFailedError: initdb or the server failed, or the folder cannot be written.
    """
    cluster.require_server_programs(tools)
    with writing(folder):
        sweep_throwaways(folder)
    run_as = launcher()
    with scratch_folder(_FOLDER_PREFIX, folder) as home, _socket_folder(home) as socket_dir:
        data_dir = home / "data"
        try:
            with writing(folder):
                run_as.give(home)
                run_as.give(socket_dir)
                usable = run_as.reachable_tools(tools, home)
                cluster.create(
                    usable,
                    data_dir,
                    launcher=run_as,
                    superuser=superuser,
                    password=None,
                    durable=False,
                )
                chosen = cluster.Settings(
                    socket_dir=socket_dir,
                    port=5432,
                    listen_addresses="",
                    server={**SETTINGS, **_libraries(tools), **(settings or {})},
                )
                cluster.configure(data_dir, chosen, launcher=run_as)
                cluster.start(usable, data_dir, log=home / "server.log", launcher=run_as)
            yield Conninfo(
                {"host": str(socket_dir), "port": "5432", "dbname": "postgres", "user": superuser}
            )
        finally:
            _stop(data_dir)


def _libraries(tools: PostgresTools) -> dict[str, str]:
    found = [name for name in _TO_BE_LOADED if tools.has_library(name)]
    return {"shared_preload_libraries": ",".join(found)} if found else {}


def sweep_throwaways(folder: Path | None = None) -> int:
    """Stop and remove the throwaway clusters of runs that were killed; return how many."""
    return sweep_scratch(_FOLDER_PREFIX, folder, lambda home: _stop(home / "data"))


def sweep_scratch(
    prefix: str, folder: Path | None, end: Callable[[Path], None] = lambda home: None
) -> int:
    """Remove what `scratch_folder` made for runs that were killed; return how many there were.

    `end` is called with each before, to end what may be at work in it.
    """
    swept = 0
    for home in (folder or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        alive = home / "alive"
        try:
            found = home.stat()
            # As root the folder may have been given to the server's own user.
            if os.getuid() not in (0, found.st_uid):
                continue
            with ExitStack() as stack:
                if alive.exists():
                    file = stack.enter_context(alive.open("r+"))
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                elif time.time() - found.st_mtime < _ABANDONED_S:
                    # Just being made, or somebody else removes it; else it was ended at either.
                    continue
                end(home)
                shutil.rmtree(home, ignore_errors=True)
                swept += 1
        except (OSError, ToolFailedError):
            # Alive (BlockingIOError), or already gone: another run sweeps too.
            continue
    return swept


@contextmanager
def scratch_folder(prefix: str, folder: Path | None) -> Iterator[Path]:
    """Make a folder of mode 0700 below `folder` (default: the system's), gone after the block.

    The lock on its file `alive` tells other runs that it is in use.

    Raises:
        ToolFailedError: `folder` cannot be written.
    """
    with writing(folder):
        home = Path(tempfile.mkdtemp(prefix=prefix, dir=folder)).absolute()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        with writing(folder):
            alive = stack.enter_context((home / "alive").open("w"))
            fcntl.flock(alive, fcntl.LOCK_EX)
        yield home


@contextmanager
def writing(folder: Path | None) -> Iterator[None]:
    """Say which folder for temporary files cannot be written, and where another is named."""
    try:
        yield
    except OSError as error:
        raise ToolFailedError(
            "the folder for temporary files cannot be written",
            detail=f"{error.filename or folder or 'TMPDIR'}: {error.strerror or error}.",
            hint="Name another one with room: TMPDIR, or --scratch where a verb has it.",
        ) from error


@contextmanager
def _socket_folder(home: Path) -> Iterator[Path]:
    """Yield `home`, or a folder with a shorter path if a socket in it would have too long a one."""
    if cluster.socket_fits(home):
        yield home
        return
    for left in Path(tempfile.gettempdir()).glob(f"{_SOCKET_PREFIX}*"):
        with suppress(OSError):
            if not (left / "home").resolve().exists():
                shutil.rmtree(left)
    with ExitStack() as stack:
        with writing(None):
            made = tempfile.TemporaryDirectory(prefix=_SOCKET_PREFIX)
            short = Path(stack.enter_context(made))
            # Tells the next run whose it was, once its owner was killed and `home` is swept.
            (short / "home").symlink_to(home)
        if not cluster.socket_fits(short):
            raise ConfigurationError(
                f"the folder for temporary files has too long a path: {short}",
                detail=f"A socket's path may have {cluster.SOCKET_PATH_MAX_BYTES} bytes.",
                hint="Set TMPDIR to a shorter path, such as /tmp.",
            )
        yield short


def _stop(data_dir: Path) -> None:
    with suppress(ToolFailedError):
        cluster.stop(data_dir, how=signal.SIGQUIT)
