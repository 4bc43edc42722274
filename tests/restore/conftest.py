"""A living case database with a backup of it, and what a restore leaves beside it cleaned away."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg import sql

from backups.attempt import Wish
from backups.dump import dump
from backups.manifest import Manifest
from backups.records import read_record
from backups.reports import RestoreReport
from backups.restore import restore
from backups.stores import LocalStore
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.seed import seed_demo
from casedb.tools import PostgresTools


@dataclass(frozen=True)
class Night:
    """A database that is live, and a backup of it."""

    live: Conninfo
    """The superuser's, on the live database."""
    admin: Conninfo
    store: LocalStore
    manifest: Manifest
    tools: PostgresTools

    @property
    def name(self) -> str:
        return self.live.dbname

    @property
    def label(self) -> str:
        return self.manifest.label

    @property
    def wish(self) -> Wish:
        return Wish(self.label, self.name, replace=True)

    @property
    def words(self) -> list[str]:
        """The command's words for this server, database and store."""
        conninfo = self.admin.replace(dbname=None, user=None).dsn
        words = ["--conninfo", conninfo, "--database", self.name]
        return [*words, "--store", str(self.store.root)]

    def restore(self, wish: Wish | None = None, **words: Any) -> RestoreReport:
        return restore(self.store, wish or self.wish, self.admin, tools=self.tools, **words)

    def reports(self) -> list[RestoreReport]:
        """What restores of the backup left in the store, oldest first."""
        names = self.store.recorded(self.name, "restore")
        found = [read_record(self.store, self.name, name, RestoreReport) for name in names]
        assert None not in found
        return [report for report in found if report]

    def ask(self, query: str, database: str | None = None) -> Any:
        target = self.admin.replace(dbname=database or self.name)
        with connect(target, purpose="test") as connection:
            row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None

    def do(self, statement: str, database: str | None = None) -> None:
        with connect(self.admin.replace(dbname=database or self.name), purpose="test") as c:
            c.execute(statement.encode())

    def drop_others(self) -> None:
        """Drop what a test has left beside the living database."""
        with connect(self.admin, purpose="test") as connection:
            for name in self.databases():
                if name != self.name:
                    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                    connection.execute(drop.format(sql.Identifier(name)))

    def databases(self) -> list[str]:
        """Every database that has to do with this one, sorted."""
        with connect(self.admin, purpose="test") as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1",
                (self.name,),
            ).fetchall()
        return [row[0] for row in rows if row[0] == self.name or row[0][len(self.name)] == "_"]

    def user(self, role: str = "CLERK") -> UUID:
        with connect(self.live, purpose="test") as connection:
            found = scalar(connection, "SELECT id FROM public.users WHERE role = %s", role)
        assert isinstance(found, UUID)
        return found

    def write_case(self, title: str) -> None:
        """Write one case, as the application does."""
        user = self.user()
        with (
            connect(self.live.replace(user="case_app"), purpose="test") as connection,
            connection.transaction(),
        ):
            connection.execute("SELECT public.act_as(%s)", (str(user),))
            connection.execute(
                "INSERT INTO public.cases (title, description, created_by) VALUES (%s, '', %s)",
                (title, user),
            )


@pytest.fixture
def night(
    database: Conninfo, cluster: Conninfo, tools: PostgresTools, tmp_path: Path
) -> Iterator[Night]:
    """The sample data, dumped once; whatever the test leaves beside it is dropped."""
    seed_demo(database.replace(user="case_seed"))
    store = LocalStore(tmp_path / "store")
    manifest = dump(database.replace(user="case_backup"), store, tools=tools)
    found = Night(database, cluster, store, manifest, tools)
    yield found
    found.drop_others()
