"""S3 servers to test against: moto in this process, and Ceph's gateway in a container.

moto is fast and forgives much: it takes any password and any checksum. Ceph is the real one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto.server import ThreadedMotoServer

from benchmarks.ceph import PRUNER, Server, ceph, why_no_ceph

__all__ = ["PRUNER", "SERVERS", "Server", "ceph", "moto", "s3_server", "why_no_ceph"]

# The real one wherever it can run; elsewhere the other, and a skip that says why.
SERVERS = [
    *(["moto"] if why_no_ceph() else []),
    pytest.param("ceph", marks=pytest.mark.real_s3),
]


@contextmanager
def s3_server(name: str) -> Iterator[Server]:
    """Run one of SERVERS for the length of the block; skip the test where Ceph cannot run."""
    if name == "ceph" and (reason := why_no_ceph()):
        pytest.skip(reason)
    with moto() if name == "moto" else ceph() as started:
        yield started


@contextmanager
def moto() -> Iterator[Server]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Server(f"http://{host}:{port}")
    finally:
        server.stop()
