"""What a dump had sent to a bucket comes when it has ended: it counts for nothing, and goes."""

import signal

import pytest

from tests.backup_faults.bucket import Bucketful
from tests.backup_faults.site import wait, wait_until
from tests.matrix.table import leave_row

pytestmark = pytest.mark.real_s3

EXIT = {"SIGKILL": -9, "SIGTERM": 143}


@pytest.fixture
def site(bucketful: Bucketful) -> Bucketful:
    return bucketful


def let_come(site: Bucketful, name: str) -> None:
    """Let the server have the file that was held, which is then there."""
    site.let_pass()
    wait_until(lambda: any(name in key for key in site.debris()), "it never came")


@pytest.mark.parametrize("fault", EXIT)
@pytest.mark.parametrize(
    ("name", "is_after_next"),
    [("globals.sql", False), ("RESTORE.txt", True)],
    ids=["before", "after"],
)
def test_a_small_file_that_comes_when_its_dump_has_ended(
    site: Bucketful, request: pytest.FixtureRequest, name: str, is_after_next: bool, fault: str
) -> None:
    site.wall.hold = lambda method, path: method == "PUT" and f"/{name}" in path
    process = site.start("nowhere", "dump")
    site.wait_for(site.wall.held.is_set, "the file was never sent")
    site.wall.hold = lambda _method, _path: False
    process.send_signal(signal.Signals[fault])
    code, printed = wait(process)
    site.wait_for_gone("casedb dump")

    assert code == EXIT[fault], printed
    if not is_after_next:
        let_come(site, name)
        assert site.labels() == [site.first]
    again = site.require_next_dump()
    if is_after_next:
        assert site.debris() == []
        let_come(site, name)
    assert len(site.good()) == 2
    assert len(site.awaited()) == 1
    # Whoever sweeps next takes it, and the mark when nothing can come any more.
    code, printed = site.run("rotate", "--apply", DRIVER_S3_LIFETIME_S="1")
    assert code == 0, printed
    assert site.debris() == site.awaited() == []
    when = "after the next run" if is_after_next else "before the next run"
    row = (f"{name} comes {when}", fault, "the proxy held its PUT")
    ended = "killed" if fault == "SIGKILL" else f"exit {EXIT[fault]}"
    leave_row(request, "dump to S3", *row, f"{ended}, counts for nothing", again)
