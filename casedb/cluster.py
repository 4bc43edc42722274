"""One cluster's life: make it, start it, see whether it runs, stop it."""

import locale
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from casedb.errors import ConfigurationError, ToolFailedError
from casedb.tools import PostgresTools, child_environment, run
from casedb.unprivileged import Launcher

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
_POLL_S = 0.05
# sizeof(sockaddr_un.sun_path) is 108 on Linux and 104 on BSD and macOS, with the closing zero.
SOCKET_PATH_MAX_BYTES = 107
_SOCKET_NAME = ".s.PGSQL.65535"
_OUR_CONF = "casedb.conf"
_LOG_LINES_SHOWN = 5


@dataclass(frozen=True)
class Postmaster:
    """What a running server wrote into postmaster.pid."""

    pid: int
    port: int
    socket_dir: str
    ready: bool


@dataclass(frozen=True)
class Settings:
    """What a new or restarted cluster is told; `server` are further lines of postgresql.conf."""

    socket_dir: Path
    port: int
    listen_addresses: str
    server: Mapping[str, str]


def create(
    tools: PostgresTools,
    data_dir: Path,
    *,
    launcher: Launcher,
    superuser: str,
    password: str | None,
    durable: bool,
) -> None:
    """Make a cluster in `data_dir`, which must not exist: UTF8, data checksums, SCRAM only.

    It appears under its name when it is complete: a run that is killed leaves only
    `data_dir`.making, which the next one throws away. Without a password the cluster trusts
    whoever reaches its socket, which is right for a throwaway one in a folder of mode 0700.

    Raises:
        ToolFailedError: if initdb fails.
    """
    making = data_dir.with_name(data_dir.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700, parents=True)
    launcher.give(making)
    with _password_file(password, launcher) as pwfile:
        argv = [
            *launcher.prefix,
            tools["initdb"],
            f"--pgdata={making}",
            f"--username={superuser}",
            "--encoding=UTF8",
            f"--locale={_utf8_locale()}",
            "--data-checksums",
            "--no-instructions",
            *([f"--pwfile={pwfile}", "--auth=scram-sha-256"] if pwfile else ["--auth=trust"]),
            *([] if durable else ["--no-sync"]),
        ]
        run(argv)
    if password:
        (making / "pg_hba.conf").write_text(
            "# Written by casedb: SCRAM for everybody, from this machine only.\n"
            "local all all scram-sha-256\n"
            "host all all 127.0.0.1/32 scram-sha-256\n"
        )
    with (making / "postgresql.conf").open("a") as conf:
        conf.write(f"\ninclude_if_exists = '{_OUR_CONF}'\n")
    launcher.give(making)
    making.rename(data_dir)


def configure(data_dir: Path, settings: Settings, *, launcher: Launcher) -> None:
    """Write casedb's own settings beside postgresql.conf, in force from the next start."""
    lines = {
        "unix_socket_directories": str(settings.socket_dir),
        "unix_socket_permissions": "0700",
        "port": str(settings.port),
        "listen_addresses": settings.listen_addresses,
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        **settings.server,
    }
    quoted = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in lines.items()]
    conf = data_dir / _OUR_CONF
    conf.write_text("# Written by casedb at every start.\n" + "\n".join(quoted) + "\n")
    conf.chmod(0o600)
    if launcher.owner:
        os.chown(conf, *launcher.owner)


def start(tools: PostgresTools, data_dir: Path, *, log: Path, launcher: Launcher) -> int:
    """Start the server of `data_dir`, wait until it takes connections, and return its pid.

    Raises:
        ToolFailedError: if it ends or is not ready in time; the detail is the end of its log.
    """
    begin = log.stat().st_size if log.exists() else 0
    pid = _spawn([*launcher.prefix, tools["postgres"], "-D", str(data_dir)], log)
    process = psutil.Process(pid)
    why = f"the server was not ready within {START_TIMEOUT_S:g} s"
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if _has_ended(process):
                why = "the server did not start"
                break
            found = postmaster(data_dir)
            if found and found.pid == pid and found.ready:
                return pid
            time.sleep(_POLL_S)
    except BaseException:
        _end(pid)
        raise
    _end(pid)
    raise ToolFailedError(why, detail=_end_of_log(log, begin), hint=f"The whole log is {log}.")


def postmaster(data_dir: Path) -> Postmaster | None:
    """Return the running server of `data_dir`, or None if none runs.

    A pid file alone proves nothing: after a crash its number may belong to another process. The
    server's working directory is its data directory, which tells it from all others.
    The file's lines are listed in the server's source, src/include/utils/pidfile.h.
    """
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    # A server that is just starting has written only the first lines.
    lines += [""] * (8 - len(lines))
    if not lines[0].strip().isdigit() or not _serves(int(lines[0]), data_dir):
        return None
    return Postmaster(
        pid=int(lines[0]),
        port=int(lines[3]) if lines[3].strip().isdigit() else 0,
        socket_dir=lines[4].strip(),
        ready=lines[7].strip() == "ready",
    )


def stop(data_dir: Path, *, how: signal.Signals = signal.SIGINT) -> bool:
    """Stop the server of `data_dir` and wait for its end; return False if none ran.

    SIGINT ends its sessions and shuts down cleanly; SIGQUIT is for a throwaway cluster.

    Raises:
        ToolFailedError: if it is another user's, or still there after a minute.
    """
    found = postmaster(data_dir)
    if found is None:
        return False
    try:
        # Held before the signal: it tells the server from whoever gets its number afterwards.
        process = psutil.Process(found.pid)
        process.send_signal(how)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied as error:
        raise ToolFailedError(
            "the server may not be stopped by this user",
            detail=f"Process {found.pid}, which serves {data_dir}, belongs to another one.",
            hint="Stop it as the user who started it.",
        ) from error
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if _has_ended(process):
            return True
        time.sleep(_POLL_S)
    raise ToolFailedError(
        f"the server did not stop within {STOP_TIMEOUT_S:g} s",
        detail=f"Process {found.pid} still serves {data_dir}.",
        hint="Look for a session that does not end, and try again.",
    )


def major_of(data_dir: Path) -> int | None:
    """Return the major version that made `data_dir`, or None if there is no cluster in it."""
    try:
        return int((data_dir / "PG_VERSION").read_text())
    except (OSError, ValueError):
        return None


def socket_fits(folder: Path) -> bool:
    """Whether a server's socket in `folder` has a path that the system allows."""
    return len(os.fsencode(folder / _SOCKET_NAME)) <= SOCKET_PATH_MAX_BYTES


def _serves(pid: int, data_dir: Path) -> bool:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return Path(process.cwd()).resolve() == data_dir.resolve()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        # Somebody else's process, whose folder we may not see: as likely as not the server
        # that another user started. Not starting a second one is the safe side.
        return "postgres" in process.name()


def _spawn(argv: list[str], log: Path) -> int:
    """Start a program that outlives us, in a session of its own: our Ctrl-C is not meant for it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawnp(
        argv[0],
        argv,
        child_environment(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _has_ended(process: psutil.Process) -> bool:
    # A server that this very process started has ended when its end has been asked for, and not
    # before: one that is dying has no working directory any more and is no zombie yet, then it is
    # a zombie, and its number in postmaster.pid keeps the next start from happening all the while.
    try:
        return os.waitpid(process.pid, os.WNOHANG)[0] == process.pid
    except ChildProcessError:
        pass
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _end(pid: int) -> None:
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGQUIT)
        os.waitpid(pid, 0)


def _utf8_locale() -> str:
    """Return C.UTF-8 where the system has it: its order never changes with an upgrade."""
    saved = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    else:
        return "C.UTF-8"
    finally:
        locale.setlocale(locale.LC_CTYPE, saved)


@contextmanager
def _password_file(password: str | None, launcher: Launcher) -> Iterator[Path | None]:
    if password is None:
        yield None
        return
    descriptor, name = tempfile.mkstemp(prefix="casedb-")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(password + "\n")
        launcher.give(path)
        yield path
    finally:
        path.unlink()


def _end_of_log(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    shown = [re.sub(r"^[\d-]+ [\d:.]+ UTC \[\d+\] ", "", line) for line in lines if line.strip()]
    return "\n".join(shown[-_LOG_LINES_SHOWN:]) or "It wrote nothing to its log."


def require_server_programs(tools: PostgresTools) -> None:
    """Raise ConfigurationError if only client programs lie in the folder of `tools`."""
    if not tools.can_serve:
        raise ConfigurationError(
            f"{tools.bindir} has no server programs",
            detail="initdb or postgres is missing there.",
            hint=f"Install the server (Debian: postgresql-{tools.major}) or choose another PG_BIN.",
        )
