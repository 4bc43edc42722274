"""A folder and a bucket at once: each has all of a backup, whatever happens to the other one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backups.catalog import catalog
from backups.drill import drill
from backups.dump import dump
from backups.manifest import DUMP
from backups.stores import LocalStore, Store, s3_lock
from backups.stores.s3 import S3Store
from backups.stores.several import SeveralStores
from backups.verify import verify
from casedb.conninfo import Conninfo
from casedb.errors import CasedbError, ConfigurationError, ToolFailedError
from casedb.s3_model import parse_location
from casedb.tools import PostgresTools
from tests.matrix.disk import small_disk
from tests.s3.proxy import proxy
from tests.s3.servers import Server

pytestmark = pytest.mark.usefixtures("as_pruner")


@pytest.fixture
def folder(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "folder")


@pytest.fixture
def bucket(server: Server) -> S3Store:
    name = server.new_bucket(versions=True)
    return S3Store(parse_location(f"s3://{name}/some/where?endpoint={server.endpoint}"))


@contextmanager
def hit_in_its_archive(bucket: S3Store, fault: Callable[[], int | None]) -> Iterator[S3Store]:
    """Yield the bucket so that `fault` happens just before it is sent the archive.

    What `fault` returns is what every request is answered from then on, if it is a status.
    """
    answers: list[int | None] = []

    def answer(method: str, path: str) -> int | None:
        if not answers and method in ("PUT", "POST") and DUMP in path:
            answers.append(fault())
        return answers[0] if answers else None

    with proxy(bucket.location.endpoint or "") as wall:
        wall.fault = answer
        yield S3Store(replace(bucket.location, endpoint=wall.endpoint))
    assert answers


def remove(server: Server, bucket: S3Store) -> None:
    for version in bucket.bucket.listing("").versions:
        bucket.bucket.delete(version.key, version.version_id)
    server.client().delete_bucket(Bucket=bucket.location.bucket)


def require_next_dump(source: Conninfo, stores: list[Store], tools: PostgresTools) -> None:
    several = SeveralStores(stores)
    manifest = dump(source, several, tools=tools)
    assert several.failures == {}
    for store in stores:
        assert verify(store, manifest.label, tools=tools).outcome == "passed"


def test_each_has_all_of_the_backup_and_is_drilled_alone(
    sample: Conninfo, folder: LocalStore, bucket: S3Store, tools: PostgresTools
) -> None:
    source = sample.replace(user="sample_backup")

    label = dump(source, SeveralStores([folder, bucket]), tools=tools).label

    def content(store: Store) -> dict[str, bytes]:
        found = {}
        for name in store.files(sample.dbname, label):
            with store.open(sample.dbname, label, name) as file:
                found[name] = file.read()
        return found

    assert content(folder) == content(bucket)
    for store in (folder, bucket):
        (backup,) = catalog(store, sample.dbname)
        assert backup.is_good
        assert drill(store, label, tools=tools, with_access=False).outcome == "passed"


@pytest.mark.parametrize("first", ["folder", "bucket"])
def test_a_bucket_that_goes_away_does_not_keep_the_backup_from_the_folder(
    server: Server,
    small: Conninfo,
    folder: LocalStore,
    bucket: S3Store,
    tools: PostgresTools,
    first: str,
) -> None:
    with hit_in_its_archive(bucket, lambda: remove(server, bucket)) as hit:
        several = SeveralStores([folder, hit] if first == "folder" else [hit, folder])
        manifest = dump(small, several, tools=tools)

    error = several.failures[hit.url]
    assert isinstance(error, ConfigurationError)
    assert "no bucket" in error.message
    assert several.urls == (folder.url,)
    assert verify(folder, manifest.label, tools=tools).outcome == "passed"
    server.client().create_bucket(Bucket=bucket.location.bucket)
    assert catalog(bucket, small.dbname) == []
    require_next_dump(small, [folder, bucket], tools)


def test_credentials_that_are_revoked_do_not_keep_the_backup_from_the_folder(
    server: Server,
    small: Conninfo,
    folder: LocalStore,
    bucket: S3Store,
    tools: PostgresTools,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = ("radosgw-admin", "key")
    names = ("--uid=pruner", "--key-type=s3", "--access-key=access-short")

    def revoke() -> int | None:
        # moto takes any credentials: there, the proxy answers as Ceph does by itself.
        if server.container is None:
            return 403
        server.run(*key, "rm", *names)
        return None

    if server.container:
        server.run(*key, "create", *names, "--secret-key=secret-short")
    with monkeypatch.context() as short, hit_in_its_archive(bucket, revoke) as hit:
        short.setenv("AWS_ACCESS_KEY_ID", "access-short")
        short.setenv("AWS_SECRET_ACCESS_KEY", "secret-short")
        several = SeveralStores([folder, hit])
        manifest = dump(small, several, tools=tools)

    assert isinstance(several.failures[hit.url], CasedbError)
    assert several.failures[hit.url].exit_code == 5
    assert several.urls == (folder.url,)
    assert verify(folder, manifest.label, tools=tools).outcome == "passed"
    assert catalog(bucket, small.dbname) == []
    # It could not let its lock go, and its process, which is this one, lives on.
    monkeypatch.setattr(s3_lock, "LIFETIME", -timedelta(minutes=1))
    require_next_dump(small, [folder, bucket], tools)


def test_a_folder_that_fills_up_does_not_keep_the_backup_from_the_bucket(
    small: Conninfo, bucket: S3Store, tools: PostgresTools, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", megabytes=64) as disk:
        folder = LocalStore(disk.path / "folder")

        def fill() -> None:
            assert disk.fill()

        with hit_in_its_archive(bucket, fill) as hit:
            # The bucket first: the folder has its archive still open.
            several = SeveralStores([hit, folder])
            manifest = dump(small, several, tools=tools)

        error = several.failures[folder.url]
        assert isinstance(error, ToolFailedError)
        assert error.message == "the store is full"
        assert several.urls == (hit.url,)
        assert verify(bucket, manifest.label, tools=tools).outcome == "passed"
        assert catalog(folder, small.dbname) == []
        disk.make_room()
        require_next_dump(small, [bucket, folder], tools)
