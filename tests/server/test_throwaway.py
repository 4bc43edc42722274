"""A throwaway cluster leaves nothing behind, even when its run is killed."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg

from casedb import cluster
from casedb.throwaway import sweep_throwaways, throwaway_cluster
from casedb.tools import PostgresTools

_RUN = """
import signal, sys
from pathlib import Path
from casedb.throwaway import throwaway_cluster
from casedb.tools import tools_in

with throwaway_cluster(tools_in(Path(sys.argv[1]))) as admin:
    print(admin.get("host"), flush=True)
    signal.pause()
"""


def test_a_throwaway_cluster_is_gone_afterwards(tools: PostgresTools) -> None:
    with throwaway_cluster(tools) as admin:
        home = Path(str(admin.get("host")))
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        with psycopg.connect(admin.dsn) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)

    assert not home.exists()


def test_what_a_killed_run_left_is_swept_by_the_next(tools: PostgresTools) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, str(tools.bindir)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        home = Path(child.stdout.readline().strip())
        found = cluster.postmaster(home / "data")
        assert found
        child.kill()

    swept = sweep_throwaways()

    assert swept >= 1
    deadline = time.monotonic() + 120
    while psutil.pid_exists(found.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(found.pid)
    assert not home.exists()


def test_a_living_one_is_not_swept(tools: PostgresTools) -> None:
    with throwaway_cluster(tools) as admin:
        sweep_throwaways()

        with psycopg.connect(admin.dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_folder_can_be_named_even_one_with_a_long_path(
    tools: PostgresTools, tmp_path: Path
) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()

    with throwaway_cluster(tools, folder=folder) as admin:
        (home,) = folder.iterdir()
        socket_dir = Path(str(admin.get("host")))
        assert socket_dir != home
        assert (home / "data" / "PG_VERSION").exists()
        with psycopg.connect(admin.dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)

    assert list(folder.iterdir()) == []
    assert not socket_dir.exists()


def test_the_long_paths_socket_folder_of_a_killed_run_is_swept(
    tools: PostgresTools, tmp_path: Path
) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    script = _RUN.replace("sys.argv[1]))", "sys.argv[1])), folder=Path(sys.argv[2])")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tools.bindir), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout
        left = Path(child.stdout.readline().strip())
        child.kill()

    with throwaway_cluster(tools, folder=folder):
        assert len(list(folder.iterdir())) == 1

    assert not left.exists()


def test_what_a_run_left_that_was_killed_before_its_lock_is_swept_when_it_is_old(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / "casedb-scratch-old", tmp_path / "casedb-scratch-new"
    for home in (old, new):
        home.mkdir()
        (home / "server.log").touch()
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))

    assert sweep_throwaways(tmp_path) == 1

    assert list(tmp_path.iterdir()) == [new]
