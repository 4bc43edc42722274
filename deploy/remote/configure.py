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

ASKED: dict[str, Any] = globals().get("ASKED", {})
MB = 1024**2
STATE = Path("/var/lib/casedb/configure")
# The kernel, and everything else on the machine, need some memory too.
MEMORY_SHARE = 0.9
# Told apart from the live server in everything that could collide with it or leave a trace.
OVERRIDES = {
    "listen_addresses": "",
    "port": "5432",
    "cluster_name": "casedb-preflight",
    # A fast stop of a candidate once ran its archive_command: a foreign WAL file in the archive.
    "archive_command": "",
    "restore_command": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "primary_conninfo": "",
    "logging_collector": "off",
    "log_destination": "stderr",
    "syslog_ident": "casedb-preflight",
    "fsync": "off",
    "autovacuum": "off",
}
# Overridden above or by path: what the candidate says of them is asked for without starting it.
ASKED_ALONE = (
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "cluster_name",
    "external_pid_file",
    "data_directory",
    "hba_file",
    "ident_file",
    "huge_pages",
    "archive_mode",
    "archive_command",
    "archive_library",
    "logging_collector",
    "log_directory",
)
LEFT_OUT_OF_COMPARISON = {*OVERRIDES, *ASKED_ALONE, "config_file", "archive_library"}


CHATTER = re.compile(
    "starting PostgreSQL|extension initialized|listening on|database system"
    "|shutting down|log output|checkpoint|skipping missing configuration file"
)


class Refused(Exception):  # noqa: N818
    """The candidate is not good enough; nothing has been changed."""


class Scratch:
    """The candidate in a cluster of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc = folder / "etc"
        self.data = folder / "data"
        self.bindir = Path(f"/usr/lib/postgresql/{ASKED['major']}/bin")

    def prepare(self) -> None:
        # Our postgresql.conf includes it, and not every cluster was made with one.
        if not (etc() / "conf.d").exists():
            (etc() / "conf.d").mkdir(mode=0o755)
            shutil.chown(etc() / "conf.d", "postgres", "postgres")
        shutil.copytree(etc(), self.etc, symlinks=False)
        give_to_postgres(self.folder)
        for path, file in ASKED["files"].items():
            place = self.place(path)
            if place is not None and place.is_relative_to(self.etc):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(file["content"], "utf-8")
        give_to_postgres(self.folder)

    def make_cluster(self) -> None:
        done = as_postgres(
            str(self.bindir / "initdb"), "--no-sync", "--auth=peer", "-E", "UTF8", "--locale=C",
            "-D", str(self.data),
        )  # fmt: skip
        if done.returncode != 0:
            raise Refused(f"the scratch cluster could not be made: {last_line(done)}")
        auto = live_data() / "postgresql.auto.conf"
        if auto.exists():
            shutil.copy(auto, self.data / "postgresql.auto.conf")
        for path, file in ASKED["files"].items():
            place = self.place(path)
            if place is not None and place.is_relative_to(self.data):
                place.write_text(file["content"], "utf-8")
        give_to_postgres(self.folder)

    def place(self, path: str) -> Path | None:
        """Where the live file `path` lies here."""
        for live, here in ((etc(), self.etc), (live_data(), self.data)):
            if Path(path).is_relative_to(live):
                return here / Path(path).relative_to(live)
        return None

    def options(self, *, isolated: bool) -> list[str]:
        found = {"config_file": str(self.etc / "postgresql.conf")}
        if isolated:
            found |= OVERRIDES | {
                "data_directory": str(self.data),
                "hba_file": str(self.etc / "pg_hba.conf"),
                "ident_file": str(self.etc / "pg_ident.conf"),
                "external_pid_file": str(self.folder / "pid"),
                "unix_socket_directories": str(self.folder),
                "log_directory": str(self.folder / "log"),
            }
            # Unknown before 15, and an unknown name would be refused.
            if ASKED["major"] >= 15:
                found["archive_library"] = ""
            # The live server holds the reserved pages; the arithmetic has counted them.
            if self.value("huge_pages") == "on":
                found["huge_pages"] = "try"
        return [word for name, value in found.items() for word in ("-c", f"{name}={value}")]

    def value(self, name: str, *, isolated: bool = False) -> str:
        """Return what the candidate says of one setting.

        Raises:
            Refused: the candidate cannot be read.
        """
        argv = [str(self.bindir / "postgres"), *self.options(isolated=isolated), "-C", name]
        if not isolated:
            # The live one is locked by its own server; only files are read for these.
            argv += ["-c", f"data_directory={self.data}"] if name != "data_directory" else []
        else:
            argv += ["-D", str(self.data)]
        done = as_postgres(*argv)
        if done.returncode != 0:
            raise Refused(last_line(done))
        return done.stdout.strip()

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        log = (self.folder / "server.log").open("w+")
        argv = [str(self.bindir / "postgres"), "-D", str(self.data), *self.options(isolated=True)]
        process = subprocess.Popen(
            ["runuser", "-u", "postgres", "--", *argv],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=environment(),
            start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + ASKED["timeout_s"]
            while query("SELECT 1", folder=self.folder, port=5432)[0] != "1":
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise Refused(reason(log.read()) or "it did not start in time")
                time.sleep(0.1)
            yield
        finally:
            self.stop(process)
            log.close()

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        """End it at once: a fast stop would archive, checkpoint and take its time."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def etc() -> Path:
    return Path(f"/etc/postgresql/{ASKED['major']}/{ASKED['cluster']}")


def live_data() -> Path:
    return Path(f"/var/lib/postgresql/{ASKED['major']}/{ASKED['cluster']}")


def unit() -> str:
    return f"postgresql@{ASKED['major']}-{ASKED['cluster']}.service"


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def as_postgres(*argv: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["runuser", "-u", "postgres", "--", *argv],
        input=text, capture_output=True, text=True, check=False, cwd="/", env=environment(),
        timeout=120,
    )  # fmt: skip


def query(sql: str, *, folder: Path | str = "/var/run/postgresql", port: int) -> tuple[str, str]:
    """Return what a server answers ("" if it does not) and its error."""
    try:
        done = as_postgres(
            "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(folder), "-p", str(port),
            "-d", "postgres", "-f", "-", text=sql,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "", "it did not answer in time"
    return (done.stdout.strip(), "") if done.returncode == 0 else ("", done.stderr.strip())


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    return reason(done.stderr) or reason(done.stdout) or f"exit code {done.returncode}"


def reason(text: str) -> str:
    """Return the lines that say why, without times and process numbers."""
    words = ("FATAL:", "ERROR:", "PANIC:", "LOG:", "DETAIL:", "HINT:", "postgres:", "initdb:")
    found = []
    for line in text.splitlines():
        for word in words:
            if word in line:
                found.append((word, line[line.index(word) :].strip()))
                break
    telling = [line for word, line in found if word != "LOG:" or not CHATTER.search(line)]
    return "; ".join(telling[-4:])


def give_to_postgres(folder: Path) -> None:
    subprocess.run(["chown", "-R", "postgres:postgres", str(folder)], check=True)


def cluster_port() -> int | None:
    """Return the port of the live server, or None if it does not run."""
    try:
        lines = (live_data() / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), 0)
        return int(lines[3])
    except (OSError, ValueError, IndexError):
        return None


def meminfo() -> dict[str, int]:
    """Return /proc/meminfo in bytes; pages are counted."""
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        number, *unit_name = rest.split()
        found[name] = int(number) * (1024 if unit_name else 1)
    return found


def arithmetic(scratch: Scratch) -> None:
    """Refuse what cannot fit, before anything of it is tried."""
    memory = meminfo()
    needed = int(scratch.value("shared_memory_size", isolated=True)) * MB
    there = min(memory["MemTotal"], ASKED.get("memory_limit_bytes") or memory["MemTotal"])
    if needed > there * MEMORY_SHARE:
        raise Refused(
            f"shared memory of {needed // MB} MB does not fit into {there // MB} MB of memory"
        )
    if scratch.value("huge_pages") != "on":
        return
    pages = int(scratch.value("shared_memory_size_in_huge_pages", isolated=True))
    free = memory.get("HugePages_Free", 0)
    port = cluster_port()
    if port is not None:
        held, _error = query(
            "SELECT CASE WHEN current_setting('huge_pages') = 'on'"
            " THEN current_setting('shared_memory_size_in_huge_pages') ELSE '0' END",
            port=port,
        )
        free += max(int(held or 0), 0)
    if pages > free:
        raise Refused(f"huge_pages=on needs {pages} huge pages and {free} are free")


def alone(scratch: Scratch) -> dict[str, str]:
    """Check what the scratch server cannot show, because there it is overridden."""
    found = {name: scratch.value(name) for name in ASKED_ALONE if name != "archive_library"}
    found["archive_library"] = scratch.value("archive_library") if ASKED["major"] >= 15 else ""
    for name, expected in (
        ("data_directory", live_data()),
        ("hba_file", etc() / "pg_hba.conf"),
        ("ident_file", etc() / "pg_ident.conf"),
    ):
        if Path(found[name]) != expected:
            raise Refused(f"{name} is {found[name]} and has to be {expected}")
    if found["archive_command"] not in ("", "(disabled)") and found["archive_library"]:
        raise Refused("archive_command and archive_library are both set")
    check_sockets(found)
    check_addresses(found)
    if found["logging_collector"] == "on":
        check_writable(live_data() / found["log_directory"], "log_directory")
    if found["external_pid_file"]:
        check_writable(Path(found["external_pid_file"]).parent, "external_pid_file")
    return found


def check_sockets(found: dict[str, str]) -> None:
    for folder in filter(None, (f.strip() for f in found["unix_socket_directories"].split(","))):
        if not Path(folder).is_dir():
            raise Refused(f"unix_socket_directories: {folder} is no folder")
        check_writable(Path(folder), "unix_socket_directories")


def check_addresses(found: dict[str, str]) -> None:
    port = int(found["port"])
    names = [name.strip() for name in found["listen_addresses"].split(",") if name.strip()]
    taken = port != cluster_port()
    for name in names:
        host = {"*": None, "0.0.0.0": "0.0.0.0", "::": "::"}.get(name, name)
        try:
            places = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as error:
            raise Refused(f"listen_addresses: {name}: {error.strerror or error}") from None
        problems = [problem for place in places if (problem := bind(place, port if taken else 0))]
        # A name may stand for an address of a family that this machine does not have.
        if len(problems) == len(places):
            raise Refused(f"cannot listen on {name}, port {port}: {problems[0]}")


def bind(place: Any, port: int) -> str:
    family, kind, protocol, _name, address = place
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address[0], port, *address[2:]))
            return ""
        except OSError as error:
            return error.strerror or str(error)


def check_writable(path: Path, what: str) -> None:
    while not path.exists():
        path = path.parent
    if as_postgres("test", "-w", str(path), "-a", "-d", str(path)).returncode != 0:
        raise Refused(f"{what}: postgres cannot write to {path}")


def preflight() -> tuple[list[str], dict[str, str]]:
    """Return which changed settings need a restart, and what the candidate says of its places.

    Raises:
        Refused: the candidate would not start.
    """
    home = Path("/var/lib/postgresql")
    folder = Path(tempfile.mkdtemp(prefix=".casedb-preflight-", dir=home))
    try:
        scratch = Scratch(folder)
        scratch.prepare()
        # Most mistakes are found here already, before a cluster has to be made.
        found = alone(scratch)
        scratch.make_cluster()
        arithmetic(scratch)
        with scratch.started():
            problems, error = query(HBA_PROBLEMS, folder=folder, port=5432)
            if problems or error:
                raise Refused(problems or error)
            wanted = json.loads(query(POSTMASTER_SETTINGS, folder=folder, port=5432)[0])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    port = cluster_port()
    if port is None:
        return [], found
    live = json.loads(query(POSTMASTER_SETTINGS, port=port)[0] or "{}")
    changed = [
        name
        for name, value in {**wanted, **{k: v for k, v in found.items() if k in live}}.items()
        if live.get(name) != value and (name not in LEFT_OUT_OF_COMPARISON or name in found)
    ]
    return sorted(changed), found


HBA_PROBLEMS = """
SELECT string_agg(problem, '; ') FROM (
    SELECT format('pg_hba.conf line %s: %s', line_number, error) AS problem
    FROM pg_hba_file_rules WHERE error IS NOT NULL
    UNION ALL
    SELECT format('pg_ident.conf line %s: %s', line_number, error)
    FROM pg_ident_file_mappings WHERE error IS NOT NULL
) AS found
"""
POSTMASTER_SETTINGS = """
SELECT jsonb_object_agg(name, current_setting(name)) FROM pg_settings WHERE context = 'postmaster'
"""


def keep(folder: Path) -> None:
    """Copy the files in place to `folder`: the last good configuration."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    index: dict[str, list[Any] | None] = {}
    for number, path in enumerate(ASKED["files"]):
        if Path(path).exists():
            shutil.copy2(path, folder / str(number))
            about = Path(path).stat()
            index[path] = [str(number), about.st_uid, about.st_gid]
        else:
            index[path] = None
    # Written last and whole: without it there is nothing to put back.
    write(folder / "index.json", json.dumps(index), 0o600, "root", "root")


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


def write(path: Path, content: str, mode: int, user: str, group: str) -> None:
    making = Path(f"{path}.casedb-new")
    descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    shutil.chown(making, user, group)
    making.replace(path)


def put_in_place() -> None:
    for path, file in ASKED["files"].items():
        write(Path(path), file["content"], int(file["mode"], 8), file["user"], file["group"])


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
    except Refused as refused:
        return {"result": "refused", "problem": str(refused)}
    old_port = cluster_port()
    new_port = int(found["port"])
    keep(kept)
    marker.touch()
    put_in_place()
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
