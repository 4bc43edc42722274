"""Where the archive in clear and the database share a disk, the living server keeps its room."""

import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backups import fill
from backups.restore_facts import read_server
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools
from tests.restore.commands import casedb
from tests.restore.conftest import Night
from tests.restore.made_up import SERVER, planned

LEFT_BYTES = 16 * 1024
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "small"
    mount.mkdir(mode=0o755)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", mount]).returncode:
        pytest.skip("needs to mount a small disk")
    mount.chmod(0o755)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each archive that was loaded, whether it was unpacked for several jobs."""
    seen: list[bool] = []
    load = fill.load

    def see(store: object, manifest: object, archive: object, *more: object) -> None:
        seen.append(archive is not None)
        load(store, manifest, archive, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(fill, "load", see)
    return seen


def test_a_server_with_too_small_a_disk_is_refused_by_the_command(
    night: Night, tools: PostgresTools, small_disk: Path, tmp_path: Path
) -> None:
    with throwaway_cluster(tools, folder=small_disk) as admin:
        left = shutil.disk_usage(small_disk).free - 10 * 2**20
        with (small_disk / "ballast").open("wb") as file:
            file.write(bytes(left))
        words = (night.label, "--into", "new", "--create-roles")
        code, said = casedb(night, admin, tmp_path, *words, "--plan")
        again, refused = casedb(night, admin, tmp_path, *words)

    assert (code, again) == (7, 7), said + refused
    assert "too little disk" in said
    assert "too little disk" in refused


def test_it_is_known_where_the_archive_would_lie_beside_the_data(
    cluster: Conninfo, small_disk: Path
) -> None:
    with connect(cluster, purpose="test") as connection:
        assert read_server(connection).scratch_on_same_disk
        assert not read_server(connection, small_disk).scratch_on_same_disk


def test_the_archive_is_not_unpacked_into_the_room_of_the_database(
    night: Night, unpacked: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is short of what both want together."""
    need = planned(night).need_bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(need, 0, need))

    assert night.restore().swap
    assert unpacked == [False]


def test_a_disk_that_fills_up_meanwhile_costs_time_and_nothing_else(
    night: Night, small_disk: Path, unpacked: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (small_disk / "ballast").open("wb") as file:
        file.write(bytes(shutil.disk_usage(small_disk).free - LEFT_BYTES))
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(1 << 40, 0, 1 << 40))

    assert night.restore(scratch=small_disk).swap
    assert unpacked == [False]


def test_the_plan_says_where_the_archive_has_no_room(night: Night) -> None:
    near = replace(SERVER, scratch_on_same_disk=True)
    plan = planned(night, near)
    tight = planned(night, replace(near, free_bytes=plan.need_bytes))

    assert plan.archive_bytes > 0
    assert not any("archive in clear" in note for note in plan.notes)
    assert any("archive in clear" in note for note in tight.notes)
    assert tight.refusals == ()
    assert planned(night, replace(SERVER, free_bytes=plan.need_bytes)).spare_bytes == 0
