"""Where a run measures: one database of invented cases, made when first asked for, shared by all.

The server is durable and has the six settings of the customer's plan, on which its own scripts
would run. Whoever changes data does so in a clone.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from backups.dump import dump
from backups.stores import LocalStore
from benchmarks.harness import Meter, Tell
from casedb import cluster, migrations
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.databases import create_marked
from casedb.errors import ConfigurationError
from casedb.marks import Mark, set_mark
from casedb.roles import LOGIN_ROLES, apply_roles, set_passwords
from casedb.seed_volume import seed_volume
from casedb.server import SUPERUSER, EmbeddedServer
from casedb.sqlfiles import folder
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools
from casedb.unprivileged import launcher
from deploy.tuning import phase0

DATABASE = "case_management"
SCALES: Mapping[str, int] = {"small": 100_000, "medium": 500_000, "large": 1_000_000}
"""Cases at each scale; the seed makes 7.27 log entries a case: 727,000 at small."""
SEED = 1
EMPTY = "bench_empty"
# What makes a server durable, which a throwaway one is not; and what lets it be copied whole.
_DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "max_wal_size": "1GB",
    "autovacuum": "on",
}
_COPIES = "local replication all scram-sha-256\n"


class NotMeasured(Exception):  # noqa: N818 - no failure: the reason why there is no figure.
    """The bench cannot be run here; says why, in words for people."""


@dataclass(frozen=True)
class Filled:
    """The database of invented cases."""

    admin: Conninfo
    """The superuser, in the database postgres."""
    target: Conninfo
    """The superuser, in the database of cases."""
    cases: int
    logs: int


class Site:
    """What one run of the benches shares. Use it as a context."""

    def __init__(
        self,
        tools: PostgresTools,
        *,
        cases: int,
        rounds: int,
        conninfo: Conninfo | None = None,
        keep: Path | None = None,
        tell: Tell = lambda _words: None,
    ) -> None:
        self.tools = tools
        self.cases = cases
        self.rounds = rounds
        self.tell = tell
        self.keep = keep
        self._given = conninfo
        self._stack = ExitStack()
        self._asked = False
        self._has_empty = False
        self._filled: Filled | None = None
        self._backup: tuple[LocalStore, str] | None = None

    def __enter__(self) -> "Site":
        """Make a folder for what is written meanwhile."""
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        # A server that runs as another user reads and writes below it.
        self.folder.chmod(0o711)
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop the server and remove everything but what is kept."""
        self._stack.close()

    @property
    def filled(self) -> Filled:
        """The database, made now if it is not there; only read."""
        self._asked = True
        if self._filled is None:
            self._filled = self._found() if self._given else self._made()
        return self._filled

    def asked_for(self) -> Filled | None:
        """Return the database if anybody has asked for it since this was last called."""
        asked, self._asked = self._asked, False
        return self._filled if asked else None

    @property
    def own(self) -> Filled:
        """The same, on a server where databases may be made and settings changed.

        Raises:
            NotMeasured: the database was given, and is only read.
        """
        if self._given:
            raise NotMeasured("needs a server of its own: the database given is only read")
        return self.filled

    @property
    def backup(self) -> tuple[LocalStore, str]:
        """A dump of the database, taken when first asked for: its store and label."""
        if self._backup is None:
            store = LocalStore(self.folder / "store")
            self.tell("a backup for the benches to read")
            self._backup = store, dump(self.filled.target, store, tools=self.tools).label
        return self._backup

    def meter(self) -> Meter:
        """Return a meter that sees the server too."""
        return Meter(self.filled.admin)

    @contextmanager
    def database(self, name: str, *, template: str = "template0") -> Iterator[Conninfo]:
        """Yield the superuser's conninfo of a new database, removed afterwards.

        With the template DATABASE it is a clone of all cases, with EMPTY one of the schema.
        """
        admin = self.own.admin
        self.drop(name)
        with connect(admin, purpose="bench") as connection:
            if template == EMPTY:
                self._make_empty(admin)
            connection.execute(
                # Files are copied faster than pages are written into the WAL; the checkpoints that
                # this takes are paid for here.
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
            if template != "template0":
                # A clone has the tables, and not what belongs to the database itself.
                set_mark(connection, name, Mark.DEVELOPMENT)
                apply_roles(admin.replace(dbname=name))
        try:
            yield admin.replace(dbname=name)
        finally:
            self.drop(name)

    def drop(self, name: str, admin: Conninfo | None = None) -> None:
        """Remove a database, and let no checkpoint of it fall into somebody else's time.

        `admin` is the superuser of another server than the own.
        """
        with connect(admin or self.own.admin, purpose="bench") as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
            connection.execute("CHECKPOINT")

    @contextmanager
    def settings(self, values: Mapping[str, str]) -> Iterator[None]:
        """Restart the server with these settings, and afterwards as it was."""
        admin = self.own.admin
        self._alter_system(admin, values)
        try:
            yield
        finally:
            self._alter_system(admin, dict.fromkeys(values))

    def _alter_system(self, admin: Conninfo, values: Mapping[str, str | None]) -> None:
        if not values:
            return
        with connect(admin, purpose="bench") as connection:
            data_dir = Path(str(scalar(connection, "SHOW data_directory")))
            for name, value in values.items():
                change = sql.SQL("RESET {}") if value is None else sql.SQL("SET {} = {}")
                words = [sql.Identifier(name), *([] if value is None else [sql.Literal(value)])]
                connection.execute(sql.SQL("ALTER SYSTEM ") + change.format(*words))
        cluster.stop(data_dir)
        run_as = launcher()
        usable = run_as.reachable_tools(self.tools, data_dir.parent)
        cluster.start(usable, data_dir, log=data_dir.parent / "server.log", launcher=run_as)

    def _found(self) -> Filled:
        assert self._given
        target = self._given if self._given.dbname else self._given.replace(dbname=DATABASE)
        return self._counted(target.replace(dbname="postgres"), target)

    def _made(self) -> Filled:
        settings = {**phase0().values, **_DURABLE}
        admin, passwords = (
            self._kept(self.keep, settings)
            if self.keep
            else (self._stack.enter_context(throwaway_cluster(self.tools, settings=settings)), None)
        )
        fill(admin, cases=self.cases, tell=self.tell, before_migrations=passwords)
        return self._counted(admin, admin.replace(dbname=DATABASE))

    def _kept(
        self, home: Path, settings: Mapping[str, str]
    ) -> tuple[Conninfo, Callable[[Conninfo], None]]:
        server = EmbeddedServer(home)
        about = home / "bench.json"
        if home.exists() and any(home.iterdir()) and not about.exists():
            raise ConfigurationError(
                f"{home} is not a folder of `casedb bench`", hint="Name a new one, or an empty one."
            )
        known = json.loads(about.read_text()) if about.exists() else {"cases": self.cases}
        if known != {"cases": self.cases}:
            raise ConfigurationError(
                f"{home} keeps a database of {known['cases']:,} cases",
                hint="Name another folder, or the scale it was made with.",
            )
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        about.write_text(json.dumps(known))
        server.start(self.tools, on_step=self.tell)
        self._stack.callback(server.stop)
        admin = server.conninfo(dbname="postgres", user=SUPERUSER)
        self._admit_copies(admin)
        self._alter_system(admin, settings)
        return admin, lambda target: set_passwords(target, server.add_passwords(LOGIN_ROLES))

    @staticmethod
    def _admit_copies(admin: Conninfo) -> None:
        """Let the superuser copy the server as it lies; "all" databases leaves that out."""
        with connect(admin, purpose="bench") as connection:
            rules = Path(str(scalar(connection, "SHOW hba_file")))
            if _COPIES not in rules.read_text():
                rules.write_text(rules.read_text() + _COPIES)
            connection.execute("SELECT pg_reload_conf()")

    def _make_empty(self, admin: Conninfo) -> None:
        if self._has_empty:
            return
        # A server that was kept may have one of an older schema.
        create_marked(admin, EMPTY, Mark.DEVELOPMENT)
        target = admin.replace(dbname=EMPTY)
        apply_roles(target)
        migrations.apply(target.replace(user="case_migrator"), source=folder("migrations"))
        self._has_empty = True

    @staticmethod
    def _counted(admin: Conninfo, target: Conninfo) -> Filled:
        with connect(target, purpose="bench") as connection:
            cases = int(scalar(connection, "SELECT count(*) FROM public.cases"))
            logs = int(scalar(connection, "SELECT count(*) FROM public.case_logs"))
        return Filled(admin, target, cases, logs)


def fill(
    admin: Conninfo,
    *,
    cases: int,
    database: str = DATABASE,
    tell: Tell = lambda _words: None,
    before_migrations: Callable[[Conninfo], None] | None = None,
) -> None:
    """Make a database with so many invented cases; what a killed run left is carried on."""
    target = admin.replace(dbname=database)
    create_marked(admin, database, Mark.DEVELOPMENT)
    apply_roles(target)
    if before_migrations:
        before_migrations(target)
    migrations.apply(target.replace(user="case_migrator"), source=folder("migrations"))

    def told(done: int, total: int) -> None:
        if done % 50_000 == 0 or done == total:
            tell(f"filling {database}: {done:,} of {total:,} cases")

    found = seed_volume(target.replace(user="case_seed"), cases=cases, seed=SEED, on_block=told)
    if found.cases.created:
        with connect(target, purpose="bench") as connection:
            connection.execute("VACUUM (ANALYZE, FREEZE)")
            connection.execute("CHECKPOINT")
