"""A run that dies leaves nothing behind, and runs at once do not get in each other's way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from psycopg import sql

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import LockedError
from casedb.locks import maintenance_lock
from casedb.roles import apply_roles
from casedb.sqlfiles import folder

# As the front door does it: SIGTERM becomes an exception, and cleanup runs.
APPLY = """
import signal, sys
from pathlib import Path
from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.errors import TerminatedError

def terminate(*_):
    raise TerminatedError

if sys.argv[1] == "polite":
    signal.signal(signal.SIGTERM, terminate)
for id_ in migrations.apply(Conninfo({}), source=Path(sys.argv[2]), wait_s=float(sys.argv[3])):
    print(id_)
"""
SLOW = """
CREATE TABLE public.trees (id int);
SELECT pg_sleep(60);
"""
ROOT = folder("migrations").parent


@pytest.fixture
def migrator(empty_database: Conninfo) -> Conninfo:
    """case_migrator on an empty database with the roles."""
    apply_roles(empty_database)
    return empty_database.replace(user="case_migrator")


def start(target: Conninfo, source: Path, *, manners: str = "polite") -> subprocess.Popen[str]:
    """Start a process of its own that applies `source` and prints what it applied."""
    return subprocess.Popen(
        [sys.executable, "-c", APPLY, manners, str(source), "30"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **target.libpq_env()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_it_sleeps(admin: Conninfo) -> None:
    """Return once the table is made, and the mark is not."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event = 'PgSleep' AND datname = current_database()"
    )
    with connect(admin, purpose="test") as connection:
        deadline = time.monotonic() + 120
        while not scalar(connection, query):
            assert time.monotonic() < deadline, "the migration never began to sleep"
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("manners", "number"),
    [("polite", signal.SIGTERM), ("rude", signal.SIGTERM), ("polite", signal.SIGKILL)],
    ids=["SIGTERM-handled", "SIGTERM", "SIGKILL"],
)
def test_killed_between_the_table_and_the_mark_leaves_neither(
    migrator: Conninfo, tmp_path: Path, manners: str, number: signal.Signals
) -> None:
    path = tmp_path / "0001-create-trees.sql"
    path.write_text(SLOW)
    admin = migrator.replace(user="postgres")
    process = start(migrator, tmp_path, manners=manners)
    wait_until_it_sleeps(admin)

    process.send_signal(number)
    process.communicate(timeout=120)

    assert process.returncode != 0
    # Nobody has to break a lock, nor to wait for the sleeping statement's end.
    path.write_text(SLOW.replace("60", "0"))
    assert migrations.apply(migrator, source=tmp_path, wait_s=30) == ["0001-create-trees"]
    assert migrations.status(admin, source=tmp_path).problems == ()
    with connect(admin, purpose="test") as connection:
        assert scalar(connection, "SELECT count(*) FROM ops._yoyo_log") == 1
        assert scalar(connection, "SELECT count(*) FROM ops.casedb_migration") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("what", ["_yoyo_log", "_yoyo_migration", "casedb_migration"])
def test_killed_while_it_is_being_recorded_leaves_no_table(
    migrator: Conninfo, tmp_path: Path, what: str, number: signal.Signals
) -> None:
    # The statements are through, and the record is not: where yoyo has committed already.
    migrations.apply(migrator, source=tmp_path)
    admin = migrator.replace(user="postgres")
    (tmp_path / "0001-create-trees.sql").write_text(SLOW.replace("60", "0"))
    with connect(admin, purpose="test") as connection:
        connection.execute(
            "CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM pg_sleep(60); RETURN new; END'"
        )
        connection.execute(
            sql.SQL(
                "CREATE TRIGGER dawdle BEFORE INSERT ON ops.{} EXECUTE FUNCTION public.dawdle()"
            ).format(sql.Identifier(what))
        )
    process = start(migrator, tmp_path)
    wait_until_it_sleeps(admin)

    process.send_signal(number)
    process.communicate(timeout=120)

    with connect(admin, purpose="test") as connection, maintenance_lock(connection, wait_s=10):
        assert scalar(connection, "SELECT to_regclass('public.trees')") is None
        connection.execute("DROP FUNCTION public.dawdle() CASCADE")
    assert migrations.apply(migrator, source=tmp_path, wait_s=10) == ["0001-create-trees"]
    with connect(admin, purpose="test") as connection:
        assert scalar(connection, "SELECT count(*) FROM ops._yoyo_log") == 1


def test_a_server_process_that_dies_leaves_neither_table_nor_mark(
    migrator: Conninfo, tmp_path: Path
) -> None:
    path = tmp_path / "0001-create-trees.sql"
    path.write_text(SLOW)
    admin = migrator.replace(user="postgres")
    process = start(migrator, tmp_path)
    wait_until_it_sleeps(admin)

    with connect(admin, purpose="test") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            " AND datname = current_database()"
        )
    _, err = process.communicate(timeout=120)

    assert "the connection to the server was lost" in err
    assert migrations.status(admin, source=tmp_path).applied == ()


def test_four_at_once_on_a_fresh_database_apply_each_migration_once(migrator: Conninfo) -> None:
    source = folder("migrations")
    processes = [start(migrator, source) for _ in range(4)]

    results = [process.communicate(timeout=120) for process in processes]

    assert [err for _, err in results] == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    applied = sorted(line for out, _ in results for line in out.splitlines())
    ids = [path.stem for path in source.glob("*.sql") if "rollback" not in path.name]
    assert applied == sorted(ids)


def test_one_that_does_not_wait_is_told_who_is_at_work(migrator: Conninfo, tmp_path: Path) -> None:
    (tmp_path / "0001-create-trees.sql").write_text(SLOW)
    process = start(migrator, tmp_path)
    wait_until_it_sleeps(migrator.replace(user="postgres"))

    with pytest.raises(LockedError) as caught:
        migrations.apply(migrator, source=tmp_path)

    process.kill()
    process.communicate()
    assert "casedb migrate apply" in (caught.value.detail or "")
    assert "case_migrator" in (caught.value.detail or "")
