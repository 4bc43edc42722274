"""The plan's sample data: three users, a case, and the first entry of its log."""

from dataclasses import dataclass
from typing import Any

import bcrypt
from psycopg import Connection

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError
from casedb.locks import maintenance_lock
from casedb.marks import require_development
from casedb.sqlfiles import read_sql

DEMO_PASSWORD = "password123"
"""Of all three users. Everybody knows it, hence the refusal outside of development."""

_BCRYPT_COST = 10
_USERS = ("clerk", "chair", "caseworker")
_LOCK_WAIT_S = 10.0


@dataclass(frozen=True)
class Seeded:
    """Rows of one kind."""

    created: int
    already_there: int


@dataclass(frozen=True)
class SeedResult:
    """What `seed_demo` created, and what it found."""

    users: Seeded
    cases: Seeded
    logs: Seeded

    @property
    def changed(self) -> bool:
        """Whether anything was created."""
        return any(kind.created for kind in (self.users, self.cases, self.logs))


def seed_demo(target: Conninfo) -> SeedResult:
    """Load the plan's sample data, as case_seed; what is already there is left as it is.

    One transaction: all of it or nothing.

    Raises:
        RefusedError: the database is not marked development.
        ConfigurationError: it has no tables yet.
        LockedError: a migration or another run is at work on it.
    """
    with connect(target, purpose="seed") as connection:
        require_development(connection, "the sample data with its public password")
        if not scalar(connection, "SELECT to_regclass('public.case_documents')"):
            raise ConfigurationError(
                "there are no tables to seed",
                hint="Apply the migrations first: `casedb migrate apply`.",
            )
        with maintenance_lock(connection, wait_s=_LOCK_WAIT_S), connection.transaction():
            hashes = {name: _hash(DEMO_PASSWORD) for name in _USERS}
            return SeedResult(
                users=_insert(connection, "seed/demo-users.sql", hashes, of=len(_USERS)),
                cases=_insert(connection, "seed/demo-case.sql", None, of=1),
                logs=_insert(connection, "seed/demo-log.sql", None, of=1),
            )


def _insert(
    connection: Connection[Any], name: str, values: dict[str, str] | None, *, of: int
) -> Seeded:
    created = connection.execute(read_sql(name), values).rowcount
    return Seeded(created=created, already_there=of - created)


def _hash(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(_BCRYPT_COST)).decode()
