"""What must hold before a dump begins."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection

from backups.facts import ServerFacts
from backups.stores.base import Store
from backups.stores.several import SeveralStores
from casedb.database import scalar
from casedb.errors import ConfigurationError, RefusedError, ToolFailedError, first_few
from casedb.sqlfiles import read_sql
from casedb.tools import PostgresTools

_NO_UTF8 = (
    psycopg.errors.CharacterNotInRepertoire,
    psycopg.errors.UntranslatableCharacter,
    # Bytes of another database's encoding, in a text that the whole server shares.
    UnicodeDecodeError,
)
_SUBSCRIPTIONS = (
    "SELECT s.subname FROM pg_subscription AS s JOIN pg_database AS d ON d.oid = s.subdbid"
    " WHERE d.datname = current_database() ORDER BY 1"
)


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


def require_primary(connection: Connection[Any]) -> None:
    """Refuse a standby, of which nobody knows how far behind its primary it is.

    PostgreSQL lets pg_dump read one: without a word it leaves out the rows of unlogged tables.
    """
    if scalar(connection, "SELECT pg_is_in_recovery()"):
        raise RefusedError(
            "this server is a standby, of which no complete dump can be made",
            detail="It may be behind its primary, it has no rows of unlogged tables, and a "
            "migration of the primary's does not wait for a dump here.",
            hint="Name the primary, or all of them with target_session_attrs=read-write.",
        )


def require_large_objects(connection: Connection[Any]) -> None:
    """Refuse a role that may not read all large objects, at which pg_dump would stop."""
    if _is_superuser(connection):
        return
    count, first = connection.execute(
        read_sql("catalog/backup-closed-large-objects.sql")
    ).fetchone() or (0, None)
    if count:
        role = scalar(connection, "SELECT quote_ident(current_user)")
        raise RefusedError(
            "this role cannot make a complete dump: large objects are closed to it",
            detail=f"{count} of them, such as {first}; pg_read_all_data does not reach them.",
            hint=f"As their owner: GRANT SELECT ON LARGE OBJECT {first} TO {role}; and so for each "
            "(SELECT oid FROM pg_largeobject_metadata). Or dump as a superuser (dump_user).",
        )


def require_whole_catalog(connection: Connection[Any]) -> None:
    """Refuse a role of whose catalog pg_dump leaves something out and reports success.

    That is what only superusers may read: a subscription's conninfo, others' passwords on servers.
    """
    if _is_superuser(connection):
        return
    left_out = [f"subscription {name}" for (name,) in connection.execute(_SUBSCRIPTIONS)]
    left_out += [
        f"the options of {role}'s user mapping for server {server}"
        for role, server in connection.execute(
            read_sql("catalog/backup-hidden-options.sql")
            if scalar(connection, "SELECT has_table_privilege('pg_user_mapping', 'SELECT')")
            # Whether there are any, this role cannot tell.
            else "SELECT usename, srvname FROM pg_user_mappings WHERE umoptions IS NULL"
        )
    ]
    if left_out:
        raise RefusedError(
            "only a superuser's dump of this database would be complete",
            detail=f"pg_dump would leave out: {', '.join(first_few(left_out))}.",
            hint="Dump as a superuser (dump_user in casedb.toml), or drop them.",
        )


@contextmanager
def refusing_other_bytes() -> Iterator[None]:
    """Refuse a database of whose catalog the block reads a text that cannot be said in UTF-8.

    Values in tables are no matter: the server hashes them, and pg_dump writes them as they are.
    """
    try:
        yield
    except _NO_UTF8 as error:
        raise RefusedError(
            "a name or a definition in this database is not UTF-8",
            detail=f"{' '.join(str(error).split())}. The manifest and the catalog's fingerprint "
            "are in UTF-8.",
            hint="Give the name, comment, default or the like anew in UTF-8; one of the database "
            "itself (COMMENT ON DATABASE) while connected to it. Values in tables may stay.",
        ) from error


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


def lock_table_full(connection: Connection[Any], reason: str) -> ToolFailedError:
    """Return the error that says how large the server's table of locks would have to be.

    A dump holds a lock on each relation that it reads, tables as well as their indexes, to its end;
    the connected database's relations are the most that there can be.
    """
    now = int(scalar(connection, "SELECT current_setting('max_locks_per_transaction')"))
    shared_by = scalar(
        connection,
        "SELECT current_setting('max_connections')::int"
        " + current_setting('max_prepared_transactions')::int",
    )
    relations = int(scalar(connection, "SELECT count(*) FROM pg_class"))
    # As it is now, it remains for everybody else.
    needed = now + math.ceil(relations / int(shared_by))
    return ToolFailedError(
        "the server has too few locks for a dump of this database",
        detail=f"{' '.join(reason.split())} ({relations:,} tables, indexes and the like).",
        hint=f"Raise max_locks_per_transaction, which is {now}, to {needed}, and restart the "
        "server.",
    )


def _is_superuser(connection: Connection[Any]) -> bool:
    return bool(scalar(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"))
