"""What a plan finds on a real server, and the command that prints it."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backups.attempt import plan_restore
from casedb import cluster as server_cluster
from casedb.cli.restore_output import print_plan
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools
from casedb.unprivileged import launcher
from tests.restore.commands import casedb, run
from tests.restore.conftest import Night
from tests.restore.writers import writing


def test_roles_without_a_password_are_told_of(night: Night) -> None:
    night.do("ALTER ROLE case_app PASSWORD 'one'; ALTER ROLE case_backup PASSWORD NULL")

    plan = plan_restore(night.store, night.wish, night.admin, tools=night.tools)

    assert plan.roles_to_let_in == ()
    assert "case_backup" in plan.roles_without_password
    assert "case_app" not in plan.roles_without_password
    assert "case_owner" not in plan.roles_without_password
    night.do("ALTER ROLE case_app PASSWORD NULL")


def test_roles_that_were_made_come_with_the_way_to_let_them_in(
    night: Night, tools: PostgresTools, tmp_path: Path
) -> None:
    with throwaway_cluster(tools) as bare:
        code, said = casedb(night, bare, tmp_path, night.label, "--into", "new", "--create-roles")

    assert code == 0, said
    assert "created without login: " in said
    assert 'ALTER ROLE "case_app" LOGIN; \\password "case_app"' in said
    assert '"case_owner" LOGIN' not in said


def test_a_newer_damaged_backup_that_latest_passes_over_is_named(
    night: Night, tmp_path: Path
) -> None:
    older, damaged = (night.name + suffix for suffix in ("-20200101T000000Z", "-20990101T000000Z"))
    for label in (older, damaged):
        (night.store.root / night.name / label).mkdir()
        (night.store.root / night.name / label / "database.dump").touch()

    code, said = casedb(
        night, night.admin, tmp_path, "latest", "--database", night.name, "--plan", "--json"
    )

    assert code == 0, said
    plan = json.loads(said)
    assert plan["label"] == night.label
    (note,) = (n for n in plan["notes"] if "damaged" in n)
    assert damaged in note
    assert "manifest is missing" in note


def test_the_plan_says_what_is_done_with_a_pooler(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Conninfo.parse("host=/run/pgbouncer port=6432 dbname=pgbouncer", origin="test")
    words = (night.store, night.wish, night.admin)

    print_plan(plan_restore(*words, tools=night.tools, pooler=console), "here")
    said = " ".join(capsys.readouterr().out.split())
    print_plan(plan_restore(*words, tools=night.tools), "here")

    assert "pooler" in said
    assert "host=/run/pgbouncer" in said
    assert "PAUSE, the swap, RESUME" in said
    assert "PAUSE" not in capsys.readouterr().out


def test_the_plan_counts_sessions_and_what_was_written_since(night: Night) -> None:
    night.write_case("since the backup")
    with writing(night.live, night.user(), sessions=3) as writers:
        writers.wait_for(3)
        plan = plan_restore(night.store, night.wish, night.admin, tools=night.tools)

    assert plan.live
    assert plan.live.session_count == 3
    assert {s.role for s in plan.live.sessions} == {"case_app"}
    assert "public.cases" in {w.table for w in plan.live.written or ()}
    assert plan.server.free_bytes
    assert not plan.server.is_pooled


@pytest.fixture(scope="module")
def other_server(tools: PostgresTools) -> Iterator[Conninfo]:
    """A server that can hold prepared transactions and replication slots."""
    settings = {
        "max_prepared_transactions": "5",
        "wal_level": "logical",
        "max_replication_slots": "5",
        "max_wal_senders": "5",
    }
    with throwaway_cluster(tools, settings=settings) as admin:
        yield admin


def test_prepared_transactions_and_slots_are_named_and_nothing_is_touched(
    night: Night, other_server: Conninfo, tmp_path: Path
) -> None:
    with connect(other_server, purpose="test") as connection:
        connection.execute("CREATE DATABASE held")
    held = other_server.replace(dbname="held")
    with connect(held, purpose="test") as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('follower', 'pgoutput')")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE half (i int)")
        connection.execute("PREPARE TRANSACTION 'move-42'")
    words = (night.label, "--database", "held", "--create-roles")
    try:
        code, said = casedb(night, other_server, tmp_path, *words, "--plan")
        again, refused = casedb(night, other_server, tmp_path, *words, "--confirm", "held")
    finally:
        with connect(held, purpose="test") as connection:
            connection.execute("ROLLBACK PREPARED 'move-42'")
            connection.execute("SELECT pg_drop_replication_slot('follower')")

    assert (code, again) == (7, 7)
    for text in (said, refused):
        assert 'prepared transaction "move-42"' in text
        assert 'replication slot "follower"' in text


def test_a_read_only_server_and_a_standby_are_refused(
    night: Night, tools: PostgresTools, tmp_path: Path
) -> None:
    settings = {"wal_level": "replica", "default_transaction_read_only": "on"}
    words = (night.label, "--into", "new", "--create-roles", "--plan")
    with throwaway_cluster(tools, settings=settings) as admin:
        code, said = casedb(night, admin, tmp_path, *words)
        assert code == 7
        assert "the server is read-only" in said
        with connect(admin, purpose="test") as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row
        data_dir = Path(row[0])
        server_cluster.stop(data_dir)
        (data_dir / "standby.signal").touch(mode=0o644)
        run_as = launcher()
        usable = run_as.reachable_tools(tools, data_dir.parent)
        server_cluster.start(usable, data_dir, log=data_dir.parent / "log", launcher=run_as)
        code, said = casedb(night, admin, tmp_path, *words)
    assert code == 7
    assert "the server is a standby" in said


def test_the_plan_for_machines_has_everything(night: Night, tmp_path: Path) -> None:
    words = (night.label, "--database", night.name, "--plan", "--json")
    code, said = casedb(night, night.admin, tmp_path, *words)

    assert code == 0
    found = json.loads(said)
    assert found["label"] == night.label
    assert found["replaces"] is True
    assert found["live"]["written"] == []
    assert night.databases() == [night.name]


def test_a_pooler_that_does_not_answer_is_found_by_the_plan_already(
    night: Night, tmp_path: Path
) -> None:
    nowhere = f"host={tmp_path} port=6432 dbname=pgbouncer user=postgres"
    words = (night.label, "--database", night.name, "--plan", "--pooler")

    assert casedb(night, night.admin, tmp_path, *words, "")[0] == 0
    code, said = casedb(night, night.admin, tmp_path, *words, nowhere)

    assert code == 4
    assert "the console of PgBouncer cannot be reached" in said


def test_a_plan_that_would_be_refused_ends_with_7_and_changes_nothing(
    night: Night, tmp_path: Path
) -> None:
    code, said = casedb(night, night.admin, tmp_path, night.label, "--into", night.name, "--plan")

    assert code == 7
    assert "REFUSED: database" in said


def test_without_the_right_answer_nothing_is_done(night: Night, tmp_path: Path) -> None:
    words = (night.label, "--database", night.name, "--confirm", "another")
    code, said = casedb(night, night.admin, tmp_path, *words)

    assert code == 7
    assert "not confirmed" in said
    assert night.databases() == [night.name]


@pytest.mark.parametrize("label", ["typo", "{label}x", "other-20200101T000000Z"])
def test_an_unknown_label_shows_the_nearest(night: Night, tmp_path: Path, label: str) -> None:
    words = (label.format(label=night.label), "--database", night.name)
    code, said = casedb(night, night.admin, tmp_path, *words)

    assert code == 3
    assert f'Did you mean "{night.label}"' in said


def test_before_chooses_the_newest_that_is_older(night: Night, tmp_path: Path) -> None:
    later = (night.manifest.started_at + timedelta(minutes=1)).strftime("%Y-%m-%d %H:%M:%S")
    words = ("--database", night.name, "--plan")
    code, said = casedb(night, night.admin, tmp_path, *words, "--before", later)
    none, why = casedb(night, night.admin, tmp_path, *words, "--before", "2001-01-01")

    assert code == 0
    assert night.label in said
    assert none == 3
    assert "no good backup" in why


def test_the_way_back_asks_when_something_was_written_and_so_does_dropping(
    night: Night, tmp_path: Path
) -> None:
    def do(*words: str) -> tuple[int, str]:
        return run(night, night.admin, tmp_path, *words, "--database", night.name)

    assert casedb(
        night, night.admin, tmp_path, night.label, "--database", night.name, "--confirm", night.name
    )[0] == 0  # fmt: skip
    night.write_case("since the restore")

    code, said = do("undo-restore")
    assert code == 7
    assert "public.cases had 1 rows and has 2" in said
    offer = "Do the documents agree with it? casedb documents check"
    (tmp_path / "casedb.toml").write_text('documents = "s3://bucket/files"\n')
    code, said = do("undo-restore", "--confirm", night.name)
    assert code == 0
    assert offer in said
    code, listed = do("drop-kept", "--json")
    (kept,) = json.loads(listed)["kept"]
    with connect(night.admin.replace(dbname=kept["name"]), purpose="forgotten"):
        code, asked = do("drop-kept", kept["name"])
    assert code == 7
    assert "It is the only way back" in asked
    assert "1 of postgres from local, casedb forgotten, 0 busy" in asked
    assert do("drop-kept", "nonsense", "--confirm", "nonsense")[0] == 3
    assert do("drop-kept", kept["name"], "--confirm", kept["name"])[0] == 0
    assert night.databases() == [night.name]
