"""What a program prints reaches its reader in large pieces."""

import shutil
import socket
import subprocess

import pytest

from casedb.tools import with_large_writes

needs_stdbuf = pytest.mark.skipif(not shutil.which("stdbuf"), reason="needs stdbuf of coreutils")
# printenv prints a line for each; together more than the 4 KiB that stdio writes at once.
LONG = {name: name * 3000 for name in "ABC"}


def first_write(argv: list[str]) -> int:
    """Return how many bytes the first write of a program has; a datagram keeps writes apart."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.settimeout(60)
        with subprocess.Popen(argv, stdout=theirs.fileno(), env=LONG):
            return len(ours.recv(1 << 20))


@needs_stdbuf
def test_a_program_writes_more_than_4_kib_at_once() -> None:
    printenv = shutil.which("printenv")
    assert printenv

    assert first_write([printenv, *LONG]) <= 4096
    assert first_write(with_large_writes([printenv, *LONG])) == 3 * 3001


def test_without_stdbuf_the_program_is_run_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    assert with_large_writes(["pg_dump", "x"]) == ["pg_dump", "x"]
