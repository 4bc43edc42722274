"""The candidate configuration in a scratch cluster of its own, beside the live one."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.remote.host import (
    ASKED,
    Refused,
    as_postgres,
    environment,
    etc,
    last_line,
    live_data,
    query,
    reason,
)

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

    def named_as_live(self, text: str) -> str:
        """Return `text` with the live cluster's paths for those here: nobody knows these."""
        return text.replace(str(self.etc), str(etc())).replace(str(self.data), str(live_data()))

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


def give_to_postgres(folder: Path) -> None:
    subprocess.run(["chown", "-R", "postgres:postgres", str(folder)], check=True)
