"""The whole night on a throwaway server: data lost under load, plan, restore, swap, undo.

    make rehearse-restore                    16 busy sessions, 2,000 cases
    make rehearse-restore ARGS="--cases 100000"

Ends with exit code 1 if an acknowledged row is missing afterwards, or a swap took over 2 seconds.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID

from psycopg import sql

from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.marks import Mark, set_mark
from casedb.roles import apply_roles
from casedb.seed import seed_demo
from casedb.seed_volume import seed_volume
from casedb.sqlfiles import folder
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools, tools_in, wheel_tools
from tests.restore.writers import Writers, writing

DATABASE = "case_management"
SWAP_AT_MOST_S = 2.0
# As on a real server: what is acknowledged is on the disk.
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


class Stage:
    """The server, and the command as on-call runs it."""

    def __init__(self, admin: Conninfo, tools: PostgresTools, home: Path) -> None:
        self.admin = admin
        self.live = admin.replace(dbname=DATABASE)
        self._tools = tools
        self._home = home
        (home / "casedb.toml").write_text(f'store = "{home / "store"}"\n')

    def run(self, *words: str) -> str:
        """Run one command, print what it prints, and return that."""
        print(f"\n$ casedb {' '.join(words)}", flush=True)
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        conninfo = self.admin.replace(dbname=None, user=None).dsn
        done = subprocess.run(
            [sys.executable, "-m", "casedb", *words, "--conninfo", conninfo],
            cwd=self._home,
            env={**kept, "PG_BIN": str(self._tools.bindir)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        print(done.stdout, end="", flush=True)
        if done.returncode:
            raise SystemExit(f"exit code {done.returncode}")
        return done.stdout

    def ask(self, query: str, dbname: str = DATABASE) -> object:
        """Return one value."""
        with connect(self.admin.replace(dbname=dbname), purpose="rehearsal") as connection:
            row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None

    def cases(self) -> dict[str, set[UUID]]:
        """Return the cases in the live database and in each kept one."""
        with connect(self.admin, purpose="rehearsal") as connection:
            names = [
                name
                for (name,) in connection.execute(
                    "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (DATABASE,)
                )
            ]
        found = {}
        for name in names:
            with connect(self.admin.replace(dbname=name), purpose="rehearsal") as connection:
                rows = connection.execute("SELECT id FROM public.cases").fetchall()
            found[name] = {row[0] for row in rows}
        return found


def prepare(stage: Stage, cases: int) -> UUID:
    """Make the live database; return the user in whose name is written."""
    with connect(stage.admin, purpose="rehearsal") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        set_mark(connection, DATABASE, Mark.DEVELOPMENT)
    apply_roles(stage.live)
    migrations.apply(stage.live.replace(user="case_migrator"), source=folder("migrations"))
    seed_demo(stage.live.replace(user="case_seed"))
    seed_volume(stage.live.replace(user="case_seed"), cases=cases, seed=1)
    with connect(stage.live, purpose="rehearsal") as connection:
        user = scalar(connection, "SELECT id FROM users WHERE email = 'clerk@example.com'")
    assert isinstance(user, UUID)
    return user


def lose_data(stage: Stage) -> int:
    """Delete every document of the cases, as somebody with too many rights might."""
    with connect(stage.live, purpose="rehearsal") as connection, connection.transaction():
        user = scalar(connection, "SELECT id FROM users WHERE email = 'chair@example.com'")
        connection.execute("SELECT set_config('app.user_id', %s, true)", (str(user),))
        return connection.execute("DELETE FROM public.case_documents").rowcount


def night(stage: Stage, cases: int, sessions: int) -> bool:
    """Play it; return whether all was well."""
    user = prepare(stage, cases)
    stage.run("dump")
    stage.run("drill", "latest")
    with writing(stage.live, user, sessions) as writers:
        writers.wait_for(100)
        stage.run("dump")
        documents = stage.ask("SELECT count(*) FROM public.case_documents")
        writers.wait_for(100)
        print(f"\n*** somebody deletes {lose_data(stage)} documents; {sessions} sessions write on")
        stage.run("restore", "latest", "--plan")
        swapped = timed(writers, lambda: stage.run("restore", "latest", "--confirm", DATABASE))
        back = stage.ask("SELECT count(*) FROM public.case_documents")
        print(f"\n*** {back} of {documents} documents are back")
        writers.wait_for(100)
        undone = timed(writers, lambda: stage.run("undo-restore", "--confirm", DATABASE))
        writers.wait_for(100)
    stage.run("drop-kept")
    found = stage.cases()
    missing = writers.ids() - set().union(*found.values())
    print("\n*** the night's report")
    for name, ids in sorted(found.items()):
        print(f"  {len(ids & writers.ids()):>6} acknowledged cases are in {name}")
    print(f"  {len(writers.ids()):>6} commits were acknowledged to {sessions} sessions")
    print(f"  {len(missing):>6} of them are missing")
    print(f"  {swapped:6.2f} s at most without an acknowledged commit around the restore's swap")
    print(f"  {undone:6.2f} s at most around the undo's")
    print(f"  {writers.lost_connections:>6} connections were ended and made again")
    for surprise in sorted(set(writers.surprises)):
        print(f"  unexpected: {surprise}")
    well = not missing and not writers.surprises and back == documents
    return well and max(swapped, undone) <= SWAP_AT_MOST_S


def timed(writers: Writers, action: object) -> float:
    """Do `action`; return the longest time in it in which no commit was acknowledged."""
    began = time.monotonic()
    assert callable(action)
    action()
    writers.wait_for(1)
    return writers.longest_silence_s(began)


def main() -> None:
    """Play the night, and leave with 0 if all was well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=2_000)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--pg-bin", type=Path)
    words = parser.parse_args()
    tools = tools_in(words.pg_bin) if words.pg_bin else wheel_tools(16)
    with (
        tempfile.TemporaryDirectory() as home,
        throwaway_cluster(tools, settings=_DURABLE) as admin,
    ):
        well = night(Stage(admin, tools, Path(home)), words.cases, words.sessions)
    print("*** well" if well else "*** NOT WELL")
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
