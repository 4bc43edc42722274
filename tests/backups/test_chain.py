"""The chain of manifests tells expired, missing and altered apart."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backups.catalog import read_backup
from backups.chain import ChainEntry, State, check_chain, judge, read_head
from backups.dump import dump
from backups.manifest import MANIFEST, Link, Manifest
from backups.retention import Retention
from backups.rotate import rotate
from backups.sealing import Keys, new_key, read_keys
from backups.stores import LocalStore
from backups.stores.local import LocalSet
from backups.stores.several import SeveralStores
from backups.tombstones import Tombstone, read_tombstones
from casedb.conninfo import Conninfo
from casedb.errors import ConfigurationError
from casedb.tools import PostgresTools


@pytest.fixture
def chained(small: Conninfo, tools: PostgresTools, tmp_path: Path) -> tuple[LocalStore, list[str]]:
    """A store with three backups of one host, whose memory lies beside it."""
    store = LocalStore(tmp_path / "store")
    labels = [dump(small, store, tools=tools, chain=tmp_path / "chain").label for _ in range(3)]
    return store, labels


def states(store: LocalStore, small: Conninfo, tmp_path: Path) -> list[str]:
    head = read_head(tmp_path / "chain", small.dbname)
    return [entry.state.value for entry in check_chain(store, small.dbname, head)]


def test_each_backup_names_the_one_before_it_and_the_host_the_last(
    chained: tuple[LocalStore, list[str]], small: Conninfo, tmp_path: Path
) -> None:
    store, labels = chained
    found = [read_backup(store, small.dbname, label) for label in labels]

    assert [b.manifest.previous for b in found if b.manifest] == [
        None,
        *(
            Link(label=b.label, manifest_sha256=b.manifest_sha256, stores=(store.url,))
            for b in found[:2]
        ),
    ]
    assert states(store, small, tmp_path) == ["whole", "whole", "whole"]


def test_a_backup_that_somebody_removed_is_missing_the_newest_too(
    chained: tuple[LocalStore, list[str]], small: Conninfo, tmp_path: Path
) -> None:
    store, labels = chained
    shutil.rmtree(store.root / small.dbname / labels[1])
    assert states(store, small, tmp_path) == ["whole", "missing", "unattested"]

    shutil.rmtree(store.root / small.dbname / labels[2])
    assert states(store, small, tmp_path) == ["missing", "unattested"]


def test_a_backup_that_rotation_removed_has_expired(
    chained: tuple[LocalStore, list[str]], small: Conninfo, tmp_path: Path
) -> None:
    store, _ = chained
    later = datetime.now(UTC) + timedelta(minutes=1)
    policy = Retention(keep_within=timedelta(0), keep_last=1)

    rotate(store, small.dbname, policy, now=later, apply=True, confirmed=2)

    assert states(store, small, tmp_path) == ["whole", "expired", "expired"]


def test_a_manifest_that_was_made_to_fit_itself_is_altered(
    chained: tuple[LocalStore, list[str]], small: Conninfo, tmp_path: Path
) -> None:
    """Its own checksum is right, and so are those of all files; only its successor knows."""
    store, labels = chained
    for label in labels[1:]:
        path = store.root / small.dbname / label / MANIFEST
        whole = path.read_bytes()
        data = json.loads(whole)
        data["tables"][0]["rows"] += 1
        path.write_bytes(Manifest.model_validate_json(json.dumps(data)).to_bytes())
        assert read_backup(store, small.dbname, label).is_good

        found = dict(zip(labels[::-1], states(store, small, tmp_path), strict=True))

        assert found[label] == "altered"
        path.write_bytes(whole)


def test_a_tombstone_for_another_backup_hides_nothing() -> None:
    links = [Link(label="b", manifest_sha256="2"), Link(label="c", manifest_sha256="3")]

    assert judge({"c": "3"}, [], {"b": "9"}, links, "here") == [
        ChainEntry("c", State.WHOLE),
        ChainEntry("b", State.ALTERED),
    ]


def test_who_can_delete_cannot_forge_a_tombstone_that_the_key_believes(
    chained: tuple[LocalStore, list[str]], small: Conninfo, tmp_path: Path
) -> None:
    """He knows the manifest's checksum; what he lacks is the key, of which others do not know."""
    store, labels = chained
    new_key(tmp_path / "key")
    new_key(tmp_path / "another")
    keys, others = read_keys(tmp_path / "key"), read_keys(tmp_path / "another")
    head = read_head(tmp_path / "chain", small.dbname)
    policy = Retention(keep_within=timedelta(0), keep_last=2)
    now = datetime.now(UTC) + timedelta(minutes=1)
    rotate(store, small.dbname, policy, now=now, apply=True, keys=keys)

    def leave(tombstone: Tombstone) -> None:
        store.write_record(small.dbname, tombstone.label, "expired", tombstone.to_bytes())

    def seen(with_keys: Keys | None) -> list[str]:
        entries = check_chain(store, small.dbname, head, keys=with_keys)
        return [entry.state.value for entry in entries]

    assert seen(keys) == seen(None) == ["whole", "whole", "expired"]
    assert seen(others) == ["whole", "whole", "doubtful"]
    victim = read_backup(store, small.dbname, labels[1])
    for forged_with in (None, others):
        forged = Tombstone.of(victim, at=now, reason="too old", keys=forged_with)
        leave(forged)
        shutil.rmtree(store.root / small.dbname / labels[1], ignore_errors=True)

        assert seen(None) == ["whole", "expired", "expired"]
        assert seen(keys) == ["whole", "doubtful", "expired"]
    real = read_tombstones(store, small.dbname)[labels[0]]
    leave(real.model_copy(update={"reason": "another"}))
    assert seen(keys) == ["whole", "doubtful", "doubtful"]
    moved = real.model_copy(update={"label": labels[1]})
    leave(moved)
    assert seen(keys) == ["whole", "altered", "doubtful"]


def test_a_store_that_was_added_later_misses_nothing(
    chained: tuple[LocalStore, list[str]],
    small: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
) -> None:
    store, _ = chained
    added = LocalStore(tmp_path / "added")
    both = SeveralStores([store, added])

    dump(small, both, tools=tools, chain=tmp_path / "chain")

    assert states(added, small, tmp_path) == ["whole", "elsewhere"]
    assert states(store, small, tmp_path) == ["whole"] * 4


def test_a_failed_dump_does_not_move_the_head(
    chained: tuple[LocalStore, list[str]],
    small: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
) -> None:
    store, labels = chained

    with pytest.raises(RuntimeError):
        dump(small, store, tools=tools, chain=tmp_path / "chain", on_progress=_fail_at_the_end)

    head = read_head(tmp_path / "chain", small.dbname)
    assert head
    assert head.label == labels[-1]


def test_a_head_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    head = tmp_path / "app.json"
    head.write_text("{")

    with pytest.raises(ConfigurationError, match="head of the chain") as caught:
        read_head(tmp_path, "app")

    assert caught.value.detail == f"{head}: it is not what casedb wrote there."
    # The way out that it names.
    head.rename(tmp_path / "away")
    assert read_head(tmp_path, "app") is None


def _fail_at_the_end(progress: object) -> None:
    if getattr(progress, "phase", "") == "reading the archive back":
        raise RuntimeError


class Killed(BaseException):
    """In place of SIGKILL: nothing of the run goes on."""


def test_a_backup_whose_run_was_killed_after_the_commit_is_missed_when_it_goes(
    chained: tuple[LocalStore, list[str]],
    small: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, _ = chained
    commit = LocalSet.commit

    def and_die(new: LocalSet) -> None:
        commit(new)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LocalSet, "commit", and_die)
        with pytest.raises(Killed):
            dump(small, store, tools=tools, chain=tmp_path / "chain")
    killed = max(store.labels(small.dbname))
    head = read_head(tmp_path / "chain", small.dbname, store.labels(small.dbname))
    assert head
    assert head.label == killed

    after = dump(small, store, tools=tools, chain=tmp_path / "chain")

    assert after.previous == head
    assert states(store, small, tmp_path) == ["whole"] * 5
    shutil.rmtree(store.root / small.dbname / killed)
    assert states(store, small, tmp_path) == ["whole", "missing", "unattested", "whole", "whole"]


def test_a_backup_that_was_killed_before_the_commit_is_not_missed(
    chained: tuple[LocalStore, list[str]],
    small: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, labels = chained

    def die(_new: LocalSet) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(LocalSet, "commit", die)
        with pytest.raises(Killed):
            dump(small, store, tools=tools, chain=tmp_path / "chain")
    assert (tmp_path / "chain" / f"{small.dbname}.pending").exists()

    after = dump(small, store, tools=tools, chain=tmp_path / "chain")

    assert after.previous
    assert after.previous.label == labels[-1]
    assert states(store, small, tmp_path) == ["whole"] * 4


def test_a_head_that_cannot_be_read_wastes_no_dump(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain" / f"{small.dbname}.json").write_text("{")
    store = LocalStore(tmp_path / "store")
    seen: list[object] = []

    with pytest.raises(ConfigurationError, match="head of the chain"):
        dump(small, store, tools=tools, chain=tmp_path / "chain", on_progress=seen.append)

    assert seen == []


def test_a_host_that_cannot_remember_says_that_the_backup_is_complete(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    (tmp_path / "chain").mkdir()
    # No file can take the name of a folder, not even root's.
    in_the_way = tmp_path / "chain" / f"{small.dbname}.json"
    store = LocalStore(tmp_path / "store")

    def block(progress: object) -> None:
        if getattr(progress, "phase", "") == "reading the archive back":
            (in_the_way / "full").mkdir(parents=True)

    with pytest.raises(ConfigurationError) as caught:
        dump(small, store, tools=tools, chain=tmp_path / "chain", on_progress=block)

    (label,) = store.labels(small.dbname)
    assert caught.value.message == f'backup "{label}" is complete, but this host cannot remember it'
    assert read_backup(store, small.dbname, label).is_good


def test_a_backup_that_is_missing_from_a_copy_is_missing(
    chained: tuple[LocalStore, list[str]], small: Conninfo, tmp_path: Path
) -> None:
    """No link names a copy, as `aws s3 sync` makes it, or a folder that was moved."""
    store, labels = chained
    copy = LocalStore(tmp_path / "copy")
    shutil.copytree(store.root, copy.root)
    assert states(copy, small, tmp_path) == ["whole", "whole", "whole"]

    shutil.rmtree(copy.root / small.dbname / labels[1])

    assert states(copy, small, tmp_path) == ["whole", "missing", "unattested"]


HERE, THERE = "s3://b/x?endpoint=http://here", "s3://b/x?endpoint=http://there"
FORMER = "s3://b/x"
"""What both were called before the endpoint was part of a name; and still is one of AWS."""


@pytest.mark.parametrize(
    ("url", "stores", "fate"),
    [
        # Each pair: where backup 1 was put, which is gone; then where backup 2 was.
        (HERE, [(HERE, THERE), (HERE, THERE)], "missing"),
        (HERE, [(THERE,), (HERE, THERE)], "elsewhere"),
        # By a casedb of before, to one of them, and to both.
        (HERE, [(FORMER,), (HERE,)], "missing"),
        (HERE, [(FORMER, FORMER), (HERE, THERE)], "missing"),
        (HERE, [("file:///x",), (FORMER,)], "elsewhere"),
        # To one of them only: which one, nobody can tell any more.
        (HERE, [(FORMER,), (HERE, THERE)], "missing"),
        # AWS beside another server.
        (FORMER, [(HERE,), (FORMER, HERE)], "elsewhere"),
        (FORMER, [(FORMER,), (FORMER, HERE)], "missing"),
        (HERE, [(FORMER,), (FORMER, HERE)], "missing"),
        # The same store under another endpoint, or with AWS_ENDPOINT_URL on one host of the two.
        (HERE, [(THERE,), (THERE,)], "missing"),
        (HERE, [(THERE,), (HERE,)], "missing"),
        (FORMER, [(HERE,), (HERE,)], "missing"),
        (FORMER, [(HERE,), (FORMER,)], "missing"),
    ],
)
def test_what_a_bucket_on_one_of_two_servers_misses(
    url: str, stores: list[tuple[str, ...]], fate: str
) -> None:
    links = [
        Link(label=str(number), manifest_sha256="", stores=where)
        for number, where in enumerate(stores, 1)
    ]

    (entry,) = [e for e in judge({"3": ""}, [], {}, links, url) if e.label == "1"]

    assert entry.state == fate


def test_beside_another_server_the_address_alone_is_aws_from_then_on() -> None:
    links = [
        Link(label="1", manifest_sha256="", stores=(FORMER, HERE)),
        Link(label="2", manifest_sha256="", stores=(FORMER,)),
    ]

    assert judge({}, [], {}, links, HERE)[0] == ChainEntry("2", State.ELSEWHERE)
    assert judge({}, [], {}, links, FORMER)[0] == ChainEntry("2", State.MISSING)
