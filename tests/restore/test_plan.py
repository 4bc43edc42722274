"""A plan says what there is and what would be done, and what stands against it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backups.attempt import plan_restore
from backups.catalog import Backup, read_backup
from backups.manifest import ExtensionFacts
from backups.restore_facts import LiveState, ServerState
from backups.restore_plan import RestorePlan, make_plan
from casedb import cluster as server_cluster
from casedb.cli.restore_output import print_plan
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.marks import Mark
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools
from casedb.unprivileged import launcher
from tests.restore.conftest import Night
from tests.restore.writers import writing

GIB = 2**30
SERVER = ServerState(
    role="postgres",
    is_superuser=True,
    is_pooled=False,
    version="16.14",
    major=16,
    is_standby=False,
    is_read_only=False,
    bootstrap_superuser="postgres",
    collation_version="2.36",
    max_wal_size_bytes=GIB,
    roles=frozenset(),
    roles_without_login=frozenset(),
    extensions={"plpgsql": "1.0"},
    databases=frozenset({"postgres"}),
    free_bytes=100 * GIB,
    wal_on_same_disk=True,
)
LIVE = LiveState("cases", GIB, Mark.PRODUCTION, True, (), (), ())


def planned(night: Night, server: ServerState = SERVER, **words: Any) -> RestorePlan:
    """Return a plan for the night's backup, with facts that the test has made up."""
    backup = words.pop("backup", None) or read_backup(night.store, night.name, night.label)
    roles = frozenset(role.name for role in night.manifest.roles)
    given: dict[str, Any] = {
        "store": night.store.url,
        "database": "cases",
        "replace": True,
        "freeze": False,
        "create_roles": False,
        "tools_major": 16,
        "tools_version": "16.14",
        "drills": [],
        "now": night.manifest.started_at + timedelta(hours=2),
        "live": LIVE,
        **words,
    }
    live, manifest = given.pop("live"), given.pop("manifest", night.manifest)
    server = server if server.roles else replace(server, roles=roles)
    server = replace(server, major=night.tools.major)
    given["tools_major"] = night.tools.major if given["tools_major"] == 16 else 99
    return make_plan(backup, manifest, server, live, **given)


def messages(plan: RestorePlan) -> str:
    return "\n".join(f"{r.message} {r.detail} {r.hint}" for r in plan.refusals)


def test_nothing_stands_against_an_ordinary_restore(night: Night) -> None:
    plan = planned(night)

    assert plan.refusals == ()
    assert plan.age == timedelta(hours=2)
    assert any("renamed" in step for step in plan.steps)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"is_pooled": True}, "leads through a pooler"),
        ({"is_standby": True}, "is a standby"),
        ({"is_read_only": True}, "is read-only"),
        ({"is_superuser": False}, "only a superuser"),
        ({"free_bytes": 1000}, "too little disk"),
    ],
    ids=str,
)
def test_what_the_server_is_not_fit_for_is_refused(
    night: Night, facts: dict[str, Any], words: str
) -> None:
    assert words in messages(planned(night, replace(SERVER, **facts)))


def test_a_part_has_its_own_need_and_steps(night: Night) -> None:
    small = replace(SERVER, free_bytes=GIB)
    manifest = night.manifest.model_copy(update={"database_size_bytes": 100 * GIB})
    users = tuple(table for table in manifest.tables if table.full_name == "public.users")
    words: dict[str, Any] = {"manifest": manifest, "live": None, "replace": False}

    whole = planned(night, small, **words)
    schema = planned(night, small, **words, part=())
    rows = planned(night, small, **words, part=users)

    assert "too little disk" in messages(whole)
    assert schema.refusals == ()
    assert rows.need_bytes == whole.need_bytes
    assert schema.steps[0].startswith(f"the schema of {night.label} is loaded")
    assert "with the rows of public.users, is loaded" in rows.steps[0]
    assert "the live database differs" in rows.steps[-1]
    assert (whole.part, schema.part, rows.part) == (None, (), ("public.users",))


def test_the_disk_that_is_unknown_is_a_note_and_no_refusal(night: Night) -> None:
    plan = planned(night, replace(SERVER, free_bytes=None))

    assert plan.refusals == ()
    assert any("how much disk" in note for note in plan.notes)


def test_missing_roles_are_named_and_those_that_would_need_a_password(night: Night) -> None:
    plan = planned(night, replace(SERVER, roles=frozenset({"case_owner"})))

    assert "case_app" in messages(plan)
    assert "case_owner" not in plan.missing_roles
    assert "case_app" in plan.roles_to_let_in
    assert "case_clerk" not in plan.roles_to_let_in


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


def test_missing_extensions_are_refused_and_other_versions_noted(night: Night) -> None:
    extensions = (
        ExtensionFacts(name="pg_trgm", version="1.6"),
        ExtensionFacts(name="postgis", version="3"),
    )
    manifest = night.manifest.model_copy(update={"extensions": extensions})

    plan = planned(night, replace(SERVER, extensions={"pg_trgm": "1.5"}), manifest=manifest)

    assert "postgis" in messages(plan)
    assert "extension pg_trgm was 1.6, here it is 1.5" in plan.notes


def test_several_refusals_are_all_told_of_at_once(night: Night) -> None:
    plan = planned(night, replace(SERVER, is_standby=True, free_bytes=1))

    with pytest.raises(Exception, match="is a standby") as caught:
        plan.require()
    assert "too little disk" in str(caught.value.detail)  # type: ignore[attr-defined]


def test_a_new_name_that_exists_is_refused(night: Night) -> None:
    assert "exists already" in messages(planned(night, replace=False))


def test_the_servers_own_databases_are_not_replaced(night: Night) -> None:
    plan = planned(night, database="postgres", live=replace(LIVE, name="postgres"))

    assert "belongs to the server" in messages(plan)


def test_the_estimate_comes_from_the_nearest_drill_scaled_by_size(night: Night) -> None:
    backup = read_backup(night.store, night.name, night.label)
    drilled = drilled_backup(backup, seconds=10)

    own = planned(night, backup=drilled).estimate
    other = planned(night, drills=[replace(drilled, size_bytes=backup.size_bytes // 2)]).estimate

    assert own
    assert own.seconds == 10
    assert other
    assert other.seconds == pytest.approx(20, rel=0.01)
    assert planned(night).estimate is None


def test_a_drill_that_failed_is_told_of_and_the_newest_that_passed_named(night: Night) -> None:
    backup = read_backup(night.store, night.name, night.label)
    passed = replace(drilled_backup(backup, seconds=1), label="cases-20200101T000000Z")
    drilled = drilled_backup(backup, seconds=1)
    assert drilled.drilled
    report = drilled.drilled.model_copy(
        update={"outcome": "failed", "differences": ("table t has 1 row less",)}
    )

    failed = planned(night, backup=replace(drilled, drilled=report), drills=[passed])

    assert failed.refusals == ()
    (note,) = (n for n in failed.notes if "drill" in n)
    assert "drill failed: table t has 1 row less" in note
    assert passed.label in note
    assert any("never drilled" in note for note in planned(night).notes)


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


def test_other_versions_of_the_server_and_its_collation_are_noted(night: Night) -> None:
    here = replace(SERVER, version="99.1", collation_version="99.9")
    properties = night.manifest.properties.model_copy(update={"locale_provider": "libc"})
    manifest = night.manifest.model_copy(update={"properties": properties})

    notes = "\n".join(planned(night, here, manifest=manifest).notes)

    assert f"is of PostgreSQL {manifest.server_version}, not 99.1" in notes
    assert f"version was {properties.collation_version}, here it is 99.9" in notes


def test_a_full_disk_is_not_an_unknown_one(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan(planned(night, replace(SERVER, free_bytes=0)), "here")

    shown = capsys.readouterr().out
    assert "0 B free" in shown
    assert "unknown free" not in shown


def drilled_backup(backup: Backup, seconds: float) -> Backup:
    from backups.reports import DrillReport

    report = DrillReport(
        label=backup.label,
        outcome="passed",
        at=datetime.now(UTC),
        duration_s=99,
        phases_s={"restore": seconds, "initdb": 50},
        tables=1,
        rows=1,
        sequences=0,
        catalog_rows=1,
        large_objects=0,
        tool_version="0",
        server_version="16.14",
    )
    return replace(backup, drilled=report)


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


def casedb(night: Night, server: Conninfo, folder: Path, *words: str) -> tuple[int, str]:
    return run(night, server, folder, "restore", *words, "--store", str(night.store.root))


def run(night: Night, server: Conninfo, folder: Path, *words: str) -> tuple[int, str]:
    (folder / "casedb.toml").touch()
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "casedb", *words),
            *("--conninfo", server.replace(dbname=None, user=None).dsn),
        ],
        cwd=folder,
        env={**kept, "PG_BIN": str(night.tools.bindir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


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
