"""What must hold before a dump begins."""

from typing import Any

from psycopg import Connection

from backups.facts import ServerFacts
from backups.stores.base import Store
from backups.stores.several import SeveralStores
from casedb.database import scalar
from casedb.errors import ConfigurationError, RefusedError
from casedb.tools import PostgresTools


def require_all_rows(connection: Connection[Any]) -> None:
    """Refuse a role that row security hides rows from.

    The tables' owner is no exception where row security is forced. pg_dump's way out,
    --enable-row-security, dumps the rows it sees and reports success.
    """
    if not scalar(
        connection, "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    ):
        raise RefusedError(
            "this role cannot make a complete dump: row security hides rows from it",
            detail=f'"{scalar(connection, "SELECT current_user")}" is neither a superuser nor has '
            "it BYPASSRLS.",
            hint="Dump as case_backup.",
        )


def require_same_major(tools: PostgresTools, server: ServerFacts) -> None:
    """Refuse a client of another major version than its server."""
    if tools.major != server.major:
        raise ConfigurationError(
            f"pg_dump {tools.version} does not fit server {server.version}",
            detail="An older pg_dump is refused by the server; a newer one writes archives that "
            "the server's own pg_restore may not read.",
            hint=f"Name a folder of PostgreSQL {server.major}'s programs in PG_BIN.",
        )


def require_room(
    store: Store | SeveralStores, database: str, size_bytes: int, ratio: float
) -> None:
    """Refuse a store with less free space than `ratio` times the database's size.

    Of several, the full ones are left out.
    """
    if isinstance(store, SeveralStores):
        store.check(lambda one: require_room(one, database, size_bytes, ratio))
        return
    free = store.free_bytes(database)
    needed = int(size_bytes * ratio)
    if free is not None and free < needed:
        raise RefusedError(
            "the store has too little room for this backup",
            detail=f"{free / 1e6:,.0f} MB are free; a database of {size_bytes / 1e6:,.0f} MB "
            f"may need {needed / 1e6:,.0f} MB.",
            hint="Make room: `casedb rotate` lists what has expired.",
        )
