"""What a manifest says of a database besides its content, read from the server."""

from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import dict_row

from backups.manifest import (
    CollationFacts,
    DatabaseProperties,
    ExtensionFacts,
    RoleFacts,
    SequenceFacts,
)
from casedb.database import scalar, server_major
from casedb.sqlfiles import read_sql


@dataclass(frozen=True)
class ServerFacts:
    """The server a database lives on."""

    version: str
    major: int
    bootstrap_superuser: str
    """The role that initdb made, which no dump of the roles can bring to another server."""


def read_server(connection: Connection[Any]) -> ServerFacts:
    """Return the server's facts."""
    return ServerFacts(
        version=scalar(connection, "SHOW server_version").split()[0],
        major=server_major(connection),
        bootstrap_superuser=scalar(connection, "SELECT rolname FROM pg_roles WHERE oid = 10"),
    )


def read_properties(connection: Connection[Any], database: str | None = None) -> DatabaseProperties:
    """Return what belongs to `database` (default: the connected one) and is in no dump of it."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(read_sql("catalog/backup-properties.sql"), (database,)).fetchone()
    return DatabaseProperties.model_validate(row)


def read_settings(connection: Connection[Any], database: str) -> dict[str, str]:
    """Return the settings of the database `database` itself, ours and all others."""
    rows = connection.execute(read_sql("catalog/database-settings.sql"), (database,))
    found: dict[str, str] = {}
    for (setting,) in rows:
        name, _, value = setting.partition("=")
        found[name] = value
    return found


def read_roles(connection: Connection[Any]) -> tuple[RoleFacts, ...]:
    """Return the roles that have to do with the connected database."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(read_sql("catalog/backup-roles.sql")).fetchall()
    return tuple(RoleFacts.model_validate(row) for row in rows)


def read_extensions(connection: Connection[Any]) -> tuple[ExtensionFacts, ...]:
    """Return the installed extensions and their versions."""
    rows = connection.execute("SELECT extname, extversion FROM pg_extension ORDER BY extname")
    return tuple(ExtensionFacts(name=name, version=version) for name, version in rows)


def read_collations(connection: Connection[Any]) -> tuple[CollationFacts, ...]:
    """Return the collations that were made in this database or that something in it relies on.

    The session must have content.SETTINGS: names are printed as its search path wants them.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(read_sql("catalog/backup-collations.sql")).fetchall()
    return tuple(CollationFacts.model_validate(row) for row in rows)


def read_sequences(connection: Connection[Any]) -> tuple[SequenceFacts, ...]:
    """Return where each sequence stands right now: sequences know no snapshot."""
    found = []
    for schema, name, increment, extension in connection.execute(
        read_sql("catalog/backup-sequences.sql")
    ).fetchall():
        row = connection.execute(
            sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(schema, name))
        ).fetchone()
        if row:
            found.append(
                SequenceFacts(
                    schema_name=schema,
                    name=name,
                    last_value=row[0],
                    is_called=row[1],
                    increment=increment,
                    extension=extension,
                )
            )
    return tuple(found)


def read_migration_head(connection: Connection[Any]) -> str | None:
    """Return the last migration applied, by its number; None without any or without yoyo."""
    if scalar(connection, "SELECT to_regclass('ops._yoyo_migration')") is None:
        return None
    head = scalar(connection, 'SELECT max(migration_id COLLATE "C") FROM ops._yoyo_migration')
    return str(head) if head else None


def read_migration_checksums(connection: Connection[Any]) -> dict[str, str]:
    """Return the checksum of each migration that was applied, as it was then; by its number."""
    if scalar(connection, "SELECT to_regclass('ops.casedb_migration')") is None:
        return {}
    rows = connection.execute(read_sql("catalog/migration-checksums.sql"))
    return {migration: checksum for migration, checksum in rows}
