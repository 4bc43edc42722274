"""`casedb status` turns red for one thing at a time, and exit code 9 tells; so of drills."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backups.catalog import read_backup
from backups.manifest import DUMP, MANIFEST, FileFacts, Manifest
from backups.stores import LocalStore
from tests.cli.conftest import Casedb, Result
from tests.matrix.clock import wrong_clock
from tests.s3.proxy import proxy
from tests.s3.servers import PRUNER, SERVERS, Server, s3_server

DATABASE = "case_management"


@pytest.fixture
def store(brought_up: Casedb, tmp_path: Path) -> LocalStore:
    """The backup that `casedb up` made, dumped and drilled, in a store of its own.

    Other tests may have added backups and stores since.
    """
    made = brought_up.folder / ".casedb" / "backups" / DATABASE
    copied = tmp_path / "store" / DATABASE
    label = min(LocalStore(made.parent).labels(DATABASE))
    shutil.copytree(made / label, copied / label)
    (copied / "records").mkdir()
    for record in (made / "records").glob(f"{label}.*"):
        shutil.copy(record, copied / "records")
    return LocalStore(tmp_path / "store")


def status(casedb: Casedb, url: object, *words: str, **environment: str) -> Result:
    return casedb("status", "--without-server", f"--store={url}", *words, **environment)


def red(result: Result) -> dict[str, str]:
    """What is not well, and how it is."""
    return {f["check"]: f["state"] for f in result.json["findings"] if not f["well"]}


def newest(store: LocalStore) -> Manifest:
    (label,) = store.labels(DATABASE)
    found = read_backup(store, DATABASE, label).manifest
    assert found
    return found


def add_earlier(store: LocalStore, *, padding_bytes: int = 0) -> Path:
    """Add a backup of the day before that differs in age, and in size by `padding_bytes`."""
    manifest = newest(store)
    at = manifest.started_at - timedelta(days=1)
    label = f"{DATABASE}-{at:%Y%m%dT%H%M%SZ}"
    folder = store.root / DATABASE / label
    shutil.copytree(folder.with_name(manifest.label), folder)
    with (folder / DUMP).open("ab") as file:
        file.write(bytes(padding_bytes))
    archive = FileFacts(size_bytes=(folder / DUMP).stat().st_size, sha256="0" * 64)
    earlier = manifest.model_copy(
        update={"label": label, "started_at": at, "files": {**manifest.files, DUMP: archive}}
    )
    (folder / MANIFEST).write_bytes(earlier.to_bytes())
    return folder


def shrink(store: LocalStore) -> None:
    # Twice as large, but for what differs between two manifests.
    add_earlier(store, padding_bytes=read_backup(store, DATABASE, newest(store).label).size_bytes)


def damage(store: LocalStore) -> None:
    with (add_earlier(store) / "globals.sql").open("ab") as file:
        file.write(b"x")


@pytest.mark.parametrize(
    ("spoil", "check", "state"),
    [
        (shrink, "size", "the newest has 50% of what is usual"),
        (damage, "damage", "1 of 2 damaged"),
    ],
)
def test_one_thing_is_not_well_and_the_code_is_9(
    brought_up: Casedb,
    store: LocalStore,
    spoil: Callable[[LocalStore], None],
    check: str,
    state: str,
) -> None:
    assert status(brought_up, store.root).code == 0

    spoil(store)

    found = status(brought_up, store.root, "--json")
    assert found.code == 9
    assert red(found) == {check: state}
    shown = status(brought_up, store.root)
    assert shown.code == 9
    assert f"NOT WELL   {state}" in shown.out


def test_what_a_clock_wrote_that_was_ahead_hides_nothing(casedb: Casedb) -> None:
    """Neither that dumps have stopped, nor that a drill has failed since, nor the newest."""
    assert casedb("up").code == 0
    home = casedb.folder / ".casedb/backups"
    (now,) = LocalStore(home).labels(DATABASE)
    # A command that sleeps cannot keep the other clock right under libfaketime.
    in_400_days = {**wrong_clock("+400d"), "FAKETIME_DONT_FAKE_MONOTONIC": "0"}
    assert casedb("dump", **in_400_days).code == 0
    ahead = max(LocalStore(home).labels(DATABASE))
    assert casedb("drill", ahead, **in_400_days).code == 0
    record = home / DATABASE / "records" / f"{now}.drill.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"outcome": "failed"}))

    found = status(casedb, home, "--json", CASEDB_BACKUP_MAX_AGE="0s")

    assert found.code == 9
    wrong = red(found)
    assert set(wrong) == {"clock", "backup", "drill"}
    assert wrong["clock"].startswith(
        "from the future: the clock of the host that took it was ahead"
    )
    assert wrong["clock"].endswith(ahead)
    assert now in wrong["backup"]
    assert wrong["drill"] == f"the last one failed: {now}"
    (loss,) = found.json["possible_loss_h"].values()
    assert loss < 1
    assert "from the future" in casedb("backups").out
    refused = casedb("restore", "latest", "--plan")
    assert refused.code == 7
    assert f"Then name {now}" in refused.err
    plan = casedb("restore", ahead, "--plan", "--json").json
    assert any("this backup is from the future" in note for note in plan["notes"])


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with s3_server(request.param) as started:
        yield started


def in_bucket(store: LocalStore, server: Server) -> tuple[str, str]:
    """Copy `store` into a bucket; return its name and the store's address."""
    bucket = server.new_bucket(versions=True)
    for path in store.root.rglob("*"):
        if path.is_file():
            server.client().upload_file(str(path), bucket, f"casedb/{path.relative_to(store.root)}")
    return bucket, f"s3://{bucket}/casedb?endpoint={server.endpoint}"


def test_a_bucket_that_forgets_too_early_is_not_well(
    brought_up: Casedb, store: LocalStore, server: Server
) -> None:
    bucket, url = in_bucket(store, server)
    before = status(brought_up, url, "--json", **PRUNER)
    assert before.code == 0, before.out

    server.client().put_bucket_lifecycle_configuration(
        Bucket=bucket,
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "forget",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 2},
                }
            ]
        },
    )

    found = status(brought_up, url, "--json", **PRUNER)
    assert found.code == 9
    assert red(found) == {
        "bucket": "it forgets what was deleted after 2d, backups are kept for up to 7d"
    }


@pytest.mark.parametrize("refused", ["reading", "all"])
def test_what_may_only_be_written_is_told_from_what_cannot_be_reached(
    brought_up: Casedb, store: LocalStore, server: Server, refused: str
) -> None:
    _bucket, url = in_bucket(store, server)

    def fault(method: str, path: str) -> int | None:
        # To list versions is to read the names alone.
        is_listing = "versions" in path.partition("?")[2].split("&")
        return 403 if refused == "all" or (method == "GET" and not is_listing) else None

    with proxy(server.endpoint) as wall:
        wall.fault = fault
        url = url.replace(server.endpoint, wall.endpoint)
        found = status(brought_up, url, "--json", **PRUNER)

    assert found.code == 9
    (finding,) = (f for f in found.json["findings"] if f["store"])
    assert finding["check"] == "backup"
    assert finding["known"] is (refused == "all")
    state = "the store cannot be read" if refused == "all" else "not readable from here"
    assert finding["state"].startswith(state)


def test_a_drill_without_access_is_shown_as_one_and_drilled_again(
    brought_up: Casedb, store: LocalStore
) -> None:
    url = f"--store={store.root}"
    label = newest(store).label
    assert ", without" not in brought_up("backups", url).out

    assert brought_up("drill", "--without-access", url).code == 0

    assert "ago, without" in brought_up("backups", url).out
    found = status(brought_up, store.root)
    assert found.code == 0
    assert f"{label}, without access" in found.out
    assert "passed, without access" in brought_up("restore", "--plan", url).out
    left_out = brought_up("drill", "--newest-undrilled", "--without-access", url)
    assert "every good backup has passed a drill" in left_out.err

    again = brought_up("drill", "--newest-undrilled", "--json", url)

    assert again.json["label"] == label
    assert again.json["access_probed"]
    assert ", without" not in brought_up("backups", url).out


def test_a_drill_that_cannot_be_recorded_passes_and_says_that_nobody_will_know(
    brought_up: Casedb, store: LocalStore
) -> None:
    label = newest(store).label
    records = store.root / DATABASE / "records"
    shutil.rmtree(records)
    # As where a disk is not mounted; root cannot write there either.
    records.symlink_to("gone/records")

    drilled = brought_up("drill", f"--store={store.root}", "--json")

    assert drilled.code == 0, drilled.err
    assert drilled.json["outcome"] == "passed"
    assert f"WARNING: {label} passed, and nobody else will know" in drilled.err
