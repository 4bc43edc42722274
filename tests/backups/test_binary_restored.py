"""Rows in COPY's binary format come back, wherever and however they are loaded."""

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backups import large_tables
from backups.archive_form import ArchiveForm
from backups.attempt import Wish
from backups.drill import drill
from backups.dump import dump
from backups.manifest import DUMP
from backups.restore import restore
from backups.stores import LocalStore
from backups.streams import decompressed
from backups.toc import read_head
from backups.toc_completed import CompletedArchive
from backups.verify import verify
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import BackupDamagedError
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, wheel_tools
from tests.backups.binary_tables import (
    BINARY,
    REPEATED,
    archive_of,
    columns_of,
    contents,
    fill,
    in_binary,
)
from tests.backups.frames import frames

pytestmark = pytest.mark.usefixtures("ordered")


@pytest.fixture
def filled(small: Conninfo) -> Conninfo:
    return fill(small)


@pytest.fixture
def loaded(cluster: Conninfo) -> Iterator[Conninfo]:
    """Where a test may put a database, which is gone afterwards."""
    yield cluster.replace(dbname="binary_loaded")
    with connect(cluster, purpose="test") as connection:
        connection.execute("DROP DATABASE IF EXISTS binary_loaded WITH (FORCE)")


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("words", [(), ("--jobs=2", "archive")], ids=["pipe", "file"])
def test_every_value_comes_back(
    filled: Conninfo,
    loaded: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    small_ranges: None,
    jobs: int,
    words: tuple[str, ...],
) -> None:
    archive = archive_of(filled, tools, tmp_path, jobs)
    (tmp_path / "archive").write_bytes(archive)
    with connect(loaded.replace(dbname="postgres"), purpose="test") as connection:
        connection.execute("CREATE DATABASE binary_loaded")
    argv = [tools["pg_restore"], "--exit-on-error", "--no-owner", "--dbname=binary_loaded"]

    subprocess.run(
        [*argv, *words],
        env=programs.child_environment(loaded),
        cwd=tmp_path,
        input=archive,
        check=True,
    )

    tables = {*BINARY, "repeated", "listed", "empty"}
    assert contents(loaded, tables) == contents(filled, tables)


def test_later_major_versions_read_it(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """And the same one. No pg_restore reads what a newer pg_dump has written."""
    archive = archive_of(filled, tools, tmp_path, 1)
    expected = contents(filled, BINARY)
    for newer in [wheel_tools(major) for major in (16, 18) if major >= tools.major]:
        argv = [newer["pg_restore"], "--exit-on-error", "--no-owner", "--dbname=postgres"]
        with throwaway_cluster(newer) as admin:
            subprocess.run(argv, env=programs.child_environment(admin), input=archive, check=True)
            assert contents(admin.replace(dbname="postgres"), BINARY) == expected


@pytest.fixture
def accelerated(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in binary is compressed faster, however much larger it is: frames of its own."""
    monkeypatch.setattr(large_tables, "WORTH_ACCELERATION", 1)


@pytest.mark.parametrize("jobs", [1, 3])
def test_it_is_restored_with_frozen_rows_and_drilled(
    filled: Conninfo,
    cluster: Conninfo,
    loaded: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    small_ranges: None,
    accelerated: None,
    jobs: int,
) -> None:
    store = LocalStore(tmp_path)
    manifest = dump(filled, store, tools=tools, form=ArchiveForm(jobs=jobs, large_from_bytes=0))

    assert drill(store, manifest.label, tools=tools, with_access=False).differences == ()
    restore(store, Wish(manifest.label, loaded.dbname), cluster, tools=tools)

    tables = BINARY | {"repeated"}
    assert contents(loaded, tables) == contents(filled, tables)
    with connect(loaded, purpose="test") as connection:
        pages = connection.execute(
            "SELECT relallvisible, (SELECT count(DISTINCT (ctid::text::point)[0]) FROM hashes)"
            " FROM pg_class WHERE relname = 'hashes'"
        ).fetchone()
    assert pages
    assert pages[0] == pages[1] > 20


def test_a_set_that_ends_with_a_whole_frame_is_found_cut(
    filled: Conninfo,
    cluster: Conninfo,
    loaded: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    accelerated: None,
) -> None:
    store = LocalStore(tmp_path)
    manifest = dump(filled, store, tools=tools, form=ArchiveForm(large_from_bytes=0))
    path = store.root / manifest.database / manifest.label / DUMP
    whole = path.read_bytes()
    assert verify(store, manifest.label, tools=tools).problems == ()
    *others, last = frames(whole)
    assert len(others) > 1
    assert last.end == len(whole)

    for _, end in others:
        path.write_bytes(whole[:end])
        with pytest.raises(BackupDamagedError):
            verify(store, manifest.label, tools=tools)
        with pytest.raises(BackupDamagedError):
            restore(store, Wish(manifest.label, loaded.dbname), cluster, tools=tools)


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("pieces", [1 << 20, 4096, 7])
def test_where_its_rows_begin_is_found(
    filled: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    small_ranges: None,
    jobs: int,
    pieces: int,
) -> None:
    """With several jobs, tables in text lie between those in binary."""
    archive = archive_of(filled, tools, tmp_path, jobs)
    file = io.BytesIO()
    writer = CompletedArchive(file)
    for at in range(0, len(archive), pieces):
        writer.write(archive[at : at + pieces])
    writer.finish()

    found = file.getvalue()
    head = read_head(found)
    assert head
    rows = [entry for entry in head.entries if entry.has_data]
    assert len(rows) == 6
    for entry in rows:
        at = entry.position_at + 1
        position = int.from_bytes(found[at : at + head.position_bytes], "little")
        assert found[position] == 1
        number = found[position + 2 : position + 2 + head.int_bytes]
        assert int.from_bytes(number, "little") == entry.dump_id
    assert found.count(b" FROM stdin WITH (FORMAT binary, FREEZE);\n") == len(BINARY)


def test_as_text_pg_restore_prints_it(
    filled: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    manifest = dump(filled, store, tools=tools, form=ArchiveForm(binary=False, large_from_bytes=0))

    with store.open(manifest.database, manifest.label, DUMP) as file:
        archive = b"".join(decompressed(file))

    assert in_binary(archive) == set()
    assert columns_of(archive, "repeated") == REPEATED
    assert b"9\t\\\\x19581e27de7ced00" in archive  # printf 9 | sha256sum
