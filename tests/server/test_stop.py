"""Stopping a server: what is stopped can be started again."""

import subprocess
import sys
import time
from pathlib import Path

import psutil

from casedb import cluster

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
