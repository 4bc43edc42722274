"""A server that asks for passwords, and PgBouncer before it: configured as we configure it."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.databases import create_marked
from casedb.marks import Mark
from casedb.roles import LOGIN_ROLES, POOLER, apply_roles, set_passwords
from casedb.server import SUPERUSER, EmbeddedServer, free_port
from casedb.sqlfiles import folder
from casedb.tools import PostgresTools
from casedb.unprivileged import launcher
from deploy.pooler import Sizes, ini, settings

DATABASE = "case_management"
# So few that every client gets a session which another one has just left.
SIZES = Sizes(pool=3, reserve=1, clients=100)


@dataclass(frozen=True)
class Server:
    """The server itself, and its passwords by role."""

    embedded: EmbeddedServer

    def __call__(self, user: str) -> Conninfo:
        return self.embedded.conninfo(dbname=DATABASE, user=user)


@pytest.fixture(scope="session")
def pgbouncer() -> str:
    """The program."""
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip("there is no pgbouncer here (Debian: apt install pgbouncer)")
    return found


@pytest.fixture(scope="session")
def version(pgbouncer: str) -> tuple[int, int]:
    printed = subprocess.run([pgbouncer, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"PgBouncer (\d+)\.(\d+)", printed.stdout)
    assert found
    return int(found[1]), int(found[2])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, tools: PostgresTools) -> Iterator[Server]:
    """A server with roles, passwords and all migrations; SCRAM for everybody."""
    embedded = EmbeddedServer(tmp_path_factory.mktemp("pooler") / ".casedb")
    embedded.start(tools, on_step=lambda _step: None)
    try:
        ready = Server(embedded)
        admin = ready(SUPERUSER)
        create_marked(admin.replace(dbname="postgres"), DATABASE, Mark.DEVELOPMENT)
        apply_roles(admin)
        set_passwords(admin, embedded.add_passwords(LOGIN_ROLES))
        migrations.apply(ready("case_migrator"), source=folder("migrations"))
        yield ready
    finally:
        embedded.stop()


Pool = Callable[..., AbstractContextManager[Conninfo]]


@pytest.fixture
def pool(server: Server, pgbouncer: str, version: tuple[int, int], tmp_path: Path) -> Pool:
    """Start PgBouncer with our settings and those given; yields case_app's way in through it."""

    @contextmanager
    def start(**changed: str) -> Iterator[Conninfo]:
        direct = server("case_app")
        userlist = tmp_path / "userlist.txt"
        userlist.touch(mode=0o600)
        userlist.write_text(f'"{POOLER}" "{server.embedded.passwords()[POOLER]}"\n')
        port = free_port()
        asked: Mapping[str, str] = {
            **settings(SIZES, version=version, auth_file=str(userlist)),
            "listen_port": str(port),
            "unix_socket_dir": "",
            **changed,
        }
        # Over TCP: the server's socket lies in a folder that it may not be able to enter.
        words = f"host=127.0.0.1 port={direct.get('port')} dbname={DATABASE}"
        conf = tmp_path / "pgbouncer.ini"
        conf.write_text(ini({DATABASE: words}, asked))
        log = tmp_path / "pgbouncer.log"
        with log.open("w") as file, subprocess.Popen(
            # It refuses to run as root, as PostgreSQL does.
            [*launcher().prefix, pgbouncer, str(conf)], stdout=file, stderr=file
        ) as process:  # fmt: skip
            through = direct.replace(host="127.0.0.1", port=port)
            try:
                _wait(through, process, log)
                yield through
            finally:
                process.terminate()

    return start


def _wait(through: Conninfo, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            with connect(through, purpose="test"):
                return
        except Exception:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PgBouncer did not start:\n{log.read_text()}")
        time.sleep(0.1)


@pytest.fixture(scope="session")
def staff(server: Server) -> list[tuple[str, str]]:
    """Users of each role, by id and database role; each clerk has created a case."""
    made = []
    with psycopg.connect(server(SUPERUSER).dsn) as connection:
        for number in range(12):
            role = ("CLERK", "CASEWORKER", "CHAIR")[number % 3]
            row = connection.execute(
                "INSERT INTO public.users (email, password, role, first_name, last_name)"
                " VALUES (%s, %s, %s, 'a', 'b') RETURNING id::text",
                (f"user{number}@example.com", "$2b$10$" + "a" * 53, role),
            ).fetchone()
            assert row
            made.append((row[0], f"case_{role.lower()}"))
        for user in [user for user, role in made if role == "case_clerk"]:
            connection.execute(
                "INSERT INTO public.cases (title, description, created_by) VALUES ('t', '', %s)",
                (user,),
            )
    return made
