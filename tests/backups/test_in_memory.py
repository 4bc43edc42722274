"""An encrypted backup is drilled in memory where it fits, and so in clear on no disk."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backups import in_memory
from backups.drill import drill
from backups.dump import dump
from backups.in_memory import folder_in_memory
from backups.manifest import Manifest
from backups.progress import Progress
from backups.sealing import new_key, read_keys
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.tools import PostgresTools
from tests.matrix.disk import SmallDisk, small_disk


@pytest.fixture
def places(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[SmallDisk, Path]]:
    """Memory of our own instead of everybody's, and a folder for temporary files."""
    # A socket's path may not be long.
    folder = Path(tempfile.mkdtemp(prefix="m-", dir="/tmp"))
    folder.chmod(0o755)
    usual = folder / "usual"
    usual.mkdir(mode=0o777)
    usual.chmod(0o1777)
    with small_disk(folder / "memory", 2048) as memory:
        monkeypatch.setattr(in_memory, "_MEMORY_DISK", memory.path)
        monkeypatch.setattr(tempfile, "tempdir", str(usual))
        yield memory, usual
    shutil.rmtree(folder)


def drilled_in(
    small: Conninfo, tools: PostgresTools, root: Path, places: tuple[SmallDisk, Path], key: Path
) -> set[str]:
    """Dump, for `key` if it is there, drill, and return in which folders there was a cluster."""
    store = LocalStore(root / "store")
    seen: set[str] = set()
    recipients = [str(k.to_public()) for k in read_keys(key).identities] if key.exists() else []
    label = dump(small, store, tools=tools, recipients=recipients).label

    def look(_: Progress) -> None:
        for place in (places[0].path, places[1]):
            seen.update(place.name for _ in place.glob("casedb-scratch-*/data/base"))

    keys = read_keys(key) if recipients else None
    report = drill(store, label, tools=tools, keys=keys, with_access=False, on_progress=look)
    assert report.outcome == "passed"
    assert [p for place in (places[0].path, places[1]) for p in place.glob("casedb-*")] == []
    return seen


def test_an_encrypted_backup_is_drilled_in_memory(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, places: tuple[SmallDisk, Path]
) -> None:
    new_key(tmp_path / "key")

    assert drilled_in(small, tools, tmp_path, places, tmp_path / "key") == {"memory"}


def test_one_that_is_not_encrypted_is_drilled_where_others_work(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, places: tuple[SmallDisk, Path]
) -> None:
    assert drilled_in(small, tools, tmp_path, places, tmp_path / "none") == {"usual"}


@pytest.mark.parametrize("trouble", ["little room", "noexec", "ro", "no such folder"])
def test_where_memory_does_not_do_the_usual_folder_does(
    small: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    places: tuple[SmallDisk, Path],
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    new_key(tmp_path / "key")
    memory, _ = places
    match trouble:
        case "little room":
            memory.remount("size=1000m")
        case "no such folder":
            monkeypatch.setattr(in_memory, "_MEMORY_DISK", memory.path / "none")
        case _:
            memory.remount(trouble)

    assert drilled_in(small, tools, tmp_path, places, tmp_path / "key") == {"usual"}


def test_what_a_killed_drill_left_there_takes_no_room_from_the_next(
    places: tuple[SmallDisk, Path], sealed_manifest: Manifest
) -> None:
    memory, _ = places
    left = memory.path / "casedb-scratch-killed"
    left.mkdir()
    (left / "alive").touch()
    (left / "large").write_bytes(bytes(1 << 20))
    memory.remount("size=1100m")

    assert folder_in_memory(sealed_manifest) == memory.path
    assert not left.exists()


@pytest.fixture
def sealed_manifest(small: Conninfo, tools: PostgresTools, tmp_path: Path) -> Manifest:
    recipients = [new_key(tmp_path / "key")]
    return dump(small, LocalStore(tmp_path / "store"), tools=tools, recipients=recipients)
