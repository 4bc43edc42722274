"""A store, a host's memory of it, a wire to the server, and the runs that are hit there."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg

from backups.catalog import Backup, catalog, read_manifest
from backups.chain import check_chain, read_head
from backups.manifest import MANIFEST
from backups.stores import LocalStore, Store
from backups.verify import verify
from casedb.conninfo import Conninfo
from tests.matrix.pipe import Pipe
from tests.matrix.server import KillableServer

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "tests" / "matrix" / "driver.py"
DATABASE = "case_management"
DELETING = {
    "rotate": ("rotate", "--apply", "--keep-last=1"),
    "expire": ("expire", "{old}", "--confirm={old}"),
}
"""The verbs that delete the old one of two backups, with their words."""


@dataclass(frozen=True)
class First:
    """A store with one backup, and what the host remembers of it; only copied."""

    store: Path
    chain: Path
    label: str


@dataclass
class Site:
    """One store, one host's memory, a wire to the server, and whoever works on them."""

    server: KillableServer
    target: Conninfo
    """As the superuser, not through the wire."""
    home: Path
    wire: Pipe
    store: Path
    first: str
    marker: Path
    url: str = ""
    """The store, as the command names it."""
    environment: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    """A program with its words, by which runs are started."""
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.url or str(self.store)

    def opened(self) -> Store:
        return LocalStore(self.store)

    @property
    def folder(self) -> Path:
        return self.store / DATABASE

    def take_in(self, label: str) -> None:
        """Put the set `label` of the folder into the store: here it is there."""

    def labels(self) -> list[str]:
        return self.opened().labels(DATABASE)

    def new_labels(self) -> list[str]:
        return [label for label in self.labels() if label != self.first]

    def debris(self) -> list[str]:
        """What lies hidden in the store, the lock file left out."""
        return sorted(
            p.name for p in self.folder.iterdir() if p.name[0] == "." and p.name != ".lock"
        )

    def partial(self) -> set[str]:
        """The names of the files of the set that is being written."""
        return {p.name for found in self.folder.glob(".partial-*") for p in found.iterdir()}

    def command(self, verb: str, *words: str) -> list[str]:
        server = [f"--conninfo=host={self.wire.folder} port=5432"] if verb == "dump" else []
        return [
            verb,
            *words,
            *server,
            f"--database={DATABASE}",
            f"--store={self.url}",
            f"--data-dir={self.home / 'data'}",
        ]

    def _start(self, argv: list[str], **environment: str) -> "subprocess.Popen[str]":
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        bindir = str(self.server.tools.bindir)
        process = subprocess.Popen(
            [*self.wrapper, sys.executable, *argv],
            cwd=ROOT,
            env={**kept, "PG_BIN": bindir, **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def start(self, place: str, verb: str, *words: str, **env: str) -> "subprocess.Popen[str]":
        """Start a run that stops at `place`; see tests/matrix/driver.py."""
        return self._start(
            [str(DRIVER), place, str(self.marker), *self.command(verb, *words)], **env
        )

    def run(self, verb: str, *words: str, **env: str) -> tuple[int, str]:
        """Run the plain command; return its exit code and what it printed."""
        process = self._start(["-m", "casedb", *self.command(verb, *words)], **env)
        return wait(process, timeout_s=180)

    def wait_until_stopped(self) -> None:
        self.wait_for(self.marker.exists, "the place was never reached")

    def wait_for(
        self, condition: Callable[[], Any], otherwise: str, *, every_s: float = 0.02
    ) -> None:
        process = self.processes[-1]

        def come() -> bool:
            if condition():
                return True
            assert process.poll() is None, (otherwise, process.communicate())
            return False

        wait_until(come, otherwise, every_s=every_s)

    def catch(
        self,
        program: str,
        is_there: Callable[[], bool],
        otherwise: str,
        *,
        may_miss: bool = False,
    ) -> tuple[int, ...]:
        """Stop all of `program` that the newest run has, while `is_there` holds; return their ids.

        To look takes time, in which they go on: who was stopped elsewhere is let go once more. With
        `may_miss` there are none if the run has come to its place, and they have ended.
        """
        caught: list[int] = []

        def caught_there() -> bool:
            has_come = self.marker.exists()
            caught[:] = freeze(self.processes[-1].pid, program)
            if caught and is_there():
                return True
            thaw(caught)
            return may_miss and has_come and not caught

        self.wait_for(caught_there, otherwise, every_s=0.005)
        return tuple(caught)

    def ask(self, query: str) -> Any:
        with psycopg.connect(self.target.dsn, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
            return row[0] if row else None

    def wait_for_gone(self, name: str) -> None:
        """Wait until no session of that name is left, which a killed run's lock goes with."""
        query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '{name}%'"
        wait_until(lambda: not self.ask(query), "the killed run's session is still there")

    def good(self) -> list[Backup]:
        """Every backup of the store; each has to be good, which is what is shown to people."""
        found = catalog(self.opened(), DATABASE)
        assert all(backup.is_good for backup in found), [b.damage for b in found]
        return found

    def require_whole(self, label: str) -> None:
        """Read every byte of a backup."""
        assert verify(self.opened(), label, tools=self.server.tools).outcome == "passed"

    def require_next_dump(self, *, altered: bool = False) -> str:
        """Dump again, at once and with nothing done before; return what came of it.

        `altered`: the first backup's manifest was changed, which the chain has to tell.
        """
        before = set(self.labels())
        began = time.monotonic()
        code, printed = self.run("dump")
        took_s = time.monotonic() - began
        assert code == 0, printed
        (label,) = set(self.labels()) - before
        self.require_whole(label)
        self.require_whole(self.first)
        assert len(self.good()) == len(before) + 1
        head = read_head(self.home / "data" / "chain", DATABASE)
        assert head is not None
        assert head.label == label
        faults = [e.label for e in check_chain(self.opened(), DATABASE, head) if e.is_fault]
        assert faults == ([self.first] if altered else [])
        return f"exit 0, verified, {took_s:.1f} s"


def make_site(
    server: KillableServer, source: Conninfo, first: First, home: Path, store: Path
) -> Site:
    """Return a site with a copy of the first backup in `store`."""
    shutil.copytree(first.store, store)
    shutil.copytree(first.chain, home / "data" / "chain")
    # A socket's path may not be long.
    wire = Pipe(Path(tempfile.mkdtemp(prefix="w-")), server.home)
    return Site(server, source, home, wire, store, first.label, home / "stopped")


def add_old(site: Site) -> str:
    """Put a backup of nine days ago into the store."""
    manifest = read_manifest(site.opened(), DATABASE, site.first)
    taken_at = manifest.started_at - timedelta(days=9)
    label = f"{DATABASE}-{taken_at:%Y%m%dT%H%M%SZ}"
    shutil.copytree(site.folder / site.first, site.folder / label)
    changed = manifest.model_copy(update={"label": label, "started_at": taken_at})
    (site.folder / label / MANIFEST).write_bytes(changed.to_bytes())
    site.take_in(label)
    site.require_whole(label)
    return label


def wait_until(condition: Callable[[], bool], otherwise: str, *, every_s: float = 0.05) -> None:
    """Wait for `condition`; fail with `otherwise` after two minutes."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(every_s)


def wait(process: "subprocess.Popen[str]", *, timeout_s: int = 120) -> tuple[int, str]:
    """Wait until a run has ended; return its exit code and what it printed."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out + err


def end(site: Site) -> None:
    """End what a test may have left running."""
    site.marker.unlink(missing_ok=True)
    for process in site.processes:
        if process.poll() is None:
            process.kill()
        if process.stdout and not process.stdout.closed:
            process.communicate()
    site.wire.close()
    shutil.rmtree(site.wire.folder)


def freeze(parent: int, program: str) -> list[int]:
    """Stop the programs of that name below the process `parent`; return their process ids."""
    stopped = []
    for child in psutil.Process(parent).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.name() == program:
                child.suspend()
                stopped.append(child.pid)
    return stopped


def thaw(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
