"""Stopping a server: what is stopped can be started again."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from casedb import cluster
from casedb.errors import ToolFailedError

# What the kernel does with a process that is killed: its working directory goes first, and for a
# while it is neither there nor dead.
DYING = """
import os, signal, time
def die(*_):
    os.chdir("/")
    time.sleep(0.5)
    os._exit(0)
signal.signal(signal.SIGINT, die)
print("serving", flush=True)
time.sleep(60)
"""


def test_a_server_that_is_dying_is_waited_for(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", DYING]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stdout.readline() == b"serving\n"
        (tmp_path / "postmaster.pid").write_text(f"{server.pid}\n")
        begin = time.monotonic()

        assert cluster.stop(tmp_path)

        assert time.monotonic() - begin >= 0.5
        # Not even a zombie: its number would keep the next server from starting.
        assert not psutil.pid_exists(server.pid)


def test_a_folder_that_nobody_serves_is_no_server(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text("1\n")

    assert not cluster.stop(tmp_path)


def test_another_users_server_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel answers a user who is not root: the tests may run as root."""

    def denied(process: psutil.Process, _signal: int) -> None:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "send_signal", denied)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n")

    with pytest.raises(ToolFailedError, match="may not be stopped by this user") as caught:
        cluster.stop(tmp_path)
    assert caught.value.hint == "Stop it as the user who started it."
