"""A wire that the fault matrix cuts counts what lives, and nothing that has ended."""

import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.matrix.pipe import SOCKET, Pipe


@pytest.fixture
def folder() -> Iterator[Path]:
    # A socket's path may not be long.
    with tempfile.TemporaryDirectory(prefix="w-") as name:
        yield Path(name)


@pytest.fixture
def server(folder: Path) -> Iterator[socket.socket]:
    (folder / "server").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "server" / SOCKET))
        listening.listen()
        yield listening


@pytest.fixture
def wire(folder: Path, server: socket.socket) -> Iterator[Pipe]:
    (folder / "wire").mkdir()
    made = Pipe(folder / "wire", folder / "server")
    yield made
    made.close()


def session(wire: Pipe, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection over which something has come."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(wire.folder / SOCKET))
    served, _ = server.accept()
    client.sendall(b"x")
    assert served.recv(1) == b"x"
    return client, served


@pytest.mark.parametrize("who", ["client", "server"])
def test_what_either_side_has_closed_is_not_there_to_be_cut(
    wire: Pipe, server: socket.socket, who: str
) -> None:
    for _ in range(2):
        client, served = session(wire, server)
        first, other = (client, served) if who == "client" else (served, client)
        first.close()
        assert other.recv(1) == b""
        other.close()
    deadline = time.monotonic() + 60
    while wire.living and time.monotonic() < deadline:
        time.sleep(0.01)

    assert wire.cut() == 0

    client, served = session(wire, server)
    assert wire.cut() == 1
    assert client.recv(1) == served.recv(1) == b""
    assert wire.cut() == 0
    client.close()
    served.close()
