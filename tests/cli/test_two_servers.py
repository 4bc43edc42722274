"""Two S3 servers, and on each a bucket of the same name: what people and machines are told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backups.stores.s3 import S3Store
from casedb.s3_model import parse_location
from tests.cli.conftest import Casedb
from tests.s3.servers import PRUNER, Server, moto, s3_server

pytestmark = [pytest.mark.usefixtures("as_pruner"), pytest.mark.real_s3]


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with s3_server("ceph") as one, moto() as two:
        yield one, two


def test_each_is_named_by_its_endpoint_wherever_it_is_named(
    brought_up: Casedb, servers: tuple[Server, Server], tmp_path: Path
) -> None:
    bucket = servers[0].new_bucket()
    servers[1].client().create_bucket(Bucket=bucket)
    names = [f"s3://{bucket}/x?endpoint={server.endpoint}" for server in servers]
    stores = [f"{name}&region=us-east-1" for name in names]
    metrics, log = tmp_path / "casedb.prom", tmp_path / "runs.jsonl"
    told = {"CASEDB_METRICS_FILE": str(metrics), "CASEDB_LOG_FILE": str(log), **PRUNER}
    there = Casedb(
        brought_up.folder,
        brought_up.tools,
        {"CASEDB_STORE": ";".join(stores), "CASEDB_DATA_DIR": ".casedb", **told},
    )

    assert there("dump").code == 0
    with S3Store(parse_location(stores[1])).lock("case_management"):
        left_out = there("dump")
    again = there("dump")

    assert left_out.code == 5
    assert f"DETAIL:  {names[1]}: another run is at work on {names[1]}" in left_out.err
    assert again.code == 0, again.err
    for name, backups in zip(names, (3, 2), strict=True):
        assert f'casedb_backups{{database="case_management",store="{name}"}} {backups}' in (
            metrics.read_text()
        )
    series = [line.rpartition(" ")[0] for line in metrics.read_text().splitlines()]
    assert len(series) == len(set(series))
    assert f'"store": ["{names[0]}", "{names[1]}"]' in log.read_text()
    found = [there("verify", "--chain", "--json", "--store", store) for store in stores]
    assert [result.code for result in found] == [0, 0]
    label = left_out.out.partition(":")[0]
    states = [next(e for e in r.json["chain"] if e["label"] == label)["state"] for r in found]
    assert states == ["whole", "elsewhere"]
    status = there("status", "--without-server", "--json")
    assert list(status.json["possible_loss_h"]) == names
