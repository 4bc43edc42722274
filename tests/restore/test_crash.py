"""The server dies in the middle of a restore: when it is back, all is there, and again works."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import sql

from backups.dump import dump
from backups.stores import LocalStore
from backups.undo import plan_undo, undo_restore
from casedb import cluster as server_cluster
from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ToolFailedError
from casedb.marks import Mark, set_mark
from casedb.roles import apply_roles
from casedb.seed import seed_demo
from casedb.sqlfiles import folder
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools
from casedb.unprivileged import launcher
from tests.restore.commands import run_words
from tests.restore.conftest import Night
from tests.restore.stopping import (
    FIRST_NAME,
    SECOND_NAME,
    again,
    identity,
    running,
    stopped_at,
    unfinished,
    wait_until,
    words,
)

NAME = "case_management"


@dataclass(frozen=True)
class Mortal:
    """A server of its own, which can be killed."""

    night: Night
    data_dir: Path

    def die(self) -> None:
        # As the kernel ends it: no checkpoint, no goodbye; the next start recovers from the WAL.
        server_cluster.stop(self.data_dir, how=signal.SIGQUIT)

    def lose_its_postmaster(self) -> None:
        # As the kernel does that is out of memory: its sessions find out by themselves, and end.
        server_cluster.stop(self.data_dir, how=signal.SIGKILL)

    def rise(self) -> None:
        run_as = launcher()
        home = self.data_dir.parent
        usable = run_as.reachable_tools(self.night.tools, home)
        deadline = time.monotonic() + 60
        while True:
            try:
                server_cluster.start(usable, self.data_dir, log=home / "log", launcher=run_as)
                return
            except ToolFailedError as error:
                # A session of the postmaster before has not ended yet; systemd tries again, too.
                if "shared memory" not in str(error.detail) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


@pytest.fixture(scope="module")
def mortal(tools: PostgresTools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    with throwaway_cluster(tools) as admin:
        live = filled(admin)
        store = LocalStore(tmp_path_factory.mktemp("crash") / "store")
        manifest = dump(live.replace(user="case_backup"), store, tools=tools)
        with connect(admin, purpose="test") as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row
        yield Mortal(Night(live, admin, store, manifest, tools), Path(row[0]))


def filled(admin: Conninfo) -> Conninfo:
    live = admin.replace(dbname=NAME)
    with connect(admin, purpose="test") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
        set_mark(connection, NAME, Mark.DEVELOPMENT)
    apply_roles(live)
    migrations.apply(live.replace(user="case_migrator"), source=folder("migrations"))
    seed_demo(live.replace(user="case_seed"))
    return live


@pytest.mark.parametrize("place", ["restoring", "comparing the tables", FIRST_NAME, SECOND_NAME])
def test_the_server_dies(mortal: Mortal, tmp_path: Path, place: str) -> None:
    night = mortal.night
    night.write_case(f"acknowledged before it died, {place}")
    before, cases = identity(night), night.ask("SELECT count(*) FROM cases")
    with stopped_at(night, tmp_path, place) as process:
        mortal.die()
        (tmp_path / "marker").unlink(missing_ok=True)
        code = process.wait(timeout=120)
    mortal.rise()

    said = (tmp_path / "output").read_text()
    assert code in (4, 5), said
    assert "still there" in said
    assert identity(night) == before
    assert night.ask("SELECT count(*) FROM cases") == cases
    left = unfinished(night)
    assert len(left) <= 1
    for name in left:
        assert name in said
    night.write_case("goes on")

    again(night, tmp_path)

    assert identity(night) != before
    assert unfinished(night) == []
    undo_restore(night.admin, plan_undo(night.admin, night.name), confirmed=True)


@pytest.mark.parametrize("place", ["restoring", FIRST_NAME, SECOND_NAME])
def test_the_postmaster_is_killed_while_the_live_database_is_frozen(
    mortal: Mortal, tmp_path: Path, place: str
) -> None:
    night = mortal.night
    before, cases = identity(night), night.ask("SELECT count(*) FROM cases")
    with stopped_at(night, tmp_path, place, "--freeze") as process:
        mortal.lose_its_postmaster()
        (tmp_path / "marker").unlink(missing_ok=True)
        code = process.wait(timeout=120)
    mortal.rise()

    said = (tmp_path / "output").read_text()
    assert code in (4, 5), said
    assert "still read-only" in said
    assert identity(night) == before
    assert night.ask("SELECT count(*) FROM cases") == cases
    with pytest.raises(Exception, match="read-only"):
        night.write_case("too late")
    left = unfinished(night)
    assert all(name in said for name in left)

    said = again(night, tmp_path)

    assert "is not any more" in said
    assert identity(night) != before
    assert unfinished(night) == []
    night.write_case("into the restored one")
    undo_restore(night.admin, plan_undo(night.admin, night.name), confirmed=True)
    night.write_case("and into the old one")


def test_the_server_dies_behind_the_swap_and_the_same_command_changes_nothing(
    mortal: Mortal, tmp_path: Path
) -> None:
    night = mortal.night
    before = identity(night)
    with running(night, tmp_path, "backups.swap:_rename") as process:
        wait_until((tmp_path / "marker").exists, process)
        mortal.die()
        (tmp_path / "marker").unlink()
        process.wait(timeout=120)
    mortal.rise()
    restored = identity(night)
    assert restored != before
    night.write_case("by a user, into the restored one")

    code, said = run_words(night, tmp_path, *words(night))

    assert code == 7, said
    assert f'"{night.name}" is {night.label} already' in said
    assert identity(night) == restored
    assert night.ask("SELECT count(*) FROM cases") == 2
    undo_restore(night.admin, plan_undo(night.admin, night.name), confirmed=True)
