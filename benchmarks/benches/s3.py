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
from benchmarks.ceph import PRUNER, Server, ceph, why_no_ceph
from benchmarks.figures import Figure, ratio_figure
from benchmarks.harness import (
    Contestant,
    Did,
    alternate,
    clean_environment,
    command,
)
from benchmarks.peaks import peaks_of
from benchmarks.site import NotMeasured, Site

SHARE = "encrypted dump to S3, of the local dump"
_KEYS = {**PRUNER, "AWS_REGION": "us-east-1"}


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
        url = bucket(server)

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
                    lambda: empty(server, url),
                ),
            ],
            rounds=site.rounds,
            meter=site.meter(),
            folder=site.folder,
            tell=site.tell,
        )
        site.tell("memory of the dump to S3")
        (site.folder / "casedb.toml").touch()
        peak = peaks_of(
            command("dump", f"--store={url}", f"--recipient={key}", f"--conninfo={target.dsn}"),
            env=clean_environment(PG_BIN=str(tools.bindir), **_KEYS),
            cwd=site.folder,
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
            Figure(name="memory of the dump to S3", value=peak.programs, unit="MB"),
        ],
        ["Ceph runs on the same machine, and takes processor time of the dump"],
    )


@contextmanager
def credentials() -> Iterator[None]:
    """Let boto3 find the bucket's own keys, and nobody else's, for the length of the block."""
    before = {name: os.environ.get(name) for name in _KEYS}
    os.environ.update(_KEYS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def bucket(server: Server) -> str:
    """Make a bucket and return the address of a store in it."""
    return f"s3://{server.new_bucket()}/bench?endpoint={server.endpoint}"


def empty(server: Server, url: str) -> None:
    """Take everything out of the bucket: its store is in memory."""
    name = url.removeprefix("s3://").partition("/")[0]
    client = server.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=name)
    for found in (found for page in pages for found in page.get("Contents", ())):
        client.delete_object(Bucket=name, Key=found["Key"])


BENCH = Bench(
    "s3",
    "What does a bucket cost, and encryption?",
    measure,
    minutes=3,
    targets=(at_most(SHARE, 1.5),),
)
