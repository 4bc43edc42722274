"""A folder and a bucket at once, of which one is hit half-way: the other has all of the backup."""

import signal

import pytest

from backups.stores import LocalStore
from tests.backup_faults.bucket import Bucketful
from tests.backup_faults.site import Site, wait
from tests.backup_faults.test_dump import archive_being_written
from tests.backup_faults.test_several import whole
from tests.matrix.disk import SmallDisk
from tests.matrix.table import leave_row

pytestmark = pytest.mark.real_s3


def folder_of(site: Bucketful) -> LocalStore:
    return LocalStore(site.store)


def new_in_each(site: Bucketful) -> tuple[int, int]:
    """Return how many new backups the folder and the bucket show, all of whose bytes are read."""
    folder, bucket = whole(site, folder_of(site)), whole(site, site.opened())
    assert site.first in folder & bucket
    return len(folder) - 1, len(bucket) - 1


def require_next_dump(site: Bucketful) -> str:
    """Dump again into both, at once and with nothing done before."""
    before = whole(site, folder_of(site)) | whole(site, site.opened())
    code, printed = site.run("dump", f"--store={site.store}")
    assert code == 0, printed
    (new,) = (whole(site, folder_of(site)) & whole(site, site.opened())) - before
    assert new
    assert site.debris() == Site.debris(site) == []
    return "exit 0, verified in both"


def test_a_bucket_that_goes_away_half_way_leaves_the_folder_whole(
    bucketful: Bucketful, request: pytest.FixtureRequest
) -> None:
    site = bucketful
    process = site.start_and_hold_a_part(f"--store={site.store}")
    assert any("database.dump" in name for name in site.partial())
    site.s3.crash()
    try:
        site.let_pass()
        code, printed = wait(process)
    finally:
        site.s3.restart()

    assert code == 5, printed
    assert site.url in printed
    assert site.wall.count(0) >= 1
    assert new_in_each(site) == (1, 0)
    # Who could take it back was gone.
    assert site.uploads() == 1
    again = require_next_dump(site)
    row = ("upload", "gateway killed", "1 upload open, the archive hidden in the folder")
    outcome = "exit 5, complete in the folder, upload left"
    leave_row(request, "dump to a folder and S3", *row, outcome, again)


def test_a_folder_that_fills_up_half_way_leaves_the_bucket_whole(
    bucketful_on_disk: Bucketful, disk: SmallDisk, request: pytest.FixtureRequest
) -> None:
    site = bucketful_on_disk
    caught = archive_being_written(site, f"--store={site.store}")
    taken = disk.fill()
    caught.go_on(site)
    code, printed = wait(caught.process)

    assert code == 5, printed
    assert "the store is full" in printed
    assert new_in_each(site) == (0, 1)
    assert site.debris() == Site.debris(site) == []
    disk.make_room()
    again = require_next_dump(site)
    row = ("archive being written", "disk full", f"{caught.proof}; {taken >> 20} MB filled")
    leave_row(request, "dump to a folder and S3", *row, "exit 5, complete in the bucket", again)


@pytest.mark.parametrize("fault", ["SIGKILL", "SIGTERM"])
def test_a_dump_killed_half_way_counts_for_nothing_in_both(
    bucketful: Bucketful, request: pytest.FixtureRequest, fault: str
) -> None:
    site = bucketful
    process = site.start_and_hold_a_part(f"--store={site.store}")
    assert any("database.dump" in name for name in site.partial())
    process.send_signal(signal.Signals[fault])
    if fault == "SIGKILL":
        process.wait(30)
        site.wall.drop = True
    site.let_pass()
    code, printed = wait(process)
    site.wait_for_gone("casedb dump")

    assert code == (-9 if fault == "SIGKILL" else 143), printed
    assert new_in_each(site) == (0, 0)
    left = bool(site.debris()), bool(Site.debris(site))
    assert left == ((True, True) if fault == "SIGKILL" else (False, False))
    again = require_next_dump(site)
    outcome = "killed, counts for nothing in both" if any(left) else "exit 143, nothing left"
    row = ("upload", fault, "1 upload open, the archive hidden in the folder", outcome)
    leave_row(request, "dump to a folder and S3", *row, again)


def test_a_dump_killed_between_the_two_commits_is_complete_in_the_folder(
    bucketful: Bucketful, request: pytest.FixtureRequest
) -> None:
    site = bucketful
    site.wall.hold = lambda method, path: method == "PUT" and "/manifest.json" in path
    # Named first, so committed first.
    process = site.start("nowhere", "dump", f"--store={site.store}")
    site.wait_for(site.wall.held.is_set, "the manifest was never sent")
    process.kill()
    wait(process)
    site.wall.drop = True
    site.let_pass()
    site.wait_for_gone("casedb dump")

    assert new_in_each(site) == (1, 0)
    assert site.debris() != []
    again = require_next_dump(site)
    row = ("between two commits", "SIGKILL", "the proxy holds its PUT manifest.json")
    leave_row(request, "dump to a folder and S3", *row, "killed, complete in the folder", again)
