"""What a run had sent to a bucket, and the server carries out when the run has ended."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from types import FrameType

import pytest

from backups.catalog import catalog
from backups.manifest import DUMP, GLOBALS, MANIFEST
from backups.stores import s3_sweep
from backups.stores.s3 import S3Store
from casedb import s3
from casedb.errors import TerminatedError, ToolFailedError
from tests.backups.conftest import NOW, SAMPLE, Made, keys, put_set
from tests.s3.proxy import Proxy, proxy

pytestmark = pytest.mark.usefixtures("as_pruner", "small_parts")

LABEL = f"{SAMPLE}-{NOW:%Y%m%dT%H%M%SZ}"
FOLDER = f"some/where/{SAMPLE}"
MARK = f"{FOLDER}/.begun/{LABEL}"


@pytest.fixture
def wall(store: S3Store) -> Iterator[Proxy]:
    """Stands before the store's server."""
    with proxy(store.location.endpoint or "") as made:
        yield made


@pytest.fixture
def behind(store: S3Store, wall: Proxy) -> S3Store:
    """The same store, through the wall."""
    return S3Store(replace(store.location, endpoint=wall.endpoint))


@contextmanager
def interrupted_when(came: threading.Event) -> Iterator[None]:
    """Interrupt the block, as SIGTERM does, a moment after `came`."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise TerminatedError

    def wait() -> None:
        if came.wait(60):
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        with pytest.raises(TerminatedError):
            yield
    finally:
        thread.join()
        signal.signal(signal.SIGALRM, before)


def hold(wall: Proxy, name: str) -> None:
    wall.hold = lambda method, path: method in ("PUT", "POST") and f"/{name}" in path


def let_come(wall: Proxy) -> None:
    """Let the server have what was held; wait until it has answered."""
    wall.hold = lambda _method, _path: False
    asked = len(wall.seen)
    wall.go_on.set()
    deadline = time.monotonic() + 60
    while len(wall.seen) == asked:
        assert time.monotonic() < deadline, "the server never got it"
        time.sleep(0.02)


def require_swept(store: S3Store, monkeypatch: pytest.MonkeyPatch, left: list[str]) -> None:
    """Sweep at once, which takes `left`, and when nothing can come any more: nothing stays."""
    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == left
    assert {key for key in keys(store) if LABEL in key} == {MARK}
    monkeypatch.setattr(s3_sweep, "LATE", -timedelta(minutes=1))
    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == []
    assert not [key for key in keys(store) if LABEL in key]


@pytest.mark.parametrize("name", [GLOBALS, MANIFEST])
def test_what_comes_when_its_run_was_interrupted_counts_for_nothing_and_is_swept(
    store: S3Store,
    behind: S3Store,
    wall: Proxy,
    made: Made,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    hold(wall, name)
    with interrupted_when(wall.held):
        put_set(behind, made)
    assert {key for key in keys(store) if LABEL in key} == {MARK}

    let_come(wall)

    assert {f"{FOLDER}/{LABEL}/{name}", MARK} <= set(keys(store))
    assert store.labels(SAMPLE) == []
    assert store.at_a_glance(SAMPLE).labels(SAMPLE) == []
    assert catalog(store, SAMPLE) == []
    require_swept(store, monkeypatch, [f"the unfinished set {LABEL}"])


def test_what_comes_after_a_sweep_counts_for_nothing_either(
    store: S3Store, behind: S3Store, wall: Proxy, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(wall, GLOBALS)
    with interrupted_when(wall.held):
        put_set(behind, made)
    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == []

    let_come(wall)

    assert store.labels(SAMPLE) == []
    require_swept(store, monkeypatch, [f"the unfinished set {LABEL}"])


def test_a_long_object_made_whole_late_counts_for_nothing(
    store: S3Store, behind: S3Store, wall: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall.hold = lambda method, path: method == "POST" and "uploadId=" in path
    with (
        interrupted_when(wall.held),
        behind.lock(SAMPLE),
        behind.new_set(SAMPLE, LABEL) as new,
        new.create(DUMP) as file,
    ):
        file.write(b"x" * (6 << 20))

    let_come(wall)

    assert store.labels(SAMPLE) == []
    require_swept(store, monkeypatch, [])


def test_an_answer_that_never_came_is_waited_for_like_one_to_an_interrupted_run(
    store: S3Store, behind: S3Store, wall: Proxy, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "REQUEST_ATTEMPTS", 1)
    wall.mute = lambda method, path: method == "PUT" and f"/{MANIFEST}" in path

    with pytest.raises(ToolFailedError, match="cannot be written"):
        put_set(behind, made)

    require_swept(store, monkeypatch, [])


def test_the_first_of_two_tries_may_come_although_the_second_was_answered(
    store: S3Store, behind: S3Store, wall: Proxy, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def mute_the_first(method: str, path: str) -> bool:
        if method != "PUT" or f"/{GLOBALS}" not in path:
            return False
        tried.append(path)
        return len(tried) == 1

    wall.mute = mute_the_first
    put_set(behind, made, commit=False)

    assert len(tried) == 2
    require_swept(store, monkeypatch, [])


def test_a_late_manifest_that_is_alone_is_damage_where_no_mark_says_otherwise(
    store: S3Store, made: Made
) -> None:
    store.bucket.put(f"{FOLDER}/{LABEL}/{MANIFEST}", (made.folder / MANIFEST).read_bytes())

    assert store.labels(SAMPLE) == [LABEL]
    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == []
    assert store.labels(SAMPLE) == [LABEL]


def test_a_mark_hides_no_backup_that_has_its_files(store: S3Store, made: Made) -> None:
    label = put_set(store, made)
    store.bucket.put(f"{FOLDER}/.begun/{label}", b"over")

    assert store.labels(SAMPLE) == [label]
    with store.lock(SAMPLE):
        assert store.sweep(SAMPLE) == []
    (backup,) = catalog(store, SAMPLE)
    assert backup.is_good
