"""A server of its own that a test may kill, and that comes up again."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from casedb import cluster
from casedb.conninfo import Conninfo
from casedb.errors import ToolFailedError
from casedb.tools import PostgresTools
from casedb.unprivileged import Launcher, launcher

CRASHED = "was not properly shut down; automatic recovery in progress"


@dataclass
class KillableServer:
    """A cluster of its own, which survives being killed."""

    tools: PostgresTools
    home: Path
    launcher: Launcher
    admin: Conninfo = field(init=False)

    def __post_init__(self) -> None:
        self.admin = Conninfo(
            {"host": str(self.home), "port": "5432", "dbname": "postgres", "user": "postgres"}
        )

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")

    def start(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                cluster.start(
                    self.tools, self.data_dir, log=self.home / "server.log", launcher=self.launcher
                )
                return
            except ToolFailedError:
                # The killed server's own processes still hold its memory for a moment.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def kill(self) -> int:
        """Kill the server, no shutdown, no checkpoint; return the pid that is gone."""
        return kill_cluster(self.data_dir)


def kill_cluster(data_dir: Path) -> int:
    """Kill the server of `data_dir`, and return the pid that is gone."""
    found = cluster.postmaster(data_dir)
    assert found
    cluster.stop(data_dir, how=signal.SIGKILL)
    # A zombie still answers kill(pid, 0), by which the next server would take it for alive.
    with suppress(ChildProcessError):
        os.waitpid(found.pid, 0)
    assert cluster.postmaster(data_dir) is None
    return found.pid


@contextmanager
def killable_server(tools: PostgresTools) -> Iterator[KillableServer]:
    """Run such a server for the length of the block; who kills it has to start it again."""
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        home = Path(name)
        run_as = launcher()
        run_as.give(home)
        usable = run_as.reachable_tools(tools, home)
        made = KillableServer(usable, home, run_as)
        cluster.create(
            usable,
            made.data_dir,
            launcher=run_as,
            superuser="postgres",
            password=None,
            durable=False,
        )
        settings = cluster.Settings(
            home, 5432, "", {"fsync": "off", "autovacuum": "off", "max_connections": "60"}
        )
        cluster.configure(made.data_dir, settings, launcher=run_as)
        made.start()
        try:
            yield made
        finally:
            cluster.stop(made.data_dir, how=signal.SIGQUIT)
