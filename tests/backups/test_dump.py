"""A dump is complete and proven, or it is not there."""

import errno
import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backups.catalog import catalog
from backups.dump import dump
from backups.manifest import MANIFEST
from backups.stores import LocalStore
from backups.stores.base import NoFileError
from backups.streams import compress
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import (
    ConfigurationError,
    LockedError,
    RefusedError,
    ServerUnreachableError,
    ToolFailedError,
)
from casedb.locks import maintenance_lock
from casedb.tools import PostgresTools, wheel_tools
from tests.backups.conftest import Made

WANTED_FILES = {
    "database.dump.zst",
    "globals.sql",
    "catalog.json",
    "create.sql",
    "database.sql",
    "RESTORE.txt",
    MANIFEST,
}


def leftovers(store: LocalStore, database: Conninfo) -> list[str]:
    home = store.root / database.dbname
    return sorted(p.name for p in home.iterdir() if p.name != ".lock") if home.exists() else []


def test_a_backup_has_its_files_for_the_owner_only(made: Made) -> None:
    assert {p.name for p in made.folder.iterdir()} == WANTED_FILES
    for path in made.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in (made.folder, made.folder.parent, made.store.root):
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0, folder


def test_a_backup_is_found_under_its_label(made: Made) -> None:
    (backup,) = catalog(made.store, "sample db")

    assert backup.is_good
    assert backup.label == made.label
    assert backup.taken_at == made.manifest.started_at
    age = backup.age(datetime.now(UTC))
    assert age is not None
    assert timedelta(0) < age < timedelta(days=1)


def test_no_password_verifier_is_in_a_backup(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    with connect(small, purpose="test") as connection:
        connection.execute("ALTER ROLE sample_plain PASSWORD 'hush-hush'")
    store = LocalStore(tmp_path)

    manifest = dump(small, store, tools=tools)

    with connect(small, purpose="test") as connection:
        connection.execute("ALTER ROLE sample_plain PASSWORD NULL")
    text = (tmp_path / small.dbname / manifest.label / "globals.sql").read_text()
    assert "CREATE ROLE sample_plain" in text
    assert "SCRAM" not in text
    assert "hush" not in text


def test_two_dumps_in_one_second_are_two_backups(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)

    labels = [dump(small, store, tools=tools).label for _ in range(3)]

    assert len(set(labels)) == 3
    assert [b.label for b in catalog(store, small.dbname)] == labels[::-1]


@pytest.mark.parametrize("user", ["sample_plain", "sample_reader"])
def test_a_role_that_row_security_applies_to_is_refused(
    sample: Conninfo, tools: PostgresTools, tmp_path: Path, user: str
) -> None:
    """With --enable-row-security pg_dump would report success and leave rows out."""
    with connect(sample, purpose="test") as connection:
        connection.execute('GRANT CONNECT ON DATABASE "sample db" TO sample_plain')
        try:
            with pytest.raises(RefusedError, match="complete dump"):
                dump(sample.replace(user=user), LocalStore(tmp_path), tools=tools)
        finally:
            connection.execute('REVOKE CONNECT ON DATABASE "sample db" FROM sample_plain')

    assert list(tmp_path.iterdir()) == []


def test_a_client_of_another_major_version_is_refused(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    other = wheel_tools(18 if tools.major != 18 else 16)

    with pytest.raises(ConfigurationError, match="does not fit server"):
        dump(small, LocalStore(tmp_path), tools=other)

    assert list(tmp_path.iterdir()) == []


def test_a_store_without_room_is_refused_before_anything_is_written(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)

    with pytest.raises(RefusedError, match="too little room"):
        dump(small, store, tools=tools, space_ratio=1e9)

    assert leftovers(store, small) == []


def test_a_failed_pg_dump_fails_the_dump_and_leaves_nothing(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """An exit code of 0 from the last program of a pipe is how others report success."""
    with connect(small, purpose="test") as connection:
        connection.execute("UPDATE pg_class SET relowner = 99999 WHERE relname = 'two'")
    store = LocalStore(tmp_path)

    with pytest.raises(ToolFailedError, match="role with OID 99999 does not exist"):
        dump(small, store, tools=tools)

    assert leftovers(store, small) == []


def test_what_cannot_be_read_back_is_not_kept(
    small: Conninfo,
    tools: PostgresTools,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def flipping(source: object, sink: object, *_: object) -> object:
        facts = compress(source, sink)  # type: ignore[arg-type]
        sink.seek(100)  # type: ignore[attr-defined]
        sink.write(b"\0\0\0\0")  # type: ignore[attr-defined]
        return facts

    monkeypatch.setattr("backups.dump_archive.compress_for", flipping)
    store = LocalStore(tmp_path)

    with pytest.raises(ToolFailedError, match="cannot be read back"):
        dump(small, store, tools=tools)

    assert leftovers(store, small) == []


def test_a_migration_at_work_keeps_a_dump_out(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    with (
        connect(small, purpose="migrate") as other,
        maintenance_lock(other),
        pytest.raises(LockedError, match="another run is at work"),
    ):
        dump(small, store, tools=tools)

    assert leftovers(store, small) == []


def test_a_second_dump_at_the_same_time_is_turned_away(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    with store.lock(small.dbname), pytest.raises(LockedError, match="another run is at work"):
        dump(small, store, tools=tools)


def test_a_full_disk_is_named_and_nothing_half_remains(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    mount = tmp_path / "disk"
    mount.mkdir()
    with connect(small, purpose="test") as connection:
        connection.execute(
            "CREATE TABLE big AS SELECT sha512(i::text::bytea) AS b"
            " FROM generate_series(1, 60000) AS i"
        )
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        store = LocalStore(mount / "store")
        with pytest.raises(ToolFailedError, match="the store is full"):
            dump(small, store, tools=tools, space_ratio=0)

        assert leftovers(store, small) == []
    finally:
        subprocess.run(["umount", mount], check=True)


def test_nothing_is_left_open_on_the_server(made: Made, sample: Conninfo) -> None:
    with connect(sample, purpose="test") as connection:
        rows = connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE application_name ~ 'casedb dump'"
        ).fetchall()

    assert rows == []


def test_the_manifest_keeps_the_known_holes_of_the_pg_dump_that_wrote_it(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    old = PostgresTools(tools.bindir, f"{tools.major}.1", tools.source)

    manifest = dump(small, LocalStore(tmp_path), tools=old)

    assert any("CVE-2026-18408" in warning for warning in manifest.warnings)


def test_the_disk_begins_before_the_end_and_its_errors_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An fsync reports a failed write once: whoever asks first has to pass it on."""
    monkeypatch.setattr("backups.stores.durable._FLUSH_BYTES", 1000)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    store = LocalStore(tmp_path / "store")
    with store.lock("app"), store.new_set("app", "label") as new:
        with new.create("whole") as file:
            file.write(b"x" * 999)
            assert flushed == []
            file.write(b"x" * 999)
        assert len(flushed) == 1
        with new.open("whole") as file:
            assert file.read() == b"x" * 1998

        def failing(_descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fdatasync", failing)
        with (
            pytest.raises(ToolFailedError, match="the store is full"),
            new.create("half") as file,
        ):
            file.write(b"x" * 1000)
        with pytest.raises(NoFileError), new.open("half"):
            pass


def test_a_dump_that_gets_no_second_connection_says_why_and_what_to_do(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    with connect(small, purpose="test") as connection:
        connection.execute(
            "CREATE ROLE alone LOGIN BYPASSRLS CONNECTION LIMIT 1; GRANT pg_read_all_data TO alone"
        )
        try:
            with pytest.raises(ServerUnreachableError) as caught:
                dump(small.replace(user="alone"), LocalStore(tmp_path), tools=tools)
        finally:
            connection.execute("DROP ROLE alone")

    assert 'too many connections for role "alone"' in (caught.value.detail or "")
    assert "ALTER DATABASE or ALTER ROLE" in (caught.value.hint or "")
