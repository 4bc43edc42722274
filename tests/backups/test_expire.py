"""One backup goes by its label, if it can be spared."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backups.catalog import catalog, resolve_label
from backups.chain import check_chain, read_head
from backups.dump import dump
from backups.expire import Expiry, expire, finish, plan_expiry
from backups.manifest import MANIFEST
from backups.records import write_record
from backups.sealing import new_key, read_keys
from backups.stores import LocalStore, Store
from backups.stores.s3 import S3Store
from backups.tombstones import read_tombstones
from casedb.conninfo import Conninfo
from casedb.errors import ConfigurationError, LockedError, RefusedError
from casedb.tools import PostgresTools
from tests.backups.conftest import NOW, SAMPLE, Made, passed_drill, put_set, store_in
from tests.s3.servers import Server

AHEAD = -400
"""Days ago: taken by a clock that was ahead."""


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def passed(store: Store, label: str, *, with_access: bool = True) -> None:
    """Let a drill of it have passed."""
    write_record(store, SAMPLE, passed_drill(label, NOW, with_access=with_access))


def let_go(store: Store, label: str) -> None:
    expire(store, SAMPLE, label, now=NOW, reason="tried")


def labels(store: Store) -> list[str]:
    return [backup.label for backup in catalog(store, SAMPLE)]


def test_one_of_two_goes_and_a_tombstone_says_why(local: LocalStore, made: Made) -> None:
    old, new = put_set(local, made, days=9), put_set(local, made)

    planned = plan_expiry(local, SAMPLE, new, now=NOW)
    assert isinstance(planned, Expiry)
    assert planned.newest_left is not None
    assert planned.newest_left.label == old
    assert labels(local) == [new, old]

    expire(local, SAMPLE, new, now=NOW, reason="a name that must not stay")

    assert labels(local) == [old]
    tombstone = read_tombstones(local, SAMPLE)[new]
    assert (tombstone.reason, tombstone.at) == ("a name that must not stay", NOW)
    assert planned.backup.manifest_sha256 == tombstone.manifest_sha256


def test_the_only_good_one_stays_whatever_is_beside_it(local: LocalStore, made: Made) -> None:
    old, new = put_set(local, made, days=9), put_set(local, made)
    (local.root / SAMPLE / old / MANIFEST).write_text("{}")

    with pytest.raises(RefusedError, match="it is the only good one"):
        let_go(local, new)

    assert labels(local) == [new, old]
    assert read_tombstones(local, SAMPLE) == {}


def test_the_newest_that_passed_a_drill_stays_and_an_older_one_goes(
    local: LocalStore, made: Made
) -> None:
    oldest, old, new = (put_set(local, made, days=days) for days in (19, 9, 0))
    passed(local, oldest)
    passed(local, old)

    with pytest.raises(RefusedError, match="the newest that passed a drill"):
        let_go(local, old)
    let_go(local, oldest)

    assert labels(local) == [new, old]


def test_one_from_the_future_goes_once_another_has_passed_a_drill(
    local: LocalStore, made: Made
) -> None:
    ahead, new = put_set(local, made, days=AHEAD), put_set(local, made)
    passed(local, ahead)

    with pytest.raises(RefusedError, match="the newest that passed a drill"):
        let_go(local, ahead)
    passed(local, new)
    let_go(local, ahead)

    assert labels(local) == [new]
    with pytest.raises(RefusedError, match="it is the only good one"):
        let_go(local, new)


def test_one_from_the_future_does_not_take_the_place_of_the_newest_that_passed(
    local: LocalStore, made: Made
) -> None:
    ahead, new = put_set(local, made, days=AHEAD), put_set(local, made)
    passed(local, ahead)
    passed(local, new)

    with pytest.raises(RefusedError, match="the newest that passed a drill"):
        let_go(local, new)

    assert plan_expiry(local, SAMPLE, ahead, now=NOW).newest_left is not None
    assert labels(local) == [ahead, new]


def test_a_full_drill_is_not_given_up_for_one_without_access(local: LocalStore, made: Made) -> None:
    old, new = put_set(local, made, days=9), put_set(local, made)
    passed(local, old)
    passed(local, new, with_access=False)

    with pytest.raises(RefusedError, match="the newest that passed a drill"):
        let_go(local, old)
    let_go(local, new)

    assert labels(local) == [old]


def test_what_is_not_there_is_not_guessed(local: LocalStore, made: Made) -> None:
    label = put_set(local, made)

    with pytest.raises(ConfigurationError, match="there is no backup") as caught:
        let_go(local, label.replace("T", "U"))

    assert caught.value.hint == f'Did you mean "{label}"?'


def test_what_has_expired_is_said_to_have_and_nothing_else_is_offered(
    local: LocalStore, made: Made
) -> None:
    old, _ = put_set(local, made, days=9), put_set(local, made)
    let_go(local, old)

    with pytest.raises(ConfigurationError, match=f'backup "{old}" has expired') as caught:
        resolve_label(local, SAMPLE, old)

    assert str(caught.value.detail).endswith(" UTC: tried.")
    assert "Did you mean" not in str(caught.value.hint)


def test_nothing_is_made_or_swept_for_a_label_that_has_not_expired(
    local: LocalStore, made: Made
) -> None:
    label = put_set(local, made)
    debris = local.root / SAMPLE / ".deleting-another"
    debris.mkdir()

    assert finish(local, SAMPLE, label) is None
    assert finish(local, SAMPLE, "../records") is None

    assert labels(local) == [label]
    assert debris.exists()


def test_what_somebody_reads_stays(local: LocalStore, made: Made) -> None:
    old, _new = put_set(local, made, days=9), put_set(local, made)

    with local.lease(SAMPLE, old), pytest.raises(LockedError, match="is in use"):
        let_go(local, old)

    assert old in labels(local)
    assert read_tombstones(local, SAMPLE) == {}


def test_it_waits_for_no_other_run(local: LocalStore, made: Made) -> None:
    old, _new = put_set(local, made, days=9), put_set(local, made)

    with local.lock(SAMPLE), pytest.raises(LockedError):
        let_go(local, old)


@pytest.mark.usefixtures("as_pruner")
def test_a_bucket_loses_all_of_it_but_the_tombstone(store: S3Store, made: Made) -> None:
    old, new = put_set(store, made, days=9), put_set(store, made)

    let_go(store, old)

    assert labels(store) == [new]
    assert list(read_tombstones(store, SAMPLE)) == [old]


@pytest.mark.usefixtures("as_pruner")
def test_a_locked_one_stays_and_it_is_said_for_how_long(server: Server, made: Made) -> None:
    bucket = server.new_bucket(lock=True)
    locked = store_in(server, bucket, "&lock_days=3&lock_mode=GOVERNANCE")
    old, new = put_set(locked, made, days=9), put_set(locked, made)

    with pytest.raises(RefusedError, match=r"is locked until 20\d\d-"):
        let_go(locked, old)

    assert labels(locked) == [new, old]
    assert read_tombstones(locked, SAMPLE) == {}


def test_the_chain_tells_it_from_a_missing_one_even_without_a_manifest(
    small: Conninfo, tools: PostgresTools, local: LocalStore, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    new_key(key)
    found = [dump(small, local, tools=tools, chain=tmp_path / "chain").label for _ in range(4)]
    home = local.root / small.dbname
    (home / found[1] / MANIFEST).unlink()
    keys, now = read_keys(key), datetime.now(UTC) + timedelta(seconds=1)

    for label in found[:2]:
        expire(local, small.dbname, label, now=now, reason="tried", keys=keys)
    expire(local, small.dbname, found[3], now=now, reason="without the key")

    def states(**given: object) -> list[str]:
        head = read_head(tmp_path / "chain", small.dbname)
        entries = check_chain(local, small.dbname, head, **given)  # type: ignore[arg-type]
        return [entry.state.value for entry in entries]

    assert states() == ["expired", "whole", "expired", "expired"]
    assert states(keys=keys) == ["doubtful", "whole", "expired", "expired"]
    times = {label: t.taken_at for label, t in read_tombstones(local, small.dbname).items()}
    assert times[found[1]].strftime("%Y%m%dT%H%M%SZ") in found[1]

    shutil.rmtree(home / found[2])
    assert states()[1] == "missing"
