"""The embedded server is made, found, stopped, and survives what happens to servers."""

import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError, LockedError, ServerUnreachableError
from casedb.locks import file_lock
from casedb.server import EmbeddedServer
from casedb.tools import PostgresTools
from casedb.unprivileged import as_system_user


def silent(_step: str) -> None:
    """Tell nobody."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that has not been made yet, in a folder of its own; stopped after the test."""
    made = EmbeddedServer(tmp_path / "home")
    yield made
    if made.home.exists():
        made.stop()


def admin(server: EmbeddedServer) -> Conninfo:
    return server.conninfo(dbname="postgres", user="postgres")


def setting(server: EmbeddedServer, name: str) -> str:
    with connect(admin(server), purpose="test") as connection:
        return str(scalar(connection, "SELECT current_setting(%s)", name))


def test_a_new_server_is_what_the_documentation_promises(
    server: EmbeddedServer, tools: PostgresTools
) -> None:
    started = server.start(tools, on_step=silent)

    assert started.created
    assert setting(server, "data_checksums") == "on"
    assert setting(server, "server_encoding") == "UTF8"
    assert setting(server, "listen_addresses") == "127.0.0.1"
    assert setting(server, "password_encryption") == "scram-sha-256"
    assert stat.S_IMODE(server.passfile.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.home.stat().st_mode) == 0o700
    assert (server.home / ".gitignore").read_text() == "*\n"


def test_a_second_start_finds_it_running(server: EmbeddedServer, tools: PostgresTools) -> None:
    server.start(tools, on_step=silent)
    pid = server.status().pid

    again = server.start(tools, on_step=silent)

    assert again.already_running
    assert server.status().pid == pid


def test_neither_socket_nor_port_lets_anybody_in_without_the_password(
    server: EmbeddedServer, tools: PostgresTools
) -> None:
    server.start(tools, on_step=silent)
    words = admin(server).replace(passfile="/dev/null")
    port = server.status().port

    for target in (words, words.replace(host="127.0.0.1", port=port)):
        with pytest.raises(ServerUnreachableError) as caught, connect(target, purpose="test"):
            pass
        assert "no password supplied" in str(caught.value.detail)


def test_a_wrong_password_is_one_clear_error_without_the_password(
    server: EmbeddedServer, tools: PostgresTools
) -> None:
    server.start(tools, on_step=silent)
    wrong = admin(server).replace(password="not-the-right-one")

    with (
        pytest.raises(ServerUnreachableError, match="cannot connect") as caught,
        connect(wrong, purpose="test"),
    ):
        pass

    assert "passfile" in str(caught.value.hint)
    assert "not-the-right-one" not in str(caught.value)


def test_data_survive_a_stop_and_a_start(server: EmbeddedServer, tools: PostgresTools) -> None:
    server.start(tools, on_step=silent)
    with connect(admin(server), purpose="test") as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    assert server.stop()
    assert not server.status().running
    assert not server.stop()
    server.start(tools, on_step=silent)

    with connect(admin(server), purpose="test") as connection:
        assert scalar(connection, "SELECT answer FROM kept") == 42


def test_a_killed_server_is_started_again_and_its_pid_file_mended(
    server: EmbeddedServer, tools: PostgresTools
) -> None:
    server.start(tools, on_step=silent)
    with connect(admin(server), purpose="test") as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    pid = server.status().pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    assert (server.data_dir / "postmaster.pid").exists()
    assert not server.status().running

    again = server.start(tools, on_step=silent)

    assert any("postmaster.pid" in line for line in again.mended)
    with connect(admin(server), purpose="test") as connection:
        assert scalar(connection, "SELECT answer FROM kept") == 42


def test_a_pid_file_with_the_number_of_another_process_is_stale(
    server: EmbeddedServer, tools: PostgresTools
) -> None:
    server.start(tools, on_step=silent)
    server.stop()
    (server.data_dir / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data_dir}\n1\n5432\n")

    assert not server.status().running
    assert not server.start(tools, on_step=silent).already_running
    assert server.status().pid != os.getpid()


def test_a_half_made_data_directory_is_made_anew(
    server: EmbeddedServer, tools: PostgresTools
) -> None:
    half = server.home / "data.making"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text(f"{tools.major}\n")

    started = server.start(tools, on_step=silent)

    assert started.created
    assert not half.exists()


def test_a_folder_that_is_no_cluster_is_explained_and_left_alone(
    server: EmbeddedServer, tools: PostgresTools
) -> None:
    server.data_dir.mkdir(parents=True)
    (server.data_dir / "diary.txt").write_text("mine")

    with pytest.raises(ConfigurationError, match="cannot be used"):
        server.start(tools, on_step=silent)

    assert (server.data_dir / "diary.txt").read_text() == "mine"


def test_data_of_another_major_version_are_explained_and_left_alone(
    server: EmbeddedServer, tools: PostgresTools
) -> None:
    server.start(tools, on_step=silent)
    server.stop()
    (server.data_dir / "PG_VERSION").write_text("14\n")

    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        server.start(tools, on_step=silent)

    assert "made by PostgreSQL 14" in str(caught.value.detail)
    (server.data_dir / "PG_VERSION").write_text(f"{tools.major}\n")


def test_a_server_that_cannot_start_tells_why(server: EmbeddedServer, tools: PostgresTools) -> None:
    server.start(tools, on_step=silent)
    server.stop()
    with (server.data_dir / "postgresql.conf").open("a") as conf:
        conf.write("no_such_setting = 1\n")

    with pytest.raises(Exception, match="did not start") as caught:
        server.start(tools, on_step=silent)

    assert "no_such_setting" in str(caught.value)


def test_a_path_too_long_for_a_socket_gets_a_short_one(
    tmp_path: Path, tools: PostgresTools
) -> None:
    server = EmbeddedServer(tmp_path / ("long" * 30))
    try:
        server.start(tools, on_step=silent)

        assert setting(server, "data_checksums") == "on"
        folder = Path(str(server.status().socket_dir))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == os.getuid()
    finally:
        server.stop()


def test_two_starts_at_once_are_told_apart(server: EmbeddedServer, tools: PostgresTools) -> None:
    server.home.mkdir(mode=0o700)
    with file_lock(server.home / "lock", what="it"), pytest.raises(LockedError) as caught:
        server.start(tools, on_step=silent)

    assert str(os.getpid()) in str(caught.value.detail)


def test_without_a_server_the_error_says_how_to_start_one(server: EmbeddedServer) -> None:
    with pytest.raises(ServerUnreachableError) as caught:
        admin(server)

    assert "casedb up" in str(caught.value.hint)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_without_namespaces_becomes_a_system_user(
    tmp_path: Path, tools: PostgresTools
) -> None:
    # tmp_path has mode 0700: no system user can enter it.
    server = EmbeddedServer(tmp_path / "home", run_as=as_system_user())
    try:
        server.start(tools, on_step=silent)
        pid = server.status().pid

        assert pid
        assert psutil.Process(pid).uids().effective != 0
        assert setting(server, "data_checksums") == "on"
    finally:
        server.stop()
        server.remove_data()


def wait_until_gone(pid: int, timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return
        except ChildProcessError:
            if not psutil.pid_exists(pid):
                return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")
