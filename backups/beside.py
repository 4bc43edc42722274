"""A database made beside the living ones, under a name of its own: whole, or dropped again."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

from psycopg import Connection, sql

from backups import fingerprint, waiting
from backups.facts import read_settings
from backups.interrupts import add_way_out, held, not_cleaned_up
from backups.load import create_database
from backups.manifest import Manifest, RoleFacts
from backups.unfinished import RANDOM_CHARS, debris, drop_statement, temporary_head
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import CasedbError, DifferenceError, RefusedError


@contextmanager
def temporary_database(
    admin: Conninfo,
    manifest: Manifest,
    catalog: Sequence[fingerprint.Fact],
    database: str,
    waits: str | None = None,
) -> Iterator[str]:
    """Make an empty database with a name of its own; drop it if the block fails.

    It stays if it was verified and only its swap did not come off (see backups/waiting.py). `waits`
    is one that did so earlier: it is taken up instead, and dropped only if it has changed since.

    Raises:
        ToolFailedError: it could not be made; or not dropped, and then it is named.
    """
    temporary = waits or temporary_head(database) + secrets.token_hex(RANDOM_CHARS // 2)
    try:
        if not waits:
            create_database(admin, manifest.properties, catalog, temporary)
        yield temporary
    except BaseException as error:
        may_stay = (
            not isinstance(error, DifferenceError)
            if waits
            else isinstance(error, waiting.TO_BE_SETTLED)
        )
        with held():
            _clean_up(admin, temporary, error, may_stay=may_stay)
        raise


def size_of(connection: Connection[Any], databases: Sequence[str]) -> int:
    """Return how many bytes `databases` take together; one that is gone takes none."""
    query: LiteralString = (
        "SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database"
        " WHERE datname = ANY(%s)"
    )
    return int(scalar(connection, query, list(databases)))


def drop_debris(connection: Connection[Any], database: str, waits: str | None = None) -> list[str]:
    """Drop the unfinished databases that restores of `database` left, but `waits`; tell of each.

    Needs the maintenance lock: whoever holds it knows that no such restore runs any more. Its
    pg_restore may: it loads on when casedb is killed. FORCE ends its sessions, and so itself.
    """
    left = debris(
        [name for (name,) in connection.execute("SELECT datname FROM pg_database")], database
    )
    left = [name for name in left if name != waits]
    for name in left:
        connection.execute(drop_statement(name))
    return [f'removed "{name}", which a restore had left unfinished' for name in left]


def require_first_superuser(
    connection: Connection[Any], manifest: Manifest, catalog: Sequence[fingerprint.Fact]
) -> None:
    """Refuse if the source's first superuser owns something, and this server has no such role."""
    name = manifest.bootstrap_superuser
    if scalar(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", name):
        return
    owned = [f for f in catalog if f" owner {name} " in f" {f.definition} "]
    if owned or manifest.properties.owner == name:
        raise RefusedError(
            "the server lacks the superuser that owns things in the backup",
            detail=f'"{name}" owns {len(owned)} of them.',
            hint=f"Make the role first: CREATE ROLE {name} NOLOGIN.",
        )


@contextmanager
def missing_roles(
    connection: Connection[Any], manifest: Manifest, missing: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """Create the roles `missing` of the backup, none of which can log in; yield their names.

    They stay when the block fails, for the next attempt; whatever stops it then names them.
    """
    created = _create_roles(connection, manifest, missing)
    try:
        yield created
    except (CasedbError, KeyboardInterrupt) as error:
        if created:
            names = sql.SQL(", ").join(map(sql.Identifier, created)).as_string()
            add_way_out(
                error, f"Created without login, and still there; to undo that: DROP ROLE {names}"
            )
        raise


def _create_roles(
    connection: Connection[Any], manifest: Manifest, missing: Sequence[str]
) -> tuple[str, ...]:
    wanted = [role for role in manifest.roles if role.name in missing]
    if not wanted:
        return ()
    there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    there |= set(missing)
    # All or none: a second attempt must not find half of them.
    with connection.transaction():
        for role in wanted:
            connection.execute(_create_role(role))
        for role in wanted:
            for group in role.member_of:
                if group in there:
                    connection.execute(
                        sql.SQL("GRANT {} TO {}").format(
                            sql.Identifier(group), sql.Identifier(role.name)
                        )
                    )
    return tuple(role.name for role in wanted)


def _create_role(role: RoleFacts) -> sql.Composed:
    # Never a login and never a superuser: a restore must not open a door.
    attributes = [
        "NOLOGIN NOSUPERUSER",
        "INHERIT" if role.inherits else "NOINHERIT",
        "CREATEROLE" if role.create_role else "",
        "CREATEDB" if role.create_db else "",
        "BYPASSRLS" if role.bypass_rls else "",
        "REPLICATION" if role.replication else "",
    ]
    words = sql.SQL(" ").join(sql.SQL(a) for a in attributes if a)
    return sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role.name), words)


def _clean_up(admin: Conninfo, temporary: str, error: BaseException, *, may_stay: bool) -> None:
    statement = drop_statement(temporary)
    try:
        # A session of its own: the other one may be lost, or in the middle of something.
        with connect(admin, purpose="restore: clean up") as connection:
            label = read_settings(connection, temporary).get(waiting.VERIFIED)
            if may_stay and label:
                add_way_out(error, waiting.ways_out(temporary, label))
                return
            connection.execute(statement)
    except CasedbError as failure:
        way_out = (
            f'If database "{temporary}" is still there: the next restore goes on with it if it was '
            f"verified, and removes it otherwise, or do so with: {statement.as_string()}"
        )
        raise not_cleaned_up(error, failure, way_out) from failure
