"""One run at a time in a bucket, and a dead one keeps nobody out for good."""

import os
import subprocess
import sys
import threading
from datetime import timedelta

import pytest

from backups.catalog import catalog
from backups.stores import s3_lock
from backups.stores.s3 import S3Store
from casedb.errors import LockedError
from tests.backups.conftest import NOW, SAMPLE, Made, keys

pytestmark = pytest.mark.usefixtures("as_pruner", "small_parts")


def test_of_two_runs_one_is_turned_away_and_told_by_whom(store: S3Store) -> None:
    with store.lock(SAMPLE), pytest.raises(LockedError) as caught, store.lock(SAMPLE):
        pass
    assert f"process {os.getpid()} on" in (caught.value.detail or "")

    with store.lock(SAMPLE):
        pass


def test_of_many_who_want_the_lock_at_once_one_has_it(store: S3Store) -> None:
    inside: list[int] = []
    most: list[int] = []
    turned_away: list[int] = []

    def work() -> None:
        try:
            with store.lock(SAMPLE):
                inside.append(1)
                most.append(len(inside))
                inside.pop()
        except LockedError:
            turned_away.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(most) == 1
    assert len(most) + len(turned_away) == 8


def test_the_lock_of_a_run_that_died_on_this_machine_ends_at_once(store: S3Store) -> None:
    died = subprocess.run(
        [
            sys.executable,
            "-c",
            "from backups.stores.s3_lock import whoami; print(whoami().decode(), end='')",
        ],
        capture_output=True,
        check=True,
    ).stdout
    lock = f"some/where/{SAMPLE}/.lock/0000000007"
    store.bucket.put(lock, s3_lock.whoami())
    with pytest.raises(LockedError, match="another run"), store.lock(SAMPLE):
        pass

    store.bucket.put(lock, died)
    with store.lock(SAMPLE):
        pass


def test_a_killed_runs_lock_on_another_machine_ends_by_itself(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.bucket.put(f"some/where/{SAMPLE}/.lock/0000000041", b"process 1 on nowhere")
    with pytest.raises(LockedError, match="another run"), store.lock(SAMPLE):
        pass

    monkeypatch.setattr(s3_lock, "LIFETIME", -timedelta(minutes=1))
    with store.lock(SAMPLE):
        assert f"some/where/{SAMPLE}/.lock/0000000042" in keys(store)


@pytest.mark.parametrize("lost", ["its lock", "its mark"])
def test_a_run_that_stood_still_and_was_swept_commits_nothing(
    store: S3Store, made: Made, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    label = f"{SAMPLE}-{NOW:%Y%m%dT%H%M%SZ}"
    other = S3Store(store.location)
    with store.lock(SAMPLE), store.new_set(SAMPLE, label) as new:
        for path in made.folder.iterdir():
            with new.create(path.name) as file:
                file.write(path.read_bytes())
        if lost == "its mark":
            assert f"the unfinished set {label}" in other.sweep(SAMPLE)
        else:
            monkeypatch.setattr(s3_lock, "LIFETIME", -timedelta(minutes=1))
            with other.lock(SAMPLE):
                pass
            monkeypatch.undo()
        with pytest.raises(LockedError, match=r"lost its lock|swept by another"):
            new.commit()

    assert catalog(other, SAMPLE) == []
    with other.lock(SAMPLE):
        assert other.sweep(SAMPLE) == []
