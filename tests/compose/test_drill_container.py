"""A drill whose cluster runs in a container, on a host with PostgreSQL's client programs alone."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg import sql

from backups.drill import drill
from backups.dump import dump
from backups.stores import LocalStore
from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ConfigurationError
from casedb.marks import Mark, set_mark
from casedb.roles import apply_roles
from casedb.seed import seed_demo
from casedb.sqlfiles import folder
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, tools_of

pytestmark = pytest.mark.compose

DATABASE = "case_management"
CLIENTS = ("psql", "pg_dump", "pg_dumpall", "pg_restore")


@dataclass(frozen=True)
class Host:
    """A host that drills: a store with a backup, client programs, and Docker."""

    home: Path
    image: str
    label: str

    def start(self, *words: str, **more: str) -> "subprocess.Popen[str]":
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        docker = {k: v for k, v in os.environ.items() if k.startswith("DOCKER_")}
        ours = {"PG_BIN": str(self.home / "bin"), "CASEDB_DRILL_IMAGE": self.image}
        argv = ["drill", self.label, "--store", str(self.home / "store"), *words]
        return subprocess.Popen(
            [sys.executable, "-m", "casedb", *argv],
            cwd=self.home,
            env={**kept, **docker, **ours, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str, **more: str) -> tuple[int, str, str]:
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=300)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def containers(self) -> list[str]:
        """The running ones that a drill of this host made."""
        what = '{{.ID}} {{.Label "casedb.throwaway"}}'
        argv = ["docker", "ps", "--all", "--filter=label=casedb.throwaway", f"--format={what}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if str(self.home) in line]


@pytest.fixture(scope="module")
def host(
    images: dict[str, str], client_programs: None, tmp_path_factory: pytest.TempPathFactory
) -> Host:
    home = tmp_path_factory.mktemp("drills")
    tools = tools_of(15)
    (home / "bin").mkdir()
    for name in CLIENTS:
        (home / "bin" / name).symlink_to(tools[name])
    (home / "casedb.toml").touch()
    with throwaway_cluster(tools) as admin:
        manifest = dump(
            filled(admin).replace(user="case_backup"), LocalStore(home / "store"), tools=tools
        )
    return Host(home, images.get("POSTGRES_IMAGE", "postgres:{major}-alpine"), manifest.label)


def filled(admin: Conninfo) -> Conninfo:
    target = admin.replace(dbname=DATABASE)
    with connect(admin, purpose="test") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        set_mark(connection, DATABASE, Mark.DEVELOPMENT)
    apply_roles(target)
    migrations.apply(target.replace(user="case_migrator"), source=folder("migrations"))
    seed_demo(target.replace(user="case_seed"))
    return target


def test_a_backup_is_drilled_where_there_is_no_server_of_its_version(host: Host) -> None:
    code, _, why = host("--scratch", str(host.home))
    assert code == 10
    assert "and no server" in why
    assert "--container" in why

    code, out, err = host("--container", "--scratch", str(host.home), "--json")

    assert code == 0, err
    report = json.loads(out)
    assert report["outcome"] == "passed"
    assert report["server_version"].startswith("15.")
    assert report["tables"] > 0
    assert host.containers() == []
    assert list(host.home.glob("casedb-container-*")) == []


def test_a_killed_drill_leaves_a_container_that_the_next_one_removes(host: Host) -> None:
    words = ("--container", "--scratch", str(host.home))
    process = host.start(*words)
    deadline = time.monotonic() + 120
    while not host.containers():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    (left,) = host.containers()
    # Killed before it had a container, or after somebody had removed that.
    (host.home / "casedb-container-alone").mkdir()
    (host.home / "casedb-container-alone" / "alive").touch()

    code, _, err = host(*words)

    assert code == 0, err
    assert left not in host.containers()
    assert host.containers() == []
    assert list(host.home.glob("casedb-container-*")) == []


def test_without_docker_it_says_so_and_what_to_do(host: Host) -> None:
    code, _, err = host("--container", DOCKER_HOST="unix:///nowhere/docker.sock")

    assert code == 3
    assert "Docker does not answer" in err
    assert "HINT:" in err


def test_an_image_that_nobody_has_is_named(host: Host) -> None:
    code, _, err = host("--container", CASEDB_DRILL_IMAGE="127.0.0.1:9/nothing:{major}")

    assert code == 3
    assert "no image 127.0.0.1:9/nothing:15" in err
    assert "drill_image" in err


def test_an_image_of_another_version_is_refused(
    host: Host, database: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    if tools.major == 15:
        pytest.skip("the stand-in is of this version")
    store = LocalStore(tmp_path)
    label = dump(database.replace(user="case_backup"), store, tools=tools).label

    with pytest.raises(ConfigurationError, match=r"is of PostgreSQL 15\."):
        drill(store, label, tools=tools, image=host.image.replace("{major}", "15"))


def test_an_image_that_is_no_postgresql_shows_what_it_wrote(host: Host) -> None:
    if not host.image.endswith("stand-in"):
        pytest.skip("needs an image that is built here")

    code, _, err = host("--container", CASEDB_DRILL_IMAGE="casedb-compose-pgadmin:stand-in")

    assert code in (5, 10), err
    assert "the container's server did not start" in err or "Docker reported an error" in err
