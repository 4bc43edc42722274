"""What must hold before a restore begins; whatever is refused here has changed nothing."""

from collections.abc import Sequence
from typing import Any

from psycopg import Connection

from backups import fingerprint
from backups.manifest import Manifest
from casedb.database import scalar
from casedb.errors import ConfigurationError, RefusedError
from casedb.tools import PostgresTools

NAME_MAX_BYTES = 63
"""PostgreSQL cuts a longer name, without an error."""
SUFFIX = "_restoring_"
"""What the name of an unfinished restore has in it."""


def missing_roles(connection: Connection[Any], manifest: Manifest) -> list[str]:
    """Return the names of the backup's roles that the server does not have, sorted."""
    there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    return sorted({role.name for role in manifest.roles} - there)


def require_fit(connection: Connection[Any], manifest: Manifest, tools: PostgresTools) -> None:
    """Refuse anybody but a superuser, and programs or servers that cannot read the backup."""
    if not scalar(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        raise RefusedError(
            "only a superuser can restore a database with all its owners and policies",
            detail=f'"{scalar(connection, "SELECT current_user")}" is none.',
            hint="Connect as postgres.",
        )
    major = connection.info.server_version // 10000
    if tools.major != major:
        raise ConfigurationError(
            f"pg_restore {tools.version} does not fit a server of PostgreSQL {major}",
            detail="A newer pg_restore sends settings that an older server does not know.",
            hint=f"Name a folder of PostgreSQL {major}'s programs in PG_BIN.",
        )
    if manifest.server_major > major:
        raise RefusedError(
            f'backup "{manifest.label}" is of a newer PostgreSQL than this server',
            detail=f"It is of {manifest.server_version}, the server is {major}.",
            hint=f"Restore it into a server of PostgreSQL {manifest.server_major} or newer.",
        )


def require_new(connection: Connection[Any], database: str) -> None:
    """Refuse a name that is taken, or too long."""
    if len(database.encode()) > NAME_MAX_BYTES:
        raise ConfigurationError(
            f"a database's name has at most {NAME_MAX_BYTES} bytes",
            detail=f'"{database}" has {len(database.encode())}; PostgreSQL would cut it.',
        )
    if scalar(connection, "SELECT 1 FROM pg_database WHERE datname = %s", database):
        raise already_exists(database)


def already_exists(database: str) -> RefusedError:
    """Return the error for a name that is taken."""
    return RefusedError(
        f'database "{database}" exists already',
        detail="A restore makes a new database and never overwrites one.",
        hint="Restore under another name.",
    )


def roles_missing(missing: Sequence[str]) -> RefusedError:
    """Return the error for roles that the server does not have."""
    return RefusedError(
        "the server lacks roles that own or may use what is in the backup",
        detail=f"Missing: {', '.join(missing)}.",
        hint="Apply the roles first, or let them be made without login: --create-roles.",
    )


def require_extensions(connection: Connection[Any], manifest: Manifest) -> None:
    """Refuse a server without the extensions that the backup needs."""
    there = {name for (name,) in connection.execute("SELECT name FROM pg_available_extensions")}
    missing = sorted({extension.name for extension in manifest.extensions} - there)
    if missing:
        raise RefusedError(
            "the server lacks extensions that the backup needs",
            detail=f"Missing: {', '.join(missing)}.",
            hint="Install them on the server (Debian: postgresql-contrib has the usual ones).",
        )


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


def left_by_killed_runs(connection: Connection[Any], database: str) -> list[str]:
    """Return a sentence for each unfinished database that an earlier restore may have left."""
    rows = connection.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1",
        (database[:40] + SUFFIX,),
    )
    return [
        f'an unfinished restore is still there: DROP DATABASE "{name}"; (if no restore runs)'
        for (name,) in rows
    ]
