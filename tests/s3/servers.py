"""S3 servers to test against: moto in this process, and Ceph's gateway in a container.

moto is fast and forgives much: it takes any password and any checksum. Ceph is the real one.
"""

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

_IMAGE = "casedb-rgw:trixie"
_PACKAGES = "ceph-mon,ceph-mgr,ceph-osd,radosgw,ceph-common,ca-certificates"
_START_S = 120
_GATEWAY = "client.rgw.a"
_KEYRING = "/var/lib/ceph/radosgw/ceph-rgw.a/keyring"
_numbers = count(1)


@dataclass(frozen=True)
class Server:
    """A running S3 server; `container` is Ceph's."""

    endpoint: str
    container: str | None = None

    def client(self, user: str = "pruner") -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=f"access-{user}",
            aws_secret_access_key=f"secret-{user}",
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def crash(self) -> None:
        """Kill Ceph's gateway; what it had stored stays."""
        self.run("sh", "-c", "kill -9 $(pidof radosgw)")

    def restart(self) -> None:
        """Start the gateway again, and wait until it answers."""
        self.run("radosgw", "-n", _GATEWAY, "--keyring", _KEYRING)
        deadline = time.monotonic() + _START_S
        while True:
            try:
                with urllib.request.urlopen(self.endpoint, timeout=10):
                    return
            except OSError:
                assert time.monotonic() < deadline, "the gateway does not come up again"
                time.sleep(0.2)

    def run(self, *words: str) -> str:
        """Run a command inside of Ceph's container, and return what it printed."""
        assert self.container
        return _docker("exec", self.container, *words)

    def new_bucket(self, *, versions: bool = False, lock: bool = False) -> str:
        name = f"casedb-test-{next(_numbers)}-{time.time_ns()}"
        client = self.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        if versions or lock:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name


@contextmanager
def moto() -> Iterator[Server]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Server(f"http://{host}:{port}")
    finally:
        server.stop()


def why_no_ceph() -> str | None:
    """Return why Ceph cannot run here; None if it can."""
    if not shutil.which("docker"):
        return "there is no docker here"
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "docker does not answer"
    if not _image_is_there() and not shutil.which("mmdebstrap"):
        return f"there is no image {_IMAGE}, and no mmdebstrap to make one"
    return None


@contextmanager
def ceph() -> Iterator[Server]:
    if not _image_is_there():
        _make_image()
    script = Path(__file__).with_name("ceph.sh")
    run = ["docker", "run", "--detach", "--publish", "127.0.0.1::8000"]
    container = _docker(*run[1:], "--volume", f"{script}:/ceph.sh:ro", _IMAGE, "sh", "/ceph.sh")
    try:
        address = _docker("port", container, "8000").splitlines()[0]
        deadline = time.monotonic() + _START_S
        while "ready" not in _docker("logs", container):
            assert time.monotonic() < deadline, _docker("logs", container)
            time.sleep(0.5)
        server = Server(f"http://{address}", container)
        with urllib.request.urlopen(server.endpoint, timeout=10):
            yield server
    finally:
        _docker("rm", "--force", "--volumes", container)


def _image_is_there() -> bool:
    found = subprocess.run(["docker", "image", "inspect", _IMAGE], capture_output=True, check=False)
    return found.returncode == 0


def _make_image() -> None:
    build = ["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", "trixie", "-"]
    with subprocess.Popen(build, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as making:
        subprocess.run(
            ["docker", "import", "-", _IMAGE], stdin=making.stdout, check=True, capture_output=True
        )
    assert making.returncode == 0


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip()
