"""The composed server is one like any other: whole, closed, backed up, restored."""

import json
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from casedb.conninfo import Conninfo
from deploy.tuning import phase0

if TYPE_CHECKING:
    from tests.compose.conftest import Result, Site

pytestmark = pytest.mark.compose


def query(site: "Site", sql: str, user: str = "postgres", **words: str) -> Any:
    target = Conninfo.parse(site.conninfo).replace(dbname="case_management", user=user, **words)
    with psycopg.connect(target.dsn, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def execute(site: "Site", sql: str) -> None:
    target = Conninfo.parse(site.conninfo).replace(dbname="case_management", user="postgres")
    with psycopg.connect(target.dsn, autocommit=True) as connection:
        connection.execute(sql.encode())


def labels(site: "Site") -> list[str]:
    found = site("backups", "--json").json["backups"]
    return [backup["label"] for backup in found]


def results(done: "Result") -> dict[str, str]:
    return {step["name"]: step["result"] for step in done.json["steps"]}


def test_a_second_up_changes_nothing(running: "Site") -> None:
    before = [running.container(s) for s in ("postgres", "pgadmin", "pgbouncer")]

    again = running("compose", "up", "--pooler", "--json")

    assert again.code == 0, again.err
    assert [running.container(s) for s in ("postgres", "pgadmin", "pgbouncer")] == before
    found = results(again)
    assert found["roles"] == "in place"
    assert found["migrations"] == "none pending"
    assert found["seed"].startswith("in place")
    assert {s["health"] for s in again.json["services"]} == {"healthy"}


def test_status_and_the_commands_of_the_day_work_against_it(running: "Site") -> None:
    told = running("compose", "up", "--pooler")
    assert f"export CASEDB_CONNINFO='{running.conninfo}'" in told.out

    for words in (
        ["migrate", "status"],
        ["audit", "verify"],
        ["check", "schema"],
        ["query", "my_open_cases", "--as", "clerk@example.com"],
    ):
        done = running(*words, "--conninfo", running.conninfo)
        assert done.code == 0, (words, done.err)
    listed = running("compose", "status")
    assert listed.code == 0
    assert f"127.0.0.1:{running.env['POSTGRES_PORT']}" in listed.out


def test_the_values_of_the_plan_are_in_force(running: "Site") -> None:
    for setting in phase0().settings:
        assert query(running, f"SHOW {setting.name}") == [(setting.value,)]
    assert query(running, "SHOW data_checksums") == [("on",)]
    assert query(running, "SHOW TimeZone") == [("UTC",)]


def test_the_database_is_marked_and_the_application_is_no_superuser(running: "Site") -> None:
    mark = "SELECT setconfig::text FROM pg_db_role_setting WHERE setrole = 0"
    assert query(running, mark) == [("{casedb.mark=development}",)]
    app = query(running, "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = 'case_app'")
    assert app == [(False, False)]
    for role in ("case_app", "case_migrator", "case_seed", "case_backup", "case_monitor"):
        assert query(running, "SELECT current_user::text", user=role) == [(role,)]


@pytest.mark.parametrize("user", ["postgres", "case_app"])
def test_nobody_gets_in_without_the_password(running: "Site", user: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        query(running, "SELECT 1", user=user, password="wrong", passfile="/dev/null")
    # Nor inside the container, where images trust everybody by default.
    argv = ["compose", "exec", "-T", "postgres", "psql", "-w", "-U", user, "-d", "postgres"]
    assert "no password supplied" in running.docker(*argv, "-c", "SELECT 1", check=False)


def test_no_password_is_to_be_seen(running: "Site") -> None:
    names = ("postgres", "pgadmin", "pgbouncer")
    containers = [running.container(service) for service in names]
    shown = running.docker("inspect", *containers)
    shown += running.docker("compose", "--profile=pooler", "config")
    shown += running.docker("compose", "--profile=pooler", "logs")
    for container in containers:
        shown += running.docker("exec", container, "env") + running.docker("top", container)

    passwords = [v for k, v in running.env.items() if k.endswith("_PASSWORD")]
    assert len(passwords) == 9
    assert [p for p in passwords if p in shown] == []
    assert (running.folder / ".casedb" / "compose.pgpass").stat().st_mode & 0o777 == 0o600


def test_pgadmin_knows_the_server_and_needs_no_password_for_it(running: "Site") -> None:
    port = running.env["PGADMIN_PORT"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/cases", timeout=30) as answer:
        assert answer.read().decode().strip() == "1"


def test_the_application_gets_in_through_the_pooler(running: "Site") -> None:
    port = running.env["POOLER_PORT"]
    for _ in range(3):
        found = query(running, "SELECT current_user::text", user="case_app", port=port)
        assert found == [("case_app",)]


def test_ports_are_open_on_this_machine_only(running: "Site") -> None:
    found = running("compose", "status", "--json").json["services"]

    assert len(found) == 3
    assert all(service["address"].startswith("127.0.0.1:") for service in found)


@pytest.mark.usefixtures("client_programs")
def test_it_is_dumped_drilled_and_restored_like_any_server(running: "Site") -> None:
    for words in (["dump"], ["drill", "latest"], ["restore", "latest", "--into", "copy"]):
        done = running(*words, "--conninfo", running.conninfo)
        assert done.code == 0, (words, done.err)

    target = Conninfo.parse(running.conninfo).replace(dbname="copy", user="postgres")
    with psycopg.connect(target.dsn, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM public.cases").fetchall() == [(1,)]
    execute(running, "DROP DATABASE copy")


@pytest.mark.usefixtures("client_programs")
def test_killed_in_the_middle_of_a_dump_it_leaves_no_backup_and_the_next_one_works(
    running: "Site",
) -> None:
    execute(
        running,
        "CREATE TABLE ballast AS SELECT n, repeat(md5(n::text), 20) AS filler"
        " FROM generate_series(1, 400000) AS n",
    )
    before = labels(running)
    dump = subprocess.Popen(
        [sys.executable, "-m", "casedb", "dump", "--conninfo", running.conninfo],
        cwd=running.folder, env=running.environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    store = running.folder / ".casedb" / "backups"
    deadline = time.monotonic() + 120
    while not any(f.stat().st_size for f in store.rglob(".partial-*/*") if f.is_file()):
        assert dump.poll() is None, dump.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)

    running.docker("kill", running.container("postgres"))

    _out, err = dump.communicate(timeout=120)
    assert dump.returncode in (4, 5), err
    assert "ERROR:" in err
    assert "Traceback" not in err
    assert labels(running) == before
    # A container that was killed by hand stays down: `up` is what brings it back.
    again = running("compose", "up", "--pooler")
    assert again.code == 0, again.err
    execute(running, "DROP TABLE ballast")
    assert running("dump", "--conninfo", running.conninfo).code == 0
    assert running("verify", "latest").code == 0


def test_the_file_is_right_with_the_real_images(running: "Site") -> None:
    real = {k: v for k, v in running.environment.items() if k not in running.images}
    printed = subprocess.run(
        ["docker", "compose", "--profile=pooler", "config", "--format=json"],
        cwd=running.folder, env=real, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    services = json.loads(printed)["services"]

    assert set(services) == {"postgres", "pgadmin", "pgbouncer"}
    for service in services.values():
        name, _, tag = service["image"].rpartition(":")
        assert name
        assert tag not in ("", "latest")
        assert "container_name" not in service
        assert service["healthcheck"]["test"]
        assert int(service["mem_limit"]) > 0
        assert [p["host_ip"] for p in service["ports"]] == ["127.0.0.1"]
