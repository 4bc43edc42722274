"""A dump that is interrupted or killed leaves nothing that counts, and one that is done stays."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backups import dump as dump_module
from backups.catalog import catalog
from backups.chain import read_head
from backups.dump import dump
from backups.progress import Progress
from backups.stores import LocalStore
from backups.stores.local import LocalSet
from casedb.conninfo import Conninfo
from casedb.database import connect, open_connection
from casedb.errors import LockedError, TerminatedError
from casedb.tools import PostgresTools
from tests.backups.test_dump import leftovers


def sessions(target: Conninfo) -> list[str]:
    with connect(target, purpose="test") as connection:
        others = connection.execute(
            "SELECT application_name FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return [name for (name,) in others]


def test_a_dump_that_is_interrupted_leaves_nothing(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)

    def interrupt(progress: Progress) -> None:
        if progress.phase == "proving the tables":
            raise TerminatedError

    with pytest.raises(TerminatedError):
        dump(small, store, tools=tools, on_progress=interrupt)

    assert leftovers(store, small) == []
    # The server takes a moment to see that a client has gone.
    deadline = time.monotonic() + 60
    while (left := sessions(small)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


KILLED = """
import os, signal, sys
from pathlib import Path
from backups.dump import dump
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.tools import tools_in

dsn, store, bindir, phase = sys.argv[1:]
def show(progress):
    if progress.phase == phase:
        os.kill(os.getpid(), signal.SIGKILL)
dump(Conninfo.parse(dsn), LocalStore(Path(store)), tools=tools_in(Path(bindir)), on_progress=show)
"""


@pytest.mark.parametrize(
    "phase", ["writing the roles", "proving the tables", "reading the archive back"]
)
def test_a_killed_dump_leaves_nothing_that_looks_whole(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, phase: str
) -> None:
    store = LocalStore(tmp_path / "store")
    argv = [sys.executable, "-c", KILLED, small.dsn, str(store.root), str(tools.bindir), phase]

    killed = subprocess.run(argv, check=False)

    assert killed.returncode == -signal.SIGKILL
    assert catalog(store, small.dbname) == []
    assert len(leftovers(store, small)) == 1
    _wait_for_sessions_to_end(small)
    messages: list[str] = []
    manifest = dump(small, store, tools=tools, on_progress=lambda p: messages.append(p.phase))
    assert leftovers(store, small) == [manifest.label]
    assert any("which an interrupted run had left" in message for message in messages)


def test_what_a_living_run_writes_is_not_swept(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    seen: list[list[str]] = []

    def look(progress: Progress) -> None:
        if progress.phase == "proving the tables" and not seen:
            with pytest.raises(LockedError):
                dump(small, store, tools=tools)
            seen.append(leftovers(store, small))

    manifest = dump(small, store, tools=tools, on_progress=look)

    assert seen == [[f".partial-{manifest.label}"]]


def _wait_for_sessions_to_end(database: Conninfo) -> None:
    # The server notices a killed client when it next writes to it.
    with open_connection(database, purpose="test") as connection:
        deadline = time.monotonic() + 120
        while connection.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'").fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_signal_while_it_is_committed_stops_nothing_and_the_host_knows_of_it(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path / "store")
    commit = LocalSet.commit

    def interrupted(new: LocalSet) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        commit(new)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)

    monkeypatch.setattr(LocalSet, "commit", interrupted)
    made = dump(small, store, tools=tools, chain=tmp_path / "chain")

    head = read_head(tmp_path / "chain", small.dbname)
    assert head is not None
    assert head.label == made.label
    assert leftovers(store, small) == [made.label]


def test_a_signal_while_locks_are_given_back_comes_too_late(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def ended(_connection: object) -> Iterator[None]:
        yield
        raise TerminatedError

    store = LocalStore(tmp_path / "store")
    monkeypatch.setattr(dump_module, "maintenance_lock", ended)

    made = dump(small, store, tools=tools)

    assert leftovers(store, small) == [made.label]
