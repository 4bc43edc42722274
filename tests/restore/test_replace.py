"""A restore over a living database: beside it, then a swap; and the old one stays, whole."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from backups import swap
from backups.attempt import Wish
from backups.dump import dump
from backups.facts import read_settings
from backups.manifest import DUMP
from backups.records import read_record
from backups.reports import RestoreReport
from backups.sealing import new_key, read_keys
from backups.stores import LocalStore
from backups.undo import plan_undo, undo_restore
from casedb.database import connect
from casedb.errors import BackupDamagedError, LockedError, TerminatedError, UnverifiedError
from casedb.locks import maintenance_lock
from tests.restore.conftest import Night
from tests.restore.interrupting import at, interrupt
from tests.restore.writers import writing


def test_the_backup_has_the_name_and_the_old_database_is_kept_read_only(night: Night) -> None:
    night.write_case("after the backup")

    report = night.restore()

    assert report.swap
    assert night.databases() == sorted([night.name, report.swap.kept])
    assert night.ask("SELECT count(*) FROM cases") == 1
    assert night.ask("SELECT count(*) FROM cases", report.swap.kept) == 2
    with pytest.raises(Exception, match="read-only"):
        night.do("DELETE FROM case_documents", report.swap.kept)
    assert any(
        "public.cases had 1 rows and has 2" in line for line in report.swap.not_restored or ()
    )
    assert report.same_roots is True


def test_the_application_goes_on_writing_as_before(night: Night) -> None:
    night.restore()

    night.write_case("after the restore")

    assert night.ask("SELECT count(*) FROM cases") == 2


def test_what_belongs_to_the_name_stays_with_it(night: Night) -> None:
    """The backup's own grants and settings are older: the living database's count."""
    for statement in (
        f"ALTER DATABASE {night.name} SET work_mem = '7MB'",
        f"ALTER ROLE case_app IN DATABASE {night.name} SET statement_timeout = '9s'",
        f"COMMENT ON DATABASE {night.name} IS 'It''s live'",
        f"ALTER DATABASE {night.name} CONNECTION LIMIT 77",
        f"GRANT TEMPORARY ON DATABASE {night.name} TO case_monitor",
        f"REVOKE CONNECT ON DATABASE {night.name} FROM case_seed",
        f"ALTER DATABASE {night.name} SET casedb.mark = 'staging'",
    ):
        night.do(statement)
    query = (
        "SELECT (d.datconnlimit, d.datdba::regrole, shobj_description(d.oid, 'pg_database'),"
        " (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(d.datacl) a),"
        " (SELECT array_agg((setrole, s)::text ORDER BY (setrole, s)::text)"
        "  FROM pg_db_role_setting, unnest(setconfig) s"
        "  WHERE setdatabase = d.oid AND s !~ '^casedb.(restored|previous|content)='))::text"
        f" FROM pg_database d WHERE datname = '{night.name}'"
    )
    before = night.ask(query)

    night.restore()

    assert night.ask(query) == before
    assert "work_mem=7MB" in before
    assert "statement_timeout=9s" in before


def test_a_backup_of_before_a_setting_does_not_bring_an_older_one_back(night: Night) -> None:
    name = night.name
    night.do(f"ALTER DATABASE {name} SET work_mem = '1MB'; ALTER DATABASE {name} RESET work_mem")

    night.restore()

    assert "work_mem" not in kept_settings(night, name)


def kept_settings(night: Night, database: str) -> dict[str, str]:
    with connect(night.admin, purpose="test") as connection:
        return read_settings(connection, database)


def test_sixteen_busy_sessions_lose_no_acknowledged_row_and_wait_two_seconds_at_most(
    night: Night,
) -> None:
    with writing(night.live, night.user(), sessions=16) as writers:
        writers.wait_for(50)
        began = time.monotonic()
        report = night.restore()
        writers.wait_for(50)
        silence = writers.longest_silence_s(began)
        undone = undo_restore(night.admin, plan_undo(night.admin, night.name), confirmed=True)
        writers.wait_for(50)

    assert report.swap
    assert writers.surprises == []
    assert report.swap.unavailable_s <= 2
    assert undone.unavailable_s <= 2
    assert silence <= 2.5
    assert report.swap.ended_sessions >= 16
    there = set()
    for database in (night.name, undone.kept):
        with connect(night.admin.replace(dbname=database), purpose="test") as connection:
            there |= {row[0] for row in connection.execute("SELECT id FROM cases")}
    assert writers.ids() - there == set()


def test_a_frozen_database_takes_no_writes_while_the_restore_runs(night: Night) -> None:
    wish = Wish(night.label, night.name, replace=True, freeze=True)
    seen: list[str] = []

    def try_to_write() -> None:
        try:
            night.write_case("too late")
        except Exception as error:
            seen.append(str(error))

    report = night.restore(wish, on_progress=at("restoring", try_to_write))

    assert "read-only" in seen[0]
    assert report.swap
    assert report.swap.not_restored == ()
    night.write_case("and now it can be written")
    undone = undo_restore(night.admin, plan_undo(night.admin, night.name), confirmed=True)
    night.write_case("so can the old one, when it is back")
    assert undone.now == report.swap.kept


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize(
    "phase",
    ["checking the bytes", "restoring", "comparing with the manifest", "swapping the names"],
)
def test_interrupted_before_the_swap_the_live_database_is_as_it_was(
    night: Night, phase: str, freeze: bool
) -> None:
    settings = kept_settings(night, night.name)
    wish = Wish(night.label, night.name, replace=True, freeze=freeze)

    with pytest.raises(TerminatedError):
        night.restore(wish, on_progress=at(phase, interrupt))

    assert night.databases() == [night.name]
    assert kept_settings(night, night.name) == settings
    night.write_case("goes on")


def test_a_name_that_stays_locked_is_given_up_and_nothing_has_changed(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "ATTEMPTS", 2)
    monkeypatch.setattr(swap, "_LOCK_TIMEOUT_S", 0.2)
    with connect(night.admin, purpose="test") as connection, connection.transaction():
        connection.execute(f"ALTER DATABASE {night.name} SET work_mem = '8MB'".encode())

        with pytest.raises(LockedError, match="could not be changed; nothing was"):
            night.restore()

    # What waits for the name is in test_waiting.py.
    assert not night.ask("SELECT count(*) FROM pg_database WHERE datname LIKE '%_kept_%'")
    night.write_case("goes on")


def test_a_session_that_comes_back_at_once_does_not_stop_the_swap(night: Night) -> None:
    stop = threading.Event()

    def pester() -> None:
        while not stop.is_set():
            try:
                with psycopg.connect(night.live.dsn, autocommit=True) as connection:
                    connection.execute("SELECT pg_sleep(5)")
            except psycopg.Error:
                continue

    threads = [threading.Thread(target=pester) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        report = night.restore()
    finally:
        stop.set()
        night.do(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{night.name}' AND query = 'SELECT pg_sleep(5)'",
            "postgres",
        )
        for thread in threads:
            thread.join()
    assert report.swap


def test_a_second_restore_at_the_same_time_is_refused(night: Night) -> None:
    with (
        connect(night.admin, purpose="test") as connection,
        maintenance_lock(connection),
        pytest.raises(LockedError),
    ):
        night.restore()


def test_each_restore_of_a_backup_keeps_its_own_report(night: Night) -> None:
    swapped = night.restore()
    time.sleep(1)  # Their names have seconds.
    copied = night.restore(Wish(night.label, f"{night.name}_copy"))

    assert swapped.swap
    assert night.reports() == [swapped, copied]


def test_a_report_under_its_older_name_is_still_read(night: Night) -> None:
    report = night.restore().model_copy(update={"record": ""})
    data = report.model_dump_json().encode()
    night.store.write_record(night.name, night.label, "restore", data)

    assert read_record(night.store, night.name, night.label, RestoreReport) == report


def test_a_damaged_backup_is_refused_and_the_newest_good_one_named(night: Night) -> None:
    time.sleep(1)
    newer = dump(night.live.replace(user="case_backup"), night.store, tools=night.tools)
    path = night.store.root / night.name / newer.label / DUMP
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(BackupDamagedError) as caught:
        night.restore(Wish(newer.label, night.name, replace=True))

    assert night.label in (caught.value.hint or "")
    assert night.databases() == [night.name]


def test_an_encrypted_backup_is_restored_with_its_key_and_with_no_other(
    night: Night, tmp_path: Path
) -> None:
    recipient = new_key(tmp_path / "key")
    new_key(tmp_path / "other")
    store = LocalStore(tmp_path / "sealed")
    sealed = dump(
        night.live.replace(user="case_backup"), store, tools=night.tools, recipients=[recipient]
    )
    encrypted = replace(night, store=store)
    wish = Wish(sealed.label, night.name, replace=True)

    for keys in (None, read_keys(tmp_path / "other")):
        with pytest.raises(UnverifiedError):
            encrypted.restore(wish, keys=keys)
    assert night.databases() == [night.name]
    report = encrypted.restore(wish, keys=read_keys(tmp_path / "key"))

    assert report.same_roots is True
    assert night.ask("SELECT count(*) FROM cases") == 1


def test_a_row_changed_since_the_backup_is_counted_as_not_restored(night: Night) -> None:
    night.do("ALTER TABLE users DISABLE TRIGGER ALL; UPDATE users SET first_name = 'Other'")
    night.do("ALTER TABLE users ENABLE TRIGGER ALL")

    report = night.restore()

    assert report.swap
    assert report.swap.not_restored == (
        "table public.users has 3 rows as before, but not all the same",
    )
