"""A restore that runs as on-call runs it, and stands still at a place that a test has named."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import LiteralString

import pytest
from psycopg import sql

from casedb.database import open_connection
from tests.restore.commands import environment, run_words
from tests.restore.conftest import Night

# The real front door; only the progress it shows is replaced, by one that stops at a phase, or one
# function (MODULE:NAME), by itself and a stop.
DRIVER = """
import contextlib, importlib, sys, time
from pathlib import Path
from casedb.cli import restore
from casedb.cli.main import main

stop_at, marker = sys.argv[1], Path(sys.argv[2])
stopped = []

def stop():
    if not stopped:
        stopped.append(True)
        marker.touch()
        while marker.exists():
            time.sleep(0.02)

@contextlib.contextmanager
def progress(what):
    yield lambda step: stop() if step.phase == stop_at else None

restore.progress = progress
if ":" in stop_at:
    module, _, name = stop_at.partition(":")
    module = importlib.import_module(module)
    function = getattr(module, name)

    def and_stop(*words, **more):
        found = function(*words, **more)
        stop()
        return found

    setattr(module, name, and_stop)
main(sys.argv[3:])
"""
FIRST_NAME = "while the first name is changed"
SECOND_NAME = "when both names are changed, before the commit"
PLACES = ("checking the bytes", "restoring", "comparing the tables", FIRST_NAME, SECOND_NAME)


def words(night: Night) -> list[str]:
    return ["restore", night.label, *night.words, "--confirm", night.name]


@contextmanager
def running(
    night: Night, folder: Path, stop_at: str, *more: str, reader: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    driver, marker = folder / "driver.py", folder / "marker"
    driver.write_text(DRIVER)
    (folder / "casedb.toml").touch()
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(driver), stop_at, str(marker), *words(night), *more],
            cwd=folder,
            env={**environment(night), "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.DEVNULL,
            stdout=reader or output,
            stderr=reader or output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[bytes] | None = None
) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not come so far"
        if process and process.poll() is not None:
            pytest.fail("it ended too early")
        time.sleep(0.02)


def again(night: Night, folder: Path) -> str:
    code, said = run_words(night, folder, *words(night))
    assert code == 0, said
    return said


def identity(night: Night) -> int:
    query = f"SELECT oid::bigint FROM pg_database WHERE datname = '{night.name}'"
    return int(night.ask(query, "postgres") or 0)


def unfinished(night: Night) -> list[str]:
    return [name for name in night.databases() if re.search("_restoring_[0-9a-f]{6}$", name)]


def is_waiting(night: Night, purpose: str = "rename") -> bool:
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        f" WHERE application_name = 'casedb restore: {purpose}' AND wait_event_type = 'Lock'"
    )
    return bool(night.ask(query, "postgres"))


def is_delivered(process: subprocess.Popen[bytes]) -> bool:
    """Whether no signal waits any more to be taken by `process`."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return not any(int(mask, 16) for mask in re.findall(r"(?:Sig|Shd)Pnd:\s+(\w+)", status))


def nobody_restores(night: Night) -> bool:
    query = (
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'casedb restore%'"
    )
    return bool(night.ask(query, "postgres"))


@contextmanager
def stopped_at(
    night: Night, folder: Path, place: str, *more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a restore up to `place`, and yield it while it stands there."""
    marker = folder / "marker"
    if place not in (FIRST_NAME, SECOND_NAME):
        with running(night, folder, place, *more) as process:
            wait_until(marker.exists, process)
            yield process
            marker.unlink(missing_ok=True)
        return
    with running(night, folder, "backups.replace:_swap", *more) as process:
        wait_until(marker.exists, process)
        # The first RENAME waits for the name; what is set once both are done, for the settings.
        with holding(night, night.name, NAME if place == FIRST_NAME else SETTINGS):
            marker.unlink()
            wait_until(lambda: is_waiting(night), process)
            yield process


# What each keeps a lock on until its transaction ends: the row of settings, or the name.
SETTINGS = "ALTER DATABASE {} SET work_mem = '8MB'"
NAME = "COMMENT ON DATABASE {} IS ''"


@contextmanager
def holding(night: Night, database: str, what: LiteralString = SETTINGS) -> Iterator[None]:
    """Let whoever sets something of `database`, or drops it (NAME), wait for the block's end."""
    with closing(open_connection(night.admin, purpose="test", autocommit=False)) as holder:
        holder.execute(sql.SQL(what).format(sql.Identifier(database)))
        yield
