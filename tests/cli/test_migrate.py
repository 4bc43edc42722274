"""`casedb migrate` and `casedb check schema` as a person runs them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casedb import migrations
from casedb.database import connect, scalar
from casedb.sqlfiles import folder

if TYPE_CHECKING:
    from tests.cli.conftest import Casedb

NAME = "case_management"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the project's migrations, to which a test adds one."""
    copy = tmp_path / "migrations"
    copy.mkdir()
    for path in folder("migrations").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def add(source: Path, name: str, sql: str, rollback: str) -> str:
    head = sorted(p.stem for p in source.glob("*.sql") if ".rollback" not in p.name)[-1]
    id_ = f"{int(head[:4]) + 1:04}-{name}"
    (source / f"{id_}.sql").write_text(f"-- Why.\n-- depends: {head}\n{sql}\n")
    (source / f"{id_}.rollback.sql").write_text(f"-- Loses.\n{rollback}\n")
    return id_


def test_what_loses_data_is_backed_up_first_and_refused_without(
    brought_up: "Casedb", source: Path, tmp_path: Path
) -> None:
    made = add(
        source,
        "create-notes",
        "CREATE TABLE public.notes (id int PRIMARY KEY); INSERT INTO public.notes VALUES (1), (2);",
        "DROP TABLE public.notes;",
    )
    words = ["--source", str(source)]
    store = ["--store", str(tmp_path / "store")]
    applied = brought_up("migrate", "apply", *words)
    assert (applied.code, applied.out) == (0, f"applied {made}\n"), applied.err
    dropped = add(source, "drop-notes", "DROP TABLE public.notes;", "SELECT 1;")
    full = tmp_path / "full"
    full.write_text("a file, not a folder")

    planned = brought_up("migrate", "plan", *words, "--json").json["pending"]
    refused = brought_up("migrate", "apply", *words, "--store", str(full))
    wrong = brought_up("migrate", "apply", *words, "--confirm", "another")
    done = brought_up("migrate", "apply", *words, *store)

    assert [(one["id"], [loss["table"] for loss in one["losses"]]) for one in planned] == [
        (dropped, ["public.notes"])
    ]
    assert refused.code == 7
    assert f"{dropped}: drop table of table public.notes" in refused.err
    assert f"--confirm {NAME}" in refused.err
    assert wrong.code == 7
    assert done.code == 0, done.err
    assert "taken and verified first: backup" in done.err
    assert "it holds 2 rows of public.notes" in done.err
    backups = brought_up("backups", "--json", *store).json["backups"]
    assert [one["verified"]["outcome"] for one in backups] == ["passed"]

    undone = brought_up(
        "migrate", "rollback", *words, *store, "--count", "2", "--confirm", NAME, "--no-backup"
    )
    assert undone.code == 5, undone.err  # The table is gone; its rollback cannot drop it.
    admin = brought_up.server.conninfo(dbname=NAME, user="postgres")
    with connect(admin, purpose="test") as connection:
        connection.execute("CREATE TABLE public.notes (id int)")
        connection.execute("ALTER TABLE public.notes OWNER TO case_owner")
        connection.execute("INSERT INTO public.notes VALUES (1)")
    refused = brought_up("migrate", "rollback", *words, "--store", str(full), "--confirm", NAME)
    assert refused.code == 7
    assert "--no-backup" in refused.err
    done = brought_up("migrate", "rollback", *words, "--confirm", NAME, "--no-backup")
    assert (done.code, done.out) == (0, f"rolled back {made}\n"), done.err


def test_a_confirmed_loss_needs_no_backup(
    brought_up: "Casedb", source: Path, tmp_path: Path
) -> None:
    made = add(
        source,
        "create-memos",
        "CREATE TABLE public.memos (id int PRIMARY KEY); INSERT INTO public.memos VALUES (1);",
        "DROP TABLE public.memos;",
    )
    words = ["--source", str(source), "--store", str(tmp_path / "store")]
    assert brought_up("migrate", "apply", *words).code == 0

    gone = add(source, "drop-memos", "DROP TABLE public.memos;", "CREATE TABLE public.memos ();")
    done = brought_up("migrate", "apply", *words, "--confirm", NAME, "--json")

    assert (done.code, done.json) == (0, {"applied": [gone]}), done.err
    assert "this loses data" in done.err
    assert not (tmp_path / "store").exists()
    undone = brought_up("migrate", "rollback", *words, "--count", "2", "--confirm", NAME, "--json")
    assert undone.json == {"rolled_back": [gone, made]}, undone.err


def test_status_says_for_machines_who_when_and_whether_the_file_is_the_same(
    brought_up: "Casedb",
) -> None:
    found = brought_up("migrate", "status", "--json")

    assert found.code == 0, found.err
    entries = found.json["applied"]
    assert found.json["head"] == entries[-1]["id"]
    assert {entry["checksum"] for entry in entries} == {"same"}
    assert all("@" in entry["by"] for entry in entries)
    assert (found.json["pending"], found.json["unfinished"]) == ([], [])


def test_the_live_schema_has_no_finding_and_a_fault_is_found(brought_up: "Casedb") -> None:
    admin = brought_up.server.conninfo(dbname=NAME, user="postgres")
    before = brought_up("check", "schema", "--json").json["findings"]
    with connect(admin, purpose="test") as connection:
        connection.execute("ALTER TABLE public.users NO FORCE ROW LEVEL SECURITY")
    try:
        found = brought_up("check", "schema", "--json")
        shown = brought_up("check", "schema")
    finally:
        with connect(admin, purpose="test") as connection:
            connection.execute("ALTER TABLE public.users FORCE ROW LEVEL SECURITY")

    new = [one for one in found.json["findings"] if one not in before]
    assert (found.code, shown.code) == (9, 9)
    assert [(one["rule"], one["object"]) for one in new] == [
        ("row-security-not-forced", "public.users")
    ]
    assert "public.users" in shown.out
    assert "FORCE ROW LEVEL SECURITY" in shown.err


def test_check_runs_without_any_server(casedb: "Casedb", tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    (small / "0001-create-trees.sql").write_text(
        "-- Trees.\nCREATE TABLE public.trees (id bigint, CONSTRAINT trees_pkey PRIMARY KEY (id));"
    )
    (small / "0001-create-trees.rollback.sql").write_text("DROP TABLE public.trees;")

    done = casedb("migrate", "check", "--source", str(small))

    assert done.code == 0, done.out + done.err
    assert "nothing found in 1 migrations" in done.out
    assert not casedb.server.home.exists()


def test_a_missing_folder_is_a_mistake_of_the_configuration(brought_up: "Casedb") -> None:
    for verb in ("plan", "apply", "status", "repair"):
        found = brought_up("migrate", verb, "--source", "nowhere", "--json")
        assert found.code == 3, verb
        assert "does not exist" in json.loads(found.out)["error"]["message"]


def test_new_then_plan_then_repair(brought_up: "Casedb", source: Path) -> None:
    written = brought_up("migrate", "new", "add-colour", "--source", str(source), "--json")
    path = Path(written.json["migration"])
    path.write_text(path.read_text() + "ALTER TABLE public.cases ADD COLUMN colour text;\n")

    planned = brought_up("migrate", "plan", "--source", str(source))

    assert planned.code == 0, planned.err
    assert "public.cases: ACCESS EXCLUSIVE, stops reads and writes" in planned.out
    admin = brought_up.server.conninfo(dbname=NAME, user="postgres")
    with connect(admin, purpose="test") as connection:
        query = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'colour'"
        assert scalar(connection, query) == 0
    assert "nothing to repair" in brought_up("migrate", "repair").out
    assert migrations.status(admin, source=folder("migrations")).problems == ()
