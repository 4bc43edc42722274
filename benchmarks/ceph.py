"""A real S3 server for benches and tests: Ceph's gateway in a container, its store in memory."""

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

from casedb.errors import ToolFailedError

_IMAGE = "casedb-rgw:trixie"
_PACKAGES = "ceph-mon,ceph-mgr,ceph-osd,radosgw,ceph-common,ca-certificates"
_START_S = 120
_GATEWAY = "client.rgw.a"
_KEYRING = "/var/lib/ceph/radosgw/ceph-rgw.a/keyring"
_numbers = count(1)
PRUNER = {"AWS_ACCESS_KEY_ID": "access-pruner", "AWS_SECRET_ACCESS_KEY": "secret-pruner"}
"""The environment of whoever may do everything with a bucket."""
CREDENTIALS = {**PRUNER, "AWS_REGION": "us-east-1"}
"""The same, with the region that boto3 wants to know."""


@dataclass(frozen=True)
class Server:
    """A running S3 server; `container` is Ceph's, None where it is no container."""

    endpoint: str
    container: str | None = None

    def client(self, user: str = "pruner") -> Any:
        """Return a client of boto3; the pruner may do everything."""
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
        self.wait()

    def wait(self) -> None:
        """Wait until the gateway answers: it listens some time before that."""
        deadline = time.monotonic() + _START_S
        while True:
            try:
                with urllib.request.urlopen(self.endpoint, timeout=10):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise ToolFailedError("the gateway does not come up") from None
                time.sleep(0.2)

    def run(self, *words: str) -> str:
        """Run a command inside of Ceph's container, and return what it printed."""
        assert self.container
        return _docker("exec", self.container, *words)

    def new_bucket(self, *, versions: bool = False, lock: bool = False) -> str:
        """Make a bucket and return its name."""
        name = f"casedb-{next(_numbers)}-{time.time_ns()}"
        client = self.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        if versions or lock:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def new_store(self) -> str:
        """Make a bucket and return the address of a store in it."""
        return f"s3://{self.new_bucket()}/bench?endpoint={self.endpoint}"

    def empty(self, url: str) -> None:
        """Take everything out of the bucket of a store: Ceph's own store is in memory."""
        name = url.removeprefix("s3://").partition("/")[0]
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=name)
        for found in (found for page in pages for found in page.get("Contents", ())):
            client.delete_object(Bucket=name, Key=found["Key"])


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
    """Run Ceph's gateway in a container for the length of the block; its image is made once."""
    if not _image_is_there():
        _make_image()
    script = Path(__file__).with_name("ceph.sh")
    run = ["run", "--detach", "--publish", "127.0.0.1::8000"]
    container = _docker(*run, "--volume", f"{script}:/ceph.sh:ro", _IMAGE, "sh", "/ceph.sh")
    try:
        address = _docker("port", container, "8000").splitlines()[0]
        deadline = time.monotonic() + _START_S
        while "ready" not in _docker("logs", container):
            if time.monotonic() > deadline:
                raise ToolFailedError("Ceph does not come up", detail=_docker("logs", container))
            time.sleep(0.5)
        server = Server(f"http://{address}", container)
        server.wait()
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
    if making.returncode:
        raise ToolFailedError(f"mmdebstrap made no {_IMAGE}")


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip()
