"""A site whose store is a bucket of a real S3 server, behind a proxy."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from backups.stores import LocalStore
from backups.stores.s3 import S3Store
from backups.stores.s3_objects import BEGUN, OVER
from casedb.s3_model import parse_location
from tests.backup_faults.site import DATABASE, DRIVER, Site
from tests.s3.proxy import Proxy, Seen, proxy
from tests.s3.servers import PRUNER, Server


@dataclass
class Bucketful(Site):
    """A site whose store is a bucket behind a proxy."""

    s3: Server = field(default_factory=lambda: Server(""))
    wall: Proxy = field(default_factory=lambda: Proxy(""))
    bucket: str = ""

    def opened(self) -> S3Store:
        return S3Store(parse_location(f"s3://{self.bucket}/casedb?endpoint={self.s3.endpoint}"))

    def debris(self) -> list[str]:
        """Unfinished uploads, files of unfinished sets, and the marks of these."""
        uploads = self.s3.client().list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        begun, counting = self._marks(BEGUN), self.labels()
        files = [k for k in self._keys() if re.match(r"[^./]+-\d+T\d+Z/", k)]
        hidden = [key for key in files if key.partition("/")[0] not in counting]
        return [*(upload["Key"] for upload in uploads), *hidden, *begun]

    def awaited(self) -> list[str]:
        """The labels of unfinished sets of which something may still come."""
        return self._marks(OVER)

    def _marks(self, content: bytes) -> list[str]:
        keys = [key for key, size in self._keys().items() if size == len(content)]
        return [key.removeprefix(".begun/") for key in keys if key.startswith(".begun/")]

    def _keys(self) -> dict[str, int]:
        """What there is of the database, and its size."""
        folder = f"casedb/{DATABASE}/"
        found = self.s3.client().list_objects_v2(Bucket=self.bucket, Prefix=folder)
        return {e["Key"].removeprefix(folder): e["Size"] for e in found.get("Contents", [])}

    def uploads(self) -> int:
        client = self.s3.client()
        return len(client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []))

    def _start(self, argv: list[str], **environment: str) -> "subprocess.Popen[str]":
        if argv[:2] == ["-m", "casedb"]:
            argv = [str(DRIVER), "nowhere", str(self.marker), *argv[2:]]
        return super()._start(argv, **environment)

    def take_in(self, label: str) -> None:
        """Put the set `label` of the folder into the bucket."""
        store, local = self.opened(), LocalStore(self.store)
        with store.lock(DATABASE), store.new_set(DATABASE, label) as new:
            for name in local.files(DATABASE, label):
                with new.create(name) as sink, local.open(DATABASE, label, name) as file:
                    sink.write(file.read())
            new.commit()

    def start_and_hold_a_part(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a dump, and hold a part of its archive when the server has one already."""
        # Several are on their way at once; the first one passes.
        self.wall.hold = lambda method, path: Seen(method, path, 0).part > 1
        process = self.start("nowhere", "dump", *words, **environment)
        self.wait_for(self.wall.held.is_set, "no part was ever held")
        self.wait_for(self.wall.parts, "the first part did not pass")
        assert self.uploads() == 1
        assert not process.poll()
        return process

    def let_pass(self) -> None:
        self.wall.hold = lambda _method, _path: False
        self.wall.go_on.set()


@contextmanager
def with_bucket(site: Site, s3: Server) -> Iterator[Bucketful]:
    """Yield `site` with a bucket as its store, which has the first backup; its folder stays."""
    with proxy(s3.endpoint) as wall:
        bucket = s3.new_bucket(versions=True)
        made = Bucketful(
            server=site.server,
            target=site.target,
            home=site.home,
            wire=site.wire,
            store=site.store,
            first=site.first,
            marker=site.marker,
            url=f"s3://{bucket}/casedb?endpoint={wall.endpoint}",
            environment={**PRUNER, "DRIVER_S3_ATTEMPTS": "3"},
            processes=site.processes,
            s3=s3,
            wall=wall,
            bucket=bucket,
        )
        made.take_in(made.first)
        yield made
        made.let_pass()
