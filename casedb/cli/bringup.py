"""What `casedb up` does, step by step; every step is safe to repeat and says what it found."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from backups.catalog import catalog, resolve_label
from backups.drill import drill
from backups.stores import open_store
from casedb import migrations
from casedb.cli.migrate_guard import backup_first
from casedb.cli.options import keys_of
from casedb.cli.output import Tell
from casedb.cli.seed import told
from casedb.cli.taking import take_backup
from casedb.connections import embedded_tools
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.databases import create_marked
from casedb.marks import Mark, read_mark
from casedb.roles import LOGIN_ROLES, apply_roles, set_passwords
from casedb.seed import seed_demo
from casedb.server import SUPERUSER, EmbeddedServer
from casedb.settings import Settings
from casedb.sqlfiles import folder, read_sql
from casedb.tools import PostgresTools


@dataclass
class Step:
    """One step, what came of it, and how long it took."""

    name: str
    result: str = ""
    duration_s: float = 0.0


class Server(Protocol):
    """What has a way in for every role, and knows or makes up their passwords."""

    def conninfo(self, *, dbname: str, user: str) -> Conninfo:
        """Return how `user` reaches `dbname`."""
        ...

    def passwords(self) -> Mapping[str, str]:
        """Return the passwords by role, as far as they are known."""
        ...

    def add_passwords(self, roles: Iterable[str]) -> Mapping[str, str]:
        """Return a password for each of `roles`, new where there is none."""
        ...


@dataclass
class BringUp:
    """The steps so far; `on_step` is told what goes on."""

    settings: Settings
    on_step: Tell
    reset: str = "casedb reset"
    """The command that starts over with an empty server of this kind."""
    steps: list[Step] = field(default_factory=list)
    _is_new: bool = False

    def run(self) -> list[Step]:
        """Do every step and return them; the first failure ends it, and the next run goes on."""
        server = EmbeddedServer(self.settings.home)
        tools = embedded_tools(self.settings)
        with self.step("server") as step:
            step.result = self._start(server, tools)
        self.prepare(server)
        with self.step("backup") as step:
            label, step.result = self._backup(
                self._as(server, self.settings.values.dump_user), tools
            )
        with self.step("drill") as step:
            step.result = self._drill(label, tools)
        return self.steps

    def prepare(self, server: Server) -> None:
        """Do the steps that any running server needs: its roles, the migrations, the demo data."""
        with self.step("roles") as step:
            step.result = self._roles(server)
        with self.step("migrations") as step:
            step.result = self._migrations(self._as(server, self.settings.values.migrate_user))
        with self.step("seed") as step:
            step.result = self._seed(self._as(server, self.settings.values.seed_user))

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step and keep it, once it has gone well."""
        self.on_step(name)
        step = Step(name)
        begin = time.monotonic()
        yield step
        step.duration_s = time.monotonic() - begin
        self.steps.append(step)

    def _as(self, server: Server, user: str) -> Conninfo:
        return server.conninfo(dbname=self.settings.values.database, user=user)

    def _start(self, server: EmbeddedServer, tools: PostgresTools) -> str:
        started = server.start(tools, on_step=self.on_step)
        self._is_new = started.created
        port = server.status().port
        what = "already running" if started.already_running else "started"
        if started.created:
            what = "made and started"
        result = f"PostgreSQL {tools.version} {what}, 127.0.0.1:{port}"
        return "; ".join([result, *started.mended])

    def _roles(self, server: Server) -> str:
        admin = self._as(server, SUPERUSER)
        created = create_marked(
            admin.replace(dbname="postgres"), self.settings.values.database, Mark.DEVELOPMENT
        )
        apply_roles(admin)
        with connect(admin, purpose="up") as connection:
            query = read_sql("catalog/roles-without-password.sql")
            without = {row[0] for row in connection.execute(query, (list(LOGIN_ROLES),))}
        known = server.passwords()
        missing = tuple(r for r in LOGIN_ROLES if r in without or r not in known)
        if missing:
            set_passwords(admin, server.add_passwords(missing))
        database = self.settings.values.database
        return (
            f'database "{database}" and its roles made'
            if created
            else "in place"
            if not missing
            else f"{len(missing)} passwords set"
        )

    def _migrations(self, target: Conninfo) -> str:
        applied = migrations.apply(
            target,
            source=folder("migrations"),
            on_step=self.on_step,
            before_destructive=backup_first(
                self.settings,
                self.on_step,
                way_out=f"Mend what kept the backup; `{self.reset}` starts over without the data.",
                target=target.replace(user=self.settings.values.dump_user),
            ),
        )
        return f"{len(applied)} applied" if applied else "none pending"

    def _seed(self, target: Conninfo) -> str:
        with connect(target, purpose="up") as connection:
            mark = read_mark(connection)
        if mark is not Mark.DEVELOPMENT:
            return f"left out: the database is marked {mark.value}"
        return told(seed_demo(target))

    def _backup(self, target: Conninfo, tools: PostgresTools) -> tuple[str, str]:
        store = open_store(self.settings.store_url)
        head = migrations.status(target, source=folder("migrations")).head
        # A backup from before a reset is not one of this database.
        known = [] if self._is_new else catalog(store, self.settings.values.database)
        for backup in known:
            if backup.is_good and backup.manifest and backup.manifest.migration_head == head:
                return backup.label, f"{backup.label} is there"
        manifest = take_backup(self.settings, target, store, tools=tools, on_progress=self.on_step)
        return manifest.label, f"{manifest.label} taken"

    def _drill(self, label: str, tools: PostgresTools) -> str:
        store = open_store(self.settings.store_url)
        database = self.settings.values.database
        if resolve_label(store, database, label).passed_full_drill:
            return "passed before"
        keys = keys_of(self.settings, None)
        report = drill(store, label, tools=tools, keys=keys, on_progress=self.on_step)
        return f"restored and equal: {report.tables} tables, {report.rows} rows, the catalog"
