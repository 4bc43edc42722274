"""A host that may only put, and a pruner who may do the rest, on a real server."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backups.catalog import catalog
from backups.chain import check_chain, read_head
from backups.drill import drill
from backups.dump import dump
from backups.manifest import DUMP, MANIFEST, Link, Manifest
from backups.progress import Progress
from backups.retention import Retention
from backups.rotate import rotate
from backups.stores import s3_sweep
from backups.stores.base import ReadingDeniedError
from backups.stores.s3 import S3Store
from backups.tombstones import read_tombstones
from backups.verify import verify
from casedb.conninfo import Conninfo
from casedb.errors import ToolFailedError, UnverifiedError
from casedb.s3_model import S3Error, parse_location
from casedb.tools import PostgresTools
from tests.backups.conftest import SAMPLE
from tests.s3.servers import Server, ceph, why_no_ceph

pytestmark = [pytest.mark.real_s3, pytest.mark.usefixtures("small_parts")]
ONE = Retention(keep_within=timedelta(0), keep_last=1)
PAGE = Path(__file__).parents[2] / "docs" / "backups.md"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if reason := why_no_ceph():
        pytest.skip(reason)
    with ceph() as started:
        yield started


def policy(bucket: str) -> str:
    """Return the policy that docs/backups.md tells people to set."""
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.S)
    return str(block).replace("BUCKET", bucket)


@pytest.fixture(params=["versions", "lock"])
def bucket(server: Server, request: pytest.FixtureRequest) -> str:
    name = server.new_bucket(versions=True, lock=request.param == "lock")
    server.client().put_bucket_policy(Bucket=name, Policy=policy(name))
    return name


def store_of(
    user: str, server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch, words: str = ""
) -> S3Store:
    """Return the store as `user` sees it; its credentials are taken up when it is first used."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"access-{user}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"secret-{user}")
    made = S3Store(parse_location(f"s3://{bucket}/here?endpoint={server.endpoint}{words}"))
    made.databases()
    return made


@pytest.fixture
def host(server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    return store_of("host", server, bucket, monkeypatch)


@pytest.fixture
def pruner(server: Server, bucket: str, host: S3Store, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    return store_of("pruner", server, bucket, monkeypatch)


def take(
    store: S3Store,
    sample: Conninfo,
    tools: PostgresTools,
    said: list[str] | None = None,
    *,
    chain: Path | None = None,
) -> Manifest:
    def tell(progress: Progress) -> None:
        if said is not None:
            said.append(progress.phase)

    target = sample.replace(user="sample_backup")
    return dump(target, store, tools=tools, chain=chain, on_progress=tell)


def test_a_host_that_may_only_put_dumps_and_says_that_nothing_was_read_back(
    host: S3Store, pruner: S3Store, sample: Conninfo, tools: PostgresTools
) -> None:
    said: list[str] = []

    made = [take(host, sample, tools, said), take(host, sample, tools)]

    assert any(line.startswith("not read back: only writing is allowed at") for line in said)
    with pytest.raises(UnverifiedError, match="cannot be read"):
        verify(host, made[0].label, tools=tools)
    with pytest.raises(ReadingDeniedError):
        catalog(host, SAMPLE)
    victim = next(v for v in host.bucket.listing("here/").versions if v.key.endswith(DUMP))
    with pytest.raises(S3Error) as caught:
        host.bucket.delete(victim.key, victim.version_id)
    assert caught.value.is_denied

    # The other credentials are another machine's, which has what this one must not have.
    found = catalog(pruner, SAMPLE)
    assert [backup.label for backup in found] == [m.label for m in reversed(made)]
    assert all(backup.is_good for backup in found)
    for manifest in made:
        assert verify(pruner, manifest.label, tools=tools).outcome == "passed"
    newest = made[1].label
    assert drill(pruner, newest, tools=tools, with_access=False).outcome == "passed"
    plan = rotate(pruner, SAMPLE, ONE, now=datetime.now(UTC), apply=True)
    assert plan.deleted == (made[0].label,)
    assert pruner.labels(SAMPLE) == [newest]


def test_who_may_read_and_not_delete_is_told_so_and_not_that_it_is_locked(
    server: Server,
    bucket: str,
    host: S3Store,
    pruner: S3Store,
    sample: Conninfo,
    tools: PostgresTools,
) -> None:
    made = [take(host, sample, tools).label for _ in range(2)]
    # A pruner that lost its right to delete; the objects are the host's.
    reading = policy(bucket).replace('"s3:PutObject",', '"s3:PutObject", "s3:GetObject*",')
    reading = reading.replace('"s3:GetObject", "s3:GetObjectVersion", ', "")
    server.client().put_bucket_policy(Bucket=bucket, Policy=reading)

    refused = rotate(host, SAMPLE, ONE, now=datetime.now(UTC), apply=True)

    assert isinstance(refused.failure, ToolFailedError)
    assert "may not be deleted" in refused.failure.message
    assert refused.retained == ()
    assert pruner.labels(SAMPLE) == made
    assert read_tombstones(pruner, SAMPLE) == {}
    server.client().put_bucket_policy(Bucket=bucket, Policy=policy(bucket))
    plan = rotate(pruner, SAMPLE, ONE, now=datetime.now(UTC), apply=True)
    assert plan.deleted == (made[0],)
    assert list(read_tombstones(pruner, SAMPLE)) == [made[0]]


def test_uploads_that_the_host_left_unfinished_are_swept_by_the_pruner(
    server: Server,
    bucket: str,
    host: S3Store,
    pruner: S3Store,
    sample: Conninfo,
    tools: PostgresTools,
) -> None:
    label = f"{SAMPLE}-20260101T000000Z"
    left = f"here/{SAMPLE}/{label}/{DUMP}"
    host.bucket.put(f"here/{SAMPLE}/.begun/{label}", b"begun")
    begun = host.bucket.begin_upload(left, locked=False)
    host.bucket.send_part(left, begun, 1, b"x" * (5 << 20))

    made = take(host, sample, tools)

    client = server.client()
    kept = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    assert [upload["Key"] for upload in kept] == [left]
    rotate(pruner, SAMPLE, ONE, now=datetime.now(UTC), apply=True)
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert pruner.labels(SAMPLE) == [made.label]


def test_a_killed_run_of_the_host_counts_for_nothing_until_the_pruner_takes_it_away(
    server: Server,
    bucket: str,
    host: S3Store,
    pruner: S3Store,
    sample: Conninfo,
    tools: PostgresTools,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    label = f"{SAMPLE}-20260101T000000Z"
    mark = f"here/{SAMPLE}/.begun/{label}"
    host.bucket.put(mark, b"begun")
    host.bucket.put(f"here/{SAMPLE}/{label}/globals.sql", b"half of it")
    said: list[str] = []

    made = [take(host, sample, tools, said).label, take(host, sample, tools).label]

    # It may not remove it, and does not say that it did.
    assert not any(label in line for line in said)
    assert host.labels(SAMPLE) == made
    assert [backup.label for backup in catalog(pruner, SAMPLE)] == made[::-1]
    rotate(pruner, SAMPLE, ONE, now=datetime.now(UTC), apply=True)
    assert {v.key for v in pruner.bucket.listing("here/").versions if label in v.key} == {mark}
    monkeypatch.setattr(s3_sweep, "LATE", -timedelta(minutes=1))
    rotate(pruner, SAMPLE, ONE, now=datetime.now(UTC), apply=True)
    assert not [v for v in pruner.bucket.listing("here/").versions if label in v.key]


def test_what_comes_late_to_a_host_that_may_only_put_counts_for_nothing_and_stops_no_dump(
    host: S3Store,
    pruner: S3Store,
    sample: Conninfo,
    tools: PostgresTools,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    label = f"{SAMPLE}-20260101T000000Z"
    host.bucket.put(f"here/{SAMPLE}/.begun/{label}", b"begun")
    rotate(pruner, SAMPLE, ONE, now=datetime.now(UTC), apply=True)
    host.bucket.put(f"here/{SAMPLE}/{label}/{MANIFEST}", b"sent by a run that was killed then")

    made = [take(host, sample, tools).label for _ in range(2)]

    assert host.labels(SAMPLE) == pruner.labels(SAMPLE) == made
    monkeypatch.setattr(s3_sweep, "LATE", -timedelta(minutes=1))
    rotate(pruner, SAMPLE, ONE, now=datetime.now(UTC), apply=True)
    assert not [v for v in pruner.bucket.listing("here/").versions if label in v.key]


def test_marks_that_a_host_cannot_delete_are_emptied_once(
    host: S3Store, sample: Conninfo, tools: PostgresTools
) -> None:
    for _ in range(3):
        take(host, sample, tools)

    marks = [v.key for v in host.bucket.listing(f"here/{SAMPLE}/.begun/").versions]
    assert sorted(marks) == sorted([*set(marks), *set(marks)])


def test_a_host_can_overwrite_and_readers_do_not_notice(
    server: Server,
    bucket: str,
    host: S3Store,
    pruner: S3Store,
    sample: Conninfo,
    tools: PostgresTools,
) -> None:
    """Versions are pinned: not even a read that has begun sees what is put over it."""
    made = take(host, sample, tools)
    data = os.urandom(13 << 20)
    key = f"here/other/other-20260101T000000Z/{DUMP}"
    with host.bucket.writing(key, locked=False) as file:
        file.write(data)

    with pruner.open("other", "other-20260101T000000Z", DUMP) as reading:
        begin = reading.read(1000)
        intruder = server.client("host")
        names = [v.key for v in pruner.bucket.listing("here/").versions if not v.is_marker]
        for name in {n for n in names if f"/{made.label}/" in n or n == key}:
            intruder.put_object(Bucket=bucket, Key=name, Body=b"ransom")
        rest = reading.read()

    assert begin + rest == data
    assert verify(pruner, made.label, tools=tools).outcome == "passed"


def test_a_host_may_lock_what_it_puts_and_nobody_gets_it_out_before_its_time(
    server: Server, monkeypatch: pytest.MonkeyPatch, sample: Conninfo, tools: PostgresTools
) -> None:
    bucket = server.new_bucket(lock=True)
    server.client().put_bucket_policy(Bucket=bucket, Policy=policy(bucket))
    host = store_of("host", server, bucket, monkeypatch, "&lock_days=1&lock_mode=GOVERNANCE")
    old, new = take(host, sample, tools), take(host, sample, tools)
    pruner = store_of("pruner", server, bucket, monkeypatch)

    plan = rotate(pruner, SAMPLE, ONE, now=datetime.now(UTC), apply=True)

    assert plan.retained == (old.label,)
    assert plan.deleted == ()
    assert pruner.labels(SAMPLE) == [old.label, new.label]
    assert verify(pruner, old.label, tools=tools).outcome == "passed"


def test_a_host_that_may_only_put_keeps_the_chain_and_its_head_tells_what_is_gone(
    host: S3Store, pruner: S3Store, sample: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """The pruner reads, and the host remembers: what one of them misses, the other cannot know."""
    memory = tmp_path / "chain"
    made = [take(host, sample, tools, chain=memory) for _ in range(3)]
    oldest, middle, newest = (manifest.label for manifest in made)
    head = read_head(memory, SAMPLE)

    def states(known: Link | None) -> dict[str, str]:
        return {e.label: e.state.value for e in check_chain(pruner, SAMPLE, known)}

    def take_away(label: str) -> None:
        for version in pruner.bucket.listing("here/").versions:
            if f"/{label}/" in version.key:
                pruner.bucket.delete(version.key, version.version_id)

    checksums = {b.label: b.manifest_sha256 for b in catalog(pruner, SAMPLE)}
    links = [
        Link(label=label, manifest_sha256=checksum, stores=(pruner.url,))
        for label, checksum in sorted(checksums.items())
    ]
    assert [*(manifest.previous for manifest in made), head] == [None, *links]
    assert states(head) == {newest: "whole", middle: "whole", oldest: "whole"}
    assert states(None) == {newest: "unattested", middle: "whole", oldest: "whole"}
    with pytest.raises(ReadingDeniedError):
        check_chain(host, SAMPLE, head)

    take_away(newest)
    assert states(head) == {newest: "missing", middle: "unattested", oldest: "whole"}
    assert states(None) == {middle: "unattested", oldest: "whole"}

    take_away(middle)
    # Only the manifest that has gone with it said that there was one in the middle.
    assert states(head) == {newest: "missing", oldest: "unattested"}
    assert states(None) == {oldest: "unattested"}

    after = take(host, sample, tools, chain=memory).label
    assert states(None) == {after: "unattested", newest: "missing", oldest: "unattested"}
