"""A dump into a bucket, encrypted, against one into a folder.

The bucket is Ceph's, in a container of this machine whose store is in its memory: its work is
in the time, and a network is not.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backups.dump import dump
from backups.sealing import new_key
from backups.stores import LocalStore, open_store
from benchmarks.bench import Bench, Found, at_most
from benchmarks.ceph import CREDENTIALS, ceph, why_no_ceph
from benchmarks.figures import ratio_figure
from benchmarks.harness import Contestant, Did, alternate
from benchmarks.site import NotMeasured, Site

SHARE = "encrypted dump to S3, of the local dump"


def measure(site: Site) -> Found:
    """Measure."""
    if reason := why_no_ceph():
        raise NotMeasured(reason)
    target, tools = site.filled.target, site.tools
    key = new_key(site.folder / "s3-key")

    def local(place: Path, *recipients: str) -> Did:
        store = LocalStore(place / "store")
        return Did(dump(target, store, tools=tools, recipients=recipients).size_bytes)

    with credentials(), ceph() as server:
        url = server.new_store()

        def remote(_place: Path) -> Did:
            store = open_store(url)
            return Did(dump(target, store, tools=tools, recipients=[key]).size_bytes)

        arms = alternate(
            [
                Contestant("local", "casedb dump into a folder", local),
                Contestant(
                    "local, encrypted",
                    "the same, encrypted to a public key",
                    lambda place: local(place, key),
                ),
                Contestant(
                    "S3, encrypted",
                    "the same into a bucket of Ceph",
                    remote,
                    lambda: server.empty(url),
                ),
            ],
            rounds=site.rounds,
            meter=site.meter(),
            folder=site.folder,
            tell=site.tell,
        )
    return Found(
        list(arms.values()),
        [
            ratio_figure(SHARE, arms["S3, encrypted"], arms["local"], targets=BENCH.targets),
            ratio_figure(
                "encrypted dump to S3, of the encrypted local dump",
                arms["S3, encrypted"],
                arms["local, encrypted"],
            ),
            ratio_figure(
                "what encryption adds", arms["local, encrypted"], arms["local"], percent_more=True
            ),
        ],
        ["Ceph runs on the same machine, and takes processor time of the dump"],
    )


@contextmanager
def credentials() -> Iterator[None]:
    """Let boto3 find the bucket's own keys, and nobody else's, for the length of the block."""
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


BENCH = Bench(
    "s3",
    "What does a bucket cost, and encryption?",
    measure,
    minutes=3,
    targets=(at_most(SHARE, 1.5),),
)
