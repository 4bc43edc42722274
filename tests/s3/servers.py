"""S3 servers to test against: moto in this process, and Ceph's gateway in a container.

moto is fast and forgives much: it takes any password and any checksum. Ceph is the real one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

from benchmarks.ceph import Server, ceph, why_no_ceph

__all__ = ["Server", "ceph", "moto", "why_no_ceph"]


@contextmanager
def moto() -> Iterator[Server]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Server(f"http://{host}:{port}")
    finally:
        server.stop()
