"""Two S3 servers, and on each a bucket of the same name: two stores, and never taken for one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backups.chain import check_chain, read_head
from backups.dump import dump
from backups.stores.s3 import S3Store
from backups.stores.several import SeveralStores
from casedb.conninfo import Conninfo
from casedb.errors import LockedError
from casedb.s3_model import parse_location
from casedb.tools import PostgresTools
from tests.s3.servers import Server, moto, s3_server

pytestmark = [pytest.mark.usefixtures("as_pruner"), pytest.mark.real_s3]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    # Of moto's servers one process has all share their buckets.
    with s3_server("ceph") as one, moto() as two:
        yield one, two


@dataclass(frozen=True)
class Pair:
    """The two stores, and the host that dumps into them."""

    one: S3Store
    two: S3Store
    source: Conninfo
    tools: PostgresTools
    chain: Path

    def dump(self, *stores: S3Store) -> str:
        """Dump as this host does, and return the label."""
        into = SeveralStores(stores)
        label = dump(self.source, into, tools=self.tools, chain=self.chain).label
        assert not into.failures
        return label

    def states(self, store: S3Store) -> dict[str, str]:
        head = read_head(self.chain, self.source.dbname)
        entries = check_chain(store, self.source.dbname, head)
        return {entry.label: entry.state.value for entry in entries}

    def remove(self, store: S3Store, label: str) -> None:
        """As somebody does who has the right to delete."""
        for version in store.bucket.listing("").versions:
            if f"/{label}/" in version.key:
                store.bucket.delete(version.key, version.version_id)


@pytest.fixture
def pair(
    servers: tuple[Server, Server], small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> Pair:
    name = servers[0].new_bucket(versions=True)
    client = servers[1].client()
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    one, two = (
        S3Store(parse_location(f"s3://{name}/x?endpoint={server.endpoint}")) for server in servers
    )
    return Pair(one, two, small, tools, tmp_path / "chain")


def test_what_one_of_them_never_got_is_elsewhere_and_what_it_lost_is_missing(pair: Pair) -> None:
    first = pair.dump(pair.one, pair.two)
    both = SeveralStores([pair.one, pair.two])
    with pair.two.lock(pair.source.dbname):
        second = dump(pair.source, both, tools=pair.tools, chain=pair.chain).label
    third = pair.dump(pair.one, pair.two)

    assert list(both.failures) == [pair.two.url]
    assert isinstance(both.failures[pair.two.url], LockedError)
    assert pair.two.url in both.failures[pair.two.url].message
    assert both.urls == (pair.one.url,)
    assert pair.states(pair.one) == dict.fromkeys((first, second, third), "whole")
    # Only what it never got says that the first one is what it was.
    assert pair.states(pair.two) == {third: "whole", second: "elsewhere", first: "unattested"}

    pair.remove(pair.one, second)
    pair.remove(pair.two, third)
    assert pair.states(pair.one)[second] == "missing"
    assert pair.states(pair.two) == {third: "missing", first: "unattested"}


def test_a_chain_that_an_earlier_casedb_began_is_whole_and_misses_what_is_gone(pair: Pair) -> None:
    """It named a store without its endpoint; where only one store is, that was this one."""

    def as_before() -> None:
        head = pair.chain / f"{pair.source.dbname}.json"
        found = json.loads(head.read_text())
        head.write_text(
            json.dumps({**found, "stores": ["s3://" + pair.one.location.bucket + "/x"]})
        )

    labels = [pair.dump(pair.one)]
    as_before()
    labels.append(pair.dump(pair.one))
    as_before()
    labels += [pair.dump(pair.one), pair.dump(pair.one, pair.two)]

    assert set(pair.states(pair.one).values()) == {"whole"}
    pair.remove(pair.one, labels[1])
    found = pair.states(pair.one)
    assert [found[label] for label in labels] == ["unattested", "missing", "whole", "whole"]
