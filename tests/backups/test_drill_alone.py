"""Each check of a drill fails alone: one thing is changed on the restored copy, and it is named."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import pytest

from backups.catalog import read_backup
from backups.drill import drill
from backups.dump import dump
from backups.load import analyze
from backups.manifest import Manifest
from backups.probes import newest_migration, probe_access
from backups.progress import Progress
from backups.stores import LocalStore
from casedb.cluster import postmaster
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import (
    DifferenceError,
    ExitCode,
    LockedError,
    ServerUnreachableError,
    UnverifiedError,
)
from casedb.migrations.files import read_folder
from casedb.seed import seed_demo
from casedb.sqlfiles import folder
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools
from tests.backups.conftest import Made

Spoil = Callable[[LiteralString], None]


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """Change the restored database after it is loaded and before it is compared."""

    def arrange(statements: LiteralString) -> None:

        def and_spoil(target: Conninfo) -> None:
            analyze(target)
            with connect(target, purpose="spoil") as connection:
                # As somebody who can do everything, triggers and policies notwithstanding.
                connection.execute("SET session_replication_role = replica")
                connection.execute(statements)

        monkeypatch.setattr("backups.drill.analyze", and_spoil)

    return arrange


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "UPDATE app.cases SET title = 'x' WHERE id = (SELECT min(id) FROM app.cases)",
            ["table app.cases has 100 rows as before, but other content"],
        ),
        (
            "DELETE FROM app.cases WHERE id = (SELECT min(id) FROM app.cases)",
            ["table app.cases had 100 rows and has 99"],
        ),
        (
            "SELECT setval('app.cases_id_seq', 1)",
            ["sequence app.cases_id_seq would give"],
        ),
        ("GRANT INSERT ON app.cases TO sample_reader", ["app.cases"]),
        ("DROP POLICY cases_never_closed ON app.cases", ["policy app.cases.cases_never_closed"]),
        ("ALTER TABLE app.cases NO FORCE ROW LEVEL SECURITY", ["app.cases"]),
        ("ALTER DATABASE \"sample db\" SET work_mem = '9MB'", ["the database's settings"]),
        (
            "SELECT lo_put(min(oid), 0, 'other') FROM pg_largeobject_metadata",
            ["the 2 large objects have other content"],
        ),
        ("ALTER FUNCTION app.stamp() OWNER TO sample_plain", ["app.stamp"]),
        (
            "ALTER DEFAULT PRIVILEGES FOR ROLE sample_owner IN SCHEMA app"
            " GRANT INSERT ON TABLES TO sample_reader",
            ["default privileges"],
        ),
        ("ALTER ROLE sample_reader BYPASSRLS", ["role sample_reader"]),
        ("REVOKE sample_owner FROM sample_plain", ["sample_plain"]),
        ("ALTER TABLE app.cases DROP CONSTRAINT cases_status_known", ["cases_status_known"]),
        ("DROP INDEX app.cases_open", ["cases_open"]),
        ("ALTER TABLE app.cases ENABLE TRIGGER cases_off", ["cases_off"]),
    ],
    ids=[
        "value",
        "row",
        "sequence",
        "grant",
        "policy",
        "row security",
        "database setting",
        "large object",
        "owner",
        "default privileges",
        "role",
        "membership",
        "constraint",
        "index",
        "trigger",
    ],
)
def test_one_change_is_found_and_nothing_else(
    copied: Made, tools: PostgresTools, spoil: Spoil, change: LiteralString, found: list[str]
) -> None:
    spoil(change)

    with pytest.raises(DifferenceError) as caught:
        drill(copied.store, copied.label, tools=tools)

    lines = (caught.value.detail or "").splitlines()
    assert len(lines) == len(found), lines
    assert all(part in line for part, line in zip(found, lines, strict=True))
    backup = read_backup(copied.store, "sample db", copied.label)
    assert backup.drilled
    assert backup.drilled.outcome == "failed"


def test_every_role_logs_in_and_the_access_matrix_is_probed(
    cases: tuple[LocalStore, Manifest], tools: PostgresTools
) -> None:
    store, manifest = cases

    report = drill(store, manifest.label, tools=tools)

    assert report.outcome == "passed"
    assert read_backup(store, manifest.database, manifest.label).passed_full_drill
    assert manifest.migration_head == newest_migration()
    assert manifest.migration_checksums == {
        file.id: file.checksum for file in read_folder(folder("migrations"))
    }
    assert not [note for note in report.notes if "not probed" in note]
    assert report.phases_s["probe"] > 0


def test_a_broken_link_of_the_audit_trail_is_found(
    cases: tuple[LocalStore, Manifest], tools: PostgresTools, spoil: Spoil
) -> None:
    store, manifest = cases
    spoil(
        "ALTER TABLE public.case_logs DISABLE TRIGGER ALL;"
        "UPDATE public.case_logs SET action = 'commented' WHERE action <> 'commented'"
    )

    with pytest.raises(DifferenceError, match="does not restore") as caught:
        drill(store, manifest.label, tools=tools)

    assert "audit trail: " in (caught.value.detail or "")


def test_a_function_that_lies_about_who_acts_is_found_by_the_probe(
    database: Conninfo, cases: tuple[LocalStore, Manifest]
) -> None:
    """No count, hash or policy differs: only trying it tells."""
    _, manifest = cases
    with connect(database, purpose="test") as connection:
        connection.execute(
            "ALTER ROLE case_clerk SET statement_timeout = 0;"
            "CREATE POLICY open_door ON public.cases FOR SELECT TO case_clerk USING (true)"
        )

    probed = probe_access(database, manifest)

    assert probed.unchecked is None
    assert any("case_clerk" in line and "cases" in line for line in probed.differences)


def test_rights_that_were_wrong_before_the_dump_fail_the_drill_by_the_probe_alone(
    database: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """It restores just what was dumped; that it must not be so, only the matrix knows."""
    seed_demo(database.replace(user="case_seed"))
    with connect(database, purpose="test") as connection:
        connection.execute(
            "CREATE POLICY open_door ON public.cases FOR SELECT TO case_clerk USING (true)"
        )
    store = LocalStore(tmp_path)
    manifest = dump(database.replace(user="case_backup"), store, tools=tools)

    with pytest.raises(DifferenceError) as caught:
        drill(store, manifest.label, tools=tools)

    lines = (caught.value.detail or "").splitlines()
    assert lines
    assert all(line.startswith("access: ") for line in lines), lines
    backup = read_backup(store, manifest.database, manifest.label)
    assert backup.drilled
    assert backup.drilled.outcome == "failed"


def test_a_drill_holds_its_backup_until_it_has_ended(copied: Made, tools: PostgresTools) -> None:
    """A rotation on another host must not delete it meanwhile."""
    other = LocalStore(copied.store.root)
    refused = []

    def delete(progress: Progress) -> None:
        try:
            other.delete("sample db", copied.label, b"")
        except LockedError:
            refused.append(progress.phase)

    drill(copied.store, copied.label, tools=tools, with_access=False, on_progress=delete)

    # Verifying holds it for itself; a drill goes on with all the rest.
    assert {"making a throwaway cluster", "restoring", "logging in as each role"} <= {*refused}
    other.delete("sample db", copied.label, b"")
    assert other.labels("sample db") == []


def test_a_role_that_cannot_log_in_is_found(
    database: Conninfo, cases: tuple[LocalStore, Manifest]
) -> None:
    _, manifest = cases
    with connect(database, purpose="test") as connection:
        connection.execute("ALTER ROLE case_readonly NOLOGIN")
    try:
        probed = probe_access(database, manifest)
    finally:
        with connect(database, purpose="test") as connection:
            connection.execute("ALTER ROLE case_readonly LOGIN")

    found = [line for line in probed.differences if line.startswith("role case_readonly")]
    assert "cannot log in" in found[0]


def test_a_login_role_that_cannot_get_in_fails_the_drill_by_that_alone(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """It restores just what was dumped: only trying it tells."""
    store = LocalStore(tmp_path)
    with connect(small, purpose="test") as connection:
        connection.execute(
            "CREATE ROLE sample_shut LOGIN; GRANT SELECT ON one TO sample_shut;"
            "ALTER ROLE sample_shut SET local_preload_libraries = 'not_there'"
        )
    try:
        manifest = dump(small, store, tools=tools)
    finally:
        with connect(small, purpose="test") as connection:
            connection.execute("DROP OWNED BY sample_shut; DROP ROLE sample_shut")

    with pytest.raises(DifferenceError) as caught:
        drill(store, manifest.label, tools=tools, with_access=False)

    (line,) = (caught.value.detail or "").splitlines()
    assert line.startswith("role sample_shut cannot log in: ")
    backup = read_backup(store, manifest.database, manifest.label)
    assert backup.drilled
    assert backup.drilled.outcome == "failed"


def test_access_that_cannot_be_checked_is_no_pass_and_leaves_no_record(
    copied: Made, tools: PostgresTools
) -> None:
    """Another application's database: nobody knows who may do what in it."""
    with pytest.raises(UnverifiedError, match="could not be checked") as caught:
        drill(copied.store, copied.label, tools=tools)

    assert caught.value.exit_code == ExitCode.UNVERIFIED
    assert "not a database of this toolkit's migrations" in (caught.value.detail or "")
    assert "--without-access" in (caught.value.hint or "")
    assert read_backup(copied.store, "sample db", copied.label).drilled is None


def test_an_older_migration_is_no_pass_either(
    cases: tuple[LocalStore, Manifest], tools: PostgresTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, manifest = cases
    monkeypatch.setattr("backups.probes.newest_migration", lambda: "9999-come-later")

    with pytest.raises(UnverifiedError, match="could not be checked") as caught:
        drill(store, manifest.label, tools=tools)

    assert f"at migration {manifest.migration_head}, the matrix is for 9999-come-later" in (
        caught.value.detail or ""
    )


def test_a_difference_counts_more_than_access_that_could_not_be_checked(
    copied: Made, tools: PostgresTools, spoil: Spoil
) -> None:
    spoil("DELETE FROM app.cases WHERE id = (SELECT min(id) FROM app.cases)")

    with pytest.raises(DifferenceError):
        drill(copied.store, copied.label, tools=tools)


def test_who_leaves_the_access_out_is_told_so_in_the_report(
    copied: Made, tools: PostgresTools
) -> None:
    report = drill(copied.store, copied.label, tools=tools, with_access=False)

    assert report.outcome == "passed"
    assert report.notes[-1] == "access was not probed: it was not asked for"
    backup = read_backup(copied.store, "sample db", copied.label)
    assert backup.passed_drill
    assert not backup.passed_full_drill


def test_the_crash_of_one_server_process_is_no_failure_of_the_backup(
    copied: Made, tools: PostgresTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel does it when memory runs out: the drill's own server ends, it is not asked."""
    servers: list[Conninfo] = []
    killed: list[int] = []

    @contextmanager
    def seen_cluster(tools: PostgresTools, **words: str) -> Iterator[Conninfo]:
        with throwaway_cluster(tools, superuser=words["superuser"]) as admin:
            servers.append(admin)
            yield admin

    def kill_the_one_that_loads(progress: Progress) -> None:
        # Told of by the load itself, while pg_restore reads.
        if killed or progress.unit != "bytes" or not servers:
            return
        with connect(servers[0], purpose="test") as connection:
            folder = Path(str(scalar(connection, "SHOW data_directory")))
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
            while not (found := scalar(connection, query, f"casedb restore {copied.label}")):
                pass
        os.kill(int(found), signal.SIGKILL)
        killed.append(int(found))
        # Else looking how far it is could be what finds out, and not the end of pg_restore.
        monkeypatch.setattr("backups.pg_restore._TOLD_EVERY_S", 60)
        wait_until_over(servers[0], folder)

    monkeypatch.setattr("backups.drill_cluster.throwaway_cluster", seen_cluster)
    monkeypatch.setattr("backups.pg_restore._TOLD_EVERY_S", 0)

    with pytest.raises(UnverifiedError, match=r"throwaway server (went away|was lost)") as caught:
        drill(copied.store, copied.label, tools=tools, on_progress=kill_the_one_that_loads)

    assert killed
    assert caught.value.exit_code == ExitCode.UNVERIFIED
    assert read_backup(copied.store, "sample db", copied.label).drilled is None


def wait_until_over(admin: Conninfo, data_dir: Path) -> None:
    """Wait until the server has noticed a crash, and is gone or answers again."""
    log = data_dir.parent / "server.log"
    deadline = time.monotonic() + 120
    while "terminated by signal 9" not in log.read_text() or (
        postmaster(data_dir) and not answers(admin)
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answers(admin: Conninfo) -> bool:
    try:
        with connect(admin, purpose="test"):
            return True
    except ServerUnreachableError:
        return False
