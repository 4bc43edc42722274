"""A bucket that fails in every way it can: no false success, and the next dump works.

Against Ceph's gateway, through a proxy whose log proves what hit which request.
"""

import time
from collections.abc import Callable

import botocore.exceptions
import pytest

from tests.backup_faults.bucket import Bucketful
from tests.backup_faults.site import wait
from tests.matrix.clock import wrong_clock
from tests.matrix.table import leave_row
from tests.s3.proxy import Seen

pytestmark = pytest.mark.real_s3


@pytest.fixture
def site(bucketful: Bucketful) -> Bucketful:
    return bucketful


def test_a_gateway_killed_in_the_middle_of_an_upload(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    process = site.start_and_hold_a_part()
    parts = site.wall.parts()
    site.s3.crash()
    try:
        site.let_pass()
        code, printed = wait(process)
    finally:
        site.s3.restart()

    assert code == 5, printed
    assert site.wall.count(0) >= 1
    assert site.labels() == [site.first]
    assert site.uploads() == 1
    again = site.require_next_dump()
    assert site.debris() == []
    proof = f"{parts} parts sent, 1 upload open"
    outcome = "exit 5, upload left, counts for nothing"
    leave_row(request, "dump to S3", "upload", "gateway killed", proof, outcome, again)


def test_a_dump_killed_in_the_middle_of_an_upload(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    process = site.start_and_hold_a_part()
    process.kill()
    site.let_pass()
    wait(process)

    assert site.labels() == [site.first]
    assert site.uploads() == 1
    again = site.require_next_dump()
    assert site.debris() == []
    row = ("upload", "SIGKILL", "1 upload open", "killed, upload left, counts for nothing")
    leave_row(request, "dump to S3", *row, again)


@pytest.mark.parametrize(
    ("phase", "method", "part", "is_complete"),
    [
        ("read back", "GET", "/database.dump", False),
        ("before commit", "PUT", "/manifest.json", False),
        ("after commit", "DELETE", "/.begun/", True),
    ],
)
def test_a_dump_killed_around_its_commit(
    site: Bucketful,
    request: pytest.FixtureRequest,
    phase: str,
    method: str,
    part: str,
    is_complete: bool,
) -> None:
    site.wall.hold = lambda found, path: found == method and part in path
    process = site.start("nowhere", "dump")
    site.wait_for(site.wall.held.is_set, "the request was never made")
    # The proxy has it, the server has not, and nobody is left to send it again.
    process.kill()
    wait(process)
    site.wall.drop = True
    site.let_pass()
    site.wait_for_gone("casedb dump")

    new = site.new_labels()
    assert len(new) == is_complete
    assert len(site.good()) == 1 + is_complete
    assert site.debris() != []
    again = site.require_next_dump()
    for label in new:
        site.require_whole(label)
    assert site.debris() == []
    outcome = "killed, complete" if is_complete else "killed, counts for nothing"
    row = (phase, "SIGKILL", f"the proxy holds its {method} {part.strip('/')}", outcome)
    leave_row(request, "dump to S3", *row, again)


def test_a_dump_ended_in_the_middle_of_an_upload_takes_it_back(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    process = site.start_and_hold_a_part()
    process.terminate()
    site.let_pass()
    code, printed = wait(process)

    assert code == 143, printed
    assert site.labels() == [site.first]
    assert site.debris() == []
    again = site.require_next_dump()
    row = ("upload", "SIGTERM", "1 upload open", "exit 143, nothing left")
    leave_row(request, "dump to S3", *row, again)


def test_a_dump_ended_while_it_is_read_back_takes_it_back(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    site.wall.hold = lambda method, path: method == "GET" and "/database.dump" in path
    process = site.start("nowhere", "dump")
    site.wait_for(site.wall.held.is_set, "the archive was never read back")
    process.terminate()
    site.let_pass()
    code, printed = wait(process)

    assert code == 143, printed
    assert site.labels() == [site.first]
    assert site.debris() == []
    again = site.require_next_dump()
    row = ("read back", "SIGTERM", "the proxy holds its GET", "exit 143, nothing left")
    leave_row(request, "dump to S3", *row, again)


def failing(times: int, status: int) -> Callable[[str, str], int | None]:
    left = [times]

    def fault(method: str, path: str) -> int | None:
        if not Seen(method, path, 0).part or left[0] == 0:
            return None
        left[0] -= 1
        return status

    return fault


def test_a_server_that_fails_a_few_times_is_asked_again(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    site.wall.fault = failing(2, 500)

    again = site.require_next_dump()

    assert site.wall.count(500) == 2
    row = ("upload", "500 twice", "2 parts refused")
    leave_row(request, "dump to S3", *row, "retried, complete", again)


def test_a_server_that_goes_on_failing_is_a_failure(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    site.wall.fault = failing(-1, 503)
    code, printed = site.run("dump")
    refused = site.wall.count(503)
    site.wall.fault = failing(0, 503)

    assert code == 5, printed
    assert refused >= 3
    assert site.labels() == [site.first]
    assert site.debris() == []
    again = site.require_next_dump()
    row = ("upload", "503 for ever", f"{refused} parts refused")
    leave_row(request, "dump to S3", *row, "exit 5, nothing left", again)


def test_a_slow_server_is_waited_for(site: Bucketful, request: pytest.FixtureRequest) -> None:
    site.wall.bytes_per_s = 2 << 20
    began = time.monotonic()

    again = site.require_next_dump()

    # A part has 8 MiB.
    assert time.monotonic() - began > 4
    assert site.wall.parts() >= 2
    row = ("upload", "2 MB/s a stream", f"{site.wall.parts()} parts, 4 s each")
    leave_row(request, "dump to S3", *row, "complete", again)


def test_credentials_revoked_in_the_middle_of_an_upload(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    site.s3.run(
        *("radosgw-admin", "key", "create", "--uid=pruner", "--key-type=s3"),
        *("--access-key=access-short", "--secret-key=secret-short"),
    )
    kept = dict(site.environment)
    site.environment |= {
        "AWS_ACCESS_KEY_ID": "access-short",
        "AWS_SECRET_ACCESS_KEY": "secret-short",
    }
    process = site.start_and_hold_a_part()
    site.s3.run(
        *("radosgw-admin", "key", "rm", "--uid=pruner", "--key-type=s3"),
        "--access-key=access-short",
    )
    site.let_pass()
    code, printed = wait(process)

    assert code == 5, printed
    denied = site.wall.count(403)
    assert denied >= 1
    assert site.labels() == [site.first]
    assert site.uploads() == 1
    site.environment = kept
    again = site.require_next_dump()
    assert site.debris() == []
    row = ("upload", "credentials revoked", f"{denied} requests answered 403")
    leave_row(request, "dump to S3", *row, "exit 5, upload left, counts for nothing", again)


def test_a_bucket_that_goes_away_in_the_middle_of_an_upload(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    process = site.start_and_hold_a_part()
    site.s3.run("radosgw-admin", "bucket", "rm", f"--bucket={site.bucket}", "--purge-objects")
    site.let_pass()
    code, printed = wait(process)

    assert code == 3, printed
    assert f"there is no bucket {site.bucket}" in printed
    with pytest.raises(botocore.exceptions.ClientError, match="NoSuchBucket"):
        site.s3.client().list_objects_v2(Bucket=site.bucket)
    site.s3.client().create_bucket(Bucket=site.bucket)
    site.take_in(site.first)
    again = site.require_next_dump()
    row = ("upload", "bucket gone", "NoSuchBucket", "exit 3, names the bucket")
    leave_row(request, "dump to S3", *row, f"made anew: {again}")


def test_a_clock_that_the_server_does_not_believe(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    code, printed = site.run("dump", **wrong_clock("+2h"))

    assert code == 5, printed
    assert "RequestTimeTooSkewed" in printed
    denied = site.wall.count(403)
    assert denied >= 1
    assert site.labels() == [site.first]
    assert site.debris() == []
    again = site.require_next_dump()
    row = ("lock", "clock +2h", f"{denied} requests answered 403", "exit 5, nothing left")
    leave_row(request, "dump to S3", *row, again)


def test_of_two_runs_at_once_the_second_is_turned_away(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    process = site.start_and_hold_a_part()
    codes = [site.run("rotate", "--apply")[0]]
    code, printed = site.run("dump")
    site.let_pass()
    first_code, _ = wait(process)

    assert [*codes, code] == [8, 8], printed
    assert first_code == 0
    (label,) = site.new_labels()
    site.require_whole(label)
    again = site.require_next_dump()
    row = ("upload", "two runs at once", "the first holds a part back")
    leave_row(request, "dump to S3", *row, "exit 8 and 8, the first: complete", again)
