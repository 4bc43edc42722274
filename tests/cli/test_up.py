"""From nothing to a proven restore; and again, when everything is in place."""

import os
import re
import shutil
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backups import probes
from casedb.cli import bringup
from casedb.database import connect, scalar
from casedb.settings import read_settings
from casedb.sqlfiles import folder

if TYPE_CHECKING:
    from tests.cli.conftest import Casedb

STEPS = ["server", "roles", "migrations", "seed", "backup", "drill"]


def test_up_ends_in_a_proven_restore_and_says_what_to_do_next(brought_up: "Casedb") -> None:
    backups = brought_up("backups", "--json").json["backups"]
    status = brought_up("status")

    assert backups[-1]["drilled"]["outcome"] == "passed"
    assert status.code == 0, status.out
    assert "NOT WELL" not in status.out


def test_a_second_up_finds_everything_in_place(brought_up: "Casedb") -> None:
    again = brought_up("up")

    assert again.code == 0, again.err
    results = dict(line.split(maxsplit=1) for line in again.out.splitlines()[2:8])
    assert list(results) == STEPS
    assert "already running" in results["server"]
    assert results["migrations"].startswith("none pending")
    assert results["seed"].startswith("in place")
    assert "is there" in results["backup"]
    assert results["drill"].startswith("passed before")
    assert "casedb shell" in again.out


def test_up_ignores_another_server_in_the_environment(brought_up: "Casedb") -> None:
    again = brought_up(
        "up", "--json", PGHOST="192.0.2.1", PGPASSWORD="wrong", DATABASE_URL="postgresql://x@y/z"
    )

    assert again.code == 0, again.err
    assert [step["name"] for step in again.json["steps"]] == STEPS


def test_the_plans_seed_is_there_and_only_hashed(brought_up: "Casedb") -> None:
    admin = brought_up.server.conninfo(dbname="case_management", user="postgres")
    with connect(admin, purpose="test") as connection:
        users = connection.execute(
            "SELECT email, password, role::text FROM users ORDER BY email"
        ).fetchall()

    assert [(email, role) for email, _, role in users] == [
        ("caseworker@example.com", "CASEWORKER"),
        ("chair@example.com", "CHAIR"),
        ("clerk@example.com", "CLERK"),
    ]
    assert all(password.startswith("$2b$10$") for _, password, _ in users)


def test_server_status_tells_where_it_is(brought_up: "Casedb") -> None:
    found = brought_up("server", "status", "--json").json

    assert found["running"] is True
    assert found["version"] == brought_up.tools.version
    assert found["pid"] == brought_up.server.status().pid
    assert found["port"] > 1024
    assert Path(found["data_directory"]) == brought_up.folder / ".casedb" / "data"
    assert (Path(found["socket"]) / f".s.PGSQL.{found['port']}").is_socket()


def test_nothing_it_wrote_can_be_read_by_others(brought_up: "Casedb") -> None:
    home = brought_up.folder / ".casedb"

    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for path in (home / "backups").rglob("*"):
        allowed = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == allowed, path
    assert stat.S_IMODE((home / "pgpass").stat().st_mode) == 0o600


def test_no_password_is_in_any_output_log_or_backup(brought_up: "Casedb") -> None:
    passwords = brought_up.server.passwords()
    said = "".join(
        result.out + result.err
        for result in (
            brought_up("config", "show"),
            brought_up("status"),
            brought_up("server", "status", "--json"),
            brought_up("backups", "--json"),
        )
    )
    home = brought_up.folder / ".casedb"
    texts = [said, (home / "server.log").read_text(errors="replace")]
    texts += [p.read_text(errors="replace") for p in (home / "backups").rglob("*") if p.is_file()]

    assert len(passwords) > 5
    for password in passwords.values():
        assert all(password not in text for text in texts)
    # A verifier goes on with the number of its rounds; ops.pooler_login only names the kind.
    assert all(re.search(r"SCRAM-SHA-256\$\d", text) is None for text in texts)


def test_every_login_role_gets_in_with_its_own_password(brought_up: "Casedb") -> None:
    for role in brought_up.server.passwords():
        target = brought_up.server.conninfo(dbname="case_management", user=role)
        with connect(target, purpose="test") as connection:
            assert scalar(connection, "SELECT session_user::text") == role


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_up_that_is_ended_half_way_is_finished_by_the_next(
    casedb: "Casedb", number: signal.Signals
) -> None:
    running = casedb.start("up")
    deadline = time.monotonic() + 120
    while not (casedb.server.data_dir / "postmaster.pid").exists():
        assert time.monotonic() < deadline
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    os.kill(running.pid, number)
    _, err = running.communicate(timeout=300)

    assert running.returncode in (130, 143, -signal.SIGKILL)
    assert "Traceback" not in err
    assert casedb("up").code == 0
    assert casedb("status").code == 0


def test_two_ups_at_once_do_not_harm_each_other(casedb: "Casedb") -> None:
    both = [casedb.start("up") for _ in range(2)]
    codes = []
    for process in both:
        _, err = process.communicate(timeout=300)
        codes.append(process.returncode)
        assert process.returncode in (0, 8), err

    assert 0 in codes
    assert casedb("up").code == 0


def test_down_stops_the_server_and_keeps_the_data(casedb: "Casedb") -> None:
    assert casedb("up").code == 0

    assert casedb("down").code == 0
    assert not casedb.server.status().running
    assert casedb("server", "status").code == 4
    again = casedb("up", "--json").json

    results = {step["name"]: step["result"] for step in again["steps"]}
    assert results["seed"].startswith("in place")
    assert results["migrations"] == "none pending"


def test_reset_starts_over_and_keeps_the_backups(casedb: "Casedb") -> None:
    assert casedb("up").code == 0
    label = casedb("backups", "--json").json["backups"][0]["label"]
    admin = casedb.server.conninfo(dbname="case_management", user="postgres")
    with connect(admin, purpose="test") as connection:
        connection.execute("CREATE TABLE scratch ()")

    unconfirmed = casedb("reset")
    wrong = casedb("reset", "--confirm", "something_else")
    assert (unconfirmed.code, wrong.code) == (7, 7)
    assert "--confirm case_management" in unconfirmed.err
    confirmed = casedb("reset", "--confirm", "case_management")

    assert confirmed.code == 0, confirmed.err
    admin = casedb.server.conninfo(dbname="case_management", user="postgres")
    with connect(admin, purpose="test") as connection:
        assert scalar(connection, "SELECT to_regclass('scratch')") is None
    labels = [b["label"] for b in casedb("backups", "--json").json["backups"]]
    assert label in labels
    assert len(labels) == 2, "the new database has no backup of its own"


def test_reset_is_refused_on_a_database_not_marked_development(casedb: "Casedb") -> None:
    assert casedb("up").code == 0
    assert casedb("mark", "staging").code == 0

    refused = casedb("reset", "--confirm", "case_management")

    assert refused.code == 7
    assert "marked staging" in refused.err.replace("is staging", "marked staging")
    assert casedb.server.status().running


def test_what_a_new_migration_throws_away_is_backed_up_first(
    casedb: "Casedb", monkeypatch: pytest.MonkeyPatch
) -> None:
    assert casedb("up").code == 0
    before = len(casedb("backups", "--json").json["backups"])
    source = casedb.folder / "migrations"
    shutil.copytree(folder("migrations"), source)
    newest = sorted(f.stem for f in source.glob("*.sql") if ".rollback" not in f.name)[-1]
    (source / "0999-forget-leavers.sql").write_text(
        f"-- depends: {newest}\nSET LOCAL ROLE case_seed;\n"
        "DELETE FROM public.users WHERE NOT is_active;\n"
    )
    monkeypatch.setattr(bringup, "folder", lambda _name: source)
    # What the drill of the new backup takes for the newest migration, and so for the matrix's.
    monkeypatch.setattr(probes, "folder", lambda _name: source)
    said: list[object] = []

    settings = read_settings(options={}, environment=casedb.environ(), folder=casedb.folder)
    up = bringup.BringUp(settings, said.append)
    up.run()

    assert "1 applied" in [step.result for step in up.steps]
    assert len(casedb("backups", "--json").json["backups"]) == before + 2
