"""A dump to a bucket that is ended at its commit, or loses the server that it reads from."""

from collections.abc import Callable

import pytest

from tests.backup_faults.bucket import Bucketful
from tests.backup_faults.site import Site, wait
from tests.backup_faults.test_dump import THEIRS, crash, drop
from tests.matrix.table import leave_row

pytestmark = pytest.mark.real_s3

BUSY = (
    f"SELECT count(*) FROM pg_stat_activity WHERE {THEIRS} AND state = 'active'"
    " AND query LIKE 'COPY padding.%'"
)


@pytest.fixture
def site(bucketful: Bucketful) -> Bucketful:
    return bucketful


@pytest.mark.parametrize(
    ("phase", "method", "part"),
    [("before commit", "PUT", "/manifest.json"), ("after commit", "DELETE", "/.begun/")],
)
def test_a_dump_ended_around_its_commit_is_complete(
    site: Bucketful, request: pytest.FixtureRequest, phase: str, method: str, part: str
) -> None:
    site.wall.hold = lambda found, path: found == method and part in path
    process = site.start("nowhere", "dump")
    site.wait_for(site.wall.held.is_set, "the request was never made")
    assert len(site.new_labels()) == (phase == "after commit")
    process.terminate()
    site.let_pass()
    code, printed = wait(process)

    assert code == 0, printed
    (label,) = site.new_labels()
    site.require_whole(label)
    assert site.debris() == site.awaited() == []
    again = site.require_next_dump()
    row = (phase, "SIGTERM", f"the proxy holds its {method} {part.strip('/')}")
    leave_row(request, "dump to S3", *row, "exit 0, complete", again)


@pytest.mark.parametrize(
    ("fault", "strike"), [("server crash", crash), ("connection dropped", drop)]
)
def test_a_dump_that_loses_postgresql_in_the_middle_of_an_upload(
    site: Bucketful, request: pytest.FixtureRequest, fault: str, strike: Callable[[Site], None]
) -> None:
    process = site.start_and_hold_a_part(DRIVER_S3_PART_BYTES=str(5 << 20))
    busy = site.ask(BUSY)
    assert busy >= 1
    strike(site)
    site.let_pass()
    code, printed = wait(process)

    assert code == 4, printed
    assert site.labels() == [site.first]
    assert site.debris() == site.awaited() == []
    again = site.require_next_dump()
    row = ("upload", fault, f"1 upload open, {busy} in COPY")
    leave_row(request, "dump to S3", *row, "exit 4, nothing left", again)
