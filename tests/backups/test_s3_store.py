"""A bucket is as good a store as a folder, on a forgiving server and on a real one."""

from pathlib import Path
from typing import Any

import pytest

from backups.catalog import catalog, read_backup
from backups.drill import drill
from backups.dump import dump
from backups.manifest import DUMP
from backups.stores import LocalStore, open_store
from backups.stores.base import Safeguards
from backups.stores.s3 import S3Store
from backups.verify import verify
from casedb.conninfo import Conninfo
from casedb.errors import BackupDamagedError, ConfigurationError, UnverifiedError
from casedb.tools import PostgresTools
from tests.backups.conftest import SAMPLE, Made, keys, put_set, store_in
from tests.s3.servers import PRUNER, Server

pytestmark = pytest.mark.usefixtures("as_pruner", "small_parts")


def test_a_dump_into_a_bucket_is_verified_and_drilled_from_there_alone(
    store: S3Store, sample: Conninfo, tools: PostgresTools
) -> None:
    manifest = dump(sample.replace(user="sample_backup"), store, tools=tools)

    assert store.databases() == [SAMPLE]
    assert verify(store, manifest.label, tools=tools).outcome == "passed"
    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"
    (backup,) = catalog(store, SAMPLE)
    assert backup.is_good
    assert backup.passed_drill
    assert not [key for key in keys(store) if ".begun" in key or ".leases" in key]


def count_requests(store: S3Store) -> list[str]:
    """Return a list that gets the method and address of every request from now on."""
    asked: list[str] = []

    def note(request: Any, **_words: object) -> None:
        asked.append(f"{request.method} {request.url}")

    store.bucket._client.meta.events.register("before-send.s3", note)
    return asked


def test_each_backup_costs_the_catalog_one_request_and_one_for_each_report(
    store: S3Store, made: Made, tools: PostgresTools
) -> None:
    labels = [put_set(store, made, days=days) for days in range(3)]
    verify(store, labels[0], tools=tools)
    asked = count_requests(store)

    found = catalog(store, SAMPLE)

    assert [backup.label for backup in found] == labels
    assert [bool(backup.verified) for backup in found] == [True, False, False]
    assert all(backup.is_good for backup in found)
    (listed,) = [one for one in asked if "?versions" in one]
    assert listed == asked[0]
    assert len(asked) == 1 + 3 + 1


def test_a_dump_asks_no_more_where_there_are_more_backups(
    store: S3Store, made: Made, sample: Conninfo, tools: PostgresTools
) -> None:
    asked, took = count_requests(store), []
    for days in (1, 2, 3):
        put_set(store, made, days=days)
        asked.clear()
        dump(sample.replace(user="sample_backup"), store, tools=tools)
        took.append(len(asked))

    # Small files are sent whole: one request each, and the fewest around them.
    assert took[0] == took[1] == took[2] <= 24, asked


def test_a_copy_of_the_bucket_is_a_local_store(
    store: S3Store, made: Made, tools: PostgresTools, tmp_path: Path
) -> None:
    label = put_set(store, made)
    for name in store.files(SAMPLE, label):
        path = tmp_path / SAMPLE / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.open(SAMPLE, label, name) as file:
            path.write_bytes(file.read())

    assert verify(LocalStore(tmp_path), label, tools=tools).outcome == "passed"


def test_a_set_that_was_not_committed_is_nowhere(store: S3Store, made: Made) -> None:
    put_set(store, made, commit=False)

    assert store.labels(SAMPLE) == []
    assert not [key for key in keys(store) if ".lock" not in key]


def test_deleting_and_overwriting_with_put_rights_changes_nothing_for_readers(
    server: Server, versioned: S3Store, made: Made, tools: PostgresTools
) -> None:
    """A delete without a version empties the bucket's listing; the versions are all there."""
    label = put_set(versioned, made)
    client, bucket = server.client(), versioned.location.bucket
    for key in [key for key in keys(versioned) if f"/{label}/" in key]:
        client.put_object(Bucket=bucket, Key=key, Body=b"ransom")
        client.delete_object(Bucket=bucket, Key=key)
    assert not client.list_objects_v2(Bucket=bucket, Prefix=f"some/where/{SAMPLE}/{label}").get(
        "Contents"
    )

    assert versioned.labels(SAMPLE) == [label]
    assert verify(versioned, label, tools=tools).outcome == "passed"


def test_one_changed_byte_in_a_bucket_is_found(
    server: Server, made: Made, tools: PostgresTools
) -> None:
    store = store_in(server, server.new_bucket())
    label = put_set(store, made)
    data = bytearray((made.folder / DUMP).read_bytes())
    data[-10] ^= 1
    key = f"some/where/{SAMPLE}/{label}/{DUMP}"
    server.client().put_object(Bucket=store.location.bucket, Key=key, Body=bytes(data))

    with pytest.raises(BackupDamagedError, match="does not match"):
        verify(store, label, tools=tools)

    assert not read_backup(store, SAMPLE, label).is_good


def test_a_missing_bucket_is_named(server: Server, sample: Conninfo, tools: PostgresTools) -> None:
    store = store_in(server, "casedb-nowhere")

    with pytest.raises(ConfigurationError, match="no bucket casedb-nowhere"):
        catalog(store, SAMPLE)
    with pytest.raises(ConfigurationError, match="no bucket casedb-nowhere"):
        dump(sample, store, tools=tools)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("s3://key:secret@bucket/x", "has credentials in it"),
        ("s3://bucket/x?lockdays=3", 'unknown option "lockdays"'),
        ("s3:///x", "names no bucket"),
        ("s3://bucket?lock_days=x", "not a number"),
        ("s3://bucket?storage_class=GLACIER", "cannot be read at once"),
        ("s3://bucket?storage_class=DEEP_ARCHIVE", "cannot be read at once"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)

    assert complaint in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_a_bucket_tells_how_it_keeps_what_is_deleted(server: Server, store: S3Store) -> None:
    kept = bool(store.bucket.keeps_versions())
    assert store.safeguards() == Safeguards(kept, None, None, 0)

    name = server.new_bucket(versions=True)
    server.client().put_bucket_lifecycle_configuration(
        Bucket=name,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "forget",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 5},
                    "Expiration": {"Days": 9},
                }
            ]
        },
    )
    assert store_in(server, name, "&lock_days=3").safeguards() == Safeguards(True, 5, 9, 3)
    with pytest.raises((UnverifiedError, ConfigurationError)):
        store_in(server, "no-such-bucket-at-all").safeguards()


@pytest.fixture
def aws_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where AWS' two files are, in place of ~/.aws."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return tmp_path


@pytest.mark.parametrize("named_by", ["address", "environment"])
def test_a_profile_says_who_asks_and_may_say_where(
    server: Server, made: Made, aws_folder: Path, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    words = f"region = us-east-1\nendpoint_url = {server.endpoint}\n"
    (aws_folder / "config").write_text(f"[profile vault]\n{words}")
    keys = [f"{name.lower()} = {value}" for name, value in PRUNER.items()]
    (aws_folder / "credentials").write_text("\n".join(["[vault]", *keys, ""]))
    url = f"s3://{server.new_bucket()}/some/where"
    if named_by == "address":
        # Which the profile of the address outranks, and AWS_PROFILE does not.
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access-nobody")
        url += "?profile=vault"
    else:
        for name in PRUNER:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_PROFILE", "vault")
    store = open_store(url)

    label = put_set(store, made)

    assert [(b.label, b.is_good) for b in catalog(open_store(url), SAMPLE)] == [(label, True)]


@pytest.mark.parametrize(
    ("config", "words", "environment", "why"),
    [
        ("", "?profile=valut", {}, "(valut) could not be found"),
        ("", "", {"AWS_PROFILE": "valut"}, "(valut) could not be found"),
        ("[profile vault\n", "?profile=vault", {}, "Unable to parse"),
        ("", "?endpoint=nonsense", {}, "Invalid endpoint: nonsense"),
        ("", "", {"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint: nonsense"),
        ("[profile vault]\nsource_profile = x\nrole_arn = arn:aws:iam::1:role/x\n",
         "?profile=vault", {}, '"x" referenced'),
    ],
)  # fmt: skip
def test_a_profile_that_is_not_there_is_no_trouble_of_the_network(
    sample: Conninfo,
    tools: PostgresTools,
    aws_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    words: str,
    environment: dict[str, str],
    why: str,
) -> None:
    (aws_folder / "config").write_text(config)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://bucket/x{words}")

    for action in (
        lambda: dump(sample, store, tools=tools),
        lambda: catalog(store, SAMPLE),
        lambda: store.safeguards(),
    ):
        with pytest.raises(ConfigurationError) as caught:
            action()
        assert why in (caught.value.detail or "")
        assert "AWS_PROFILE" in (caught.value.hint or "")
        assert caught.value.exit_code == 3
