"""Who can log in to a restored database, and what each role may do there, tried for real."""

from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from backups.drill_cluster import answers
from backups.manifest import Manifest
from casedb import access
from casedb.access_probe import probe
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar, unbound
from casedb.errors import (
    CasedbError,
    ConfigurationError,
    ServerUnreachableError,
    ToolFailedError,
    first_few,
)
from casedb.sqlfiles import folder, read_sql

_LOST = "the connection to the throwaway server was lost"
_NO_LOCALE = "a locale of the backup is not installed here"
# What PostgreSQL, its programs (made to speak English) and libpq say.
_OUTER_CAUSES = {
    "No space left on device": "the disk is full",
    "server closed the connection": _LOST,
    "connection to server was lost": _LOST,
    "terminating connection due to": _LOST,
    "the database system is": _LOST,
    "SQLSTATE 53": "the server ran out of room, memory or connections",
    "SQLSTATE 57": "a statement was ended",
    "SQLSTATE 55P03": "a lock did not come in time",
    "SQLSTATE 40": "another transaction was in the way",
    "SQLSTATE 58": "the server could not read or write a file",
    "invalid locale name": _NO_LOCALE,
    "invalid LC_": _NO_LOCALE,
    'invalid value for parameter "lc_': _NO_LOCALE,
    "could not create locale": _NO_LOCALE,
    # One that the backup makes lies in a schema of its own.
    'collation "pg_catalog.': "a collation of the backup is not installed here",
    "ICU is not supported in this build": "the server was built without ICU",
}


@dataclass(frozen=True)
class Probed:
    """What came of trying who may do what."""

    differences: tuple[str, ...]
    unchecked: str | None
    """Why the matrix could not be tried at all; None if it was, or was not asked for."""
    notes: tuple[str, ...] = ()


def probe_access(restored: Conninfo, manifest: Manifest, *, with_matrix: bool = True) -> Probed:
    """Log in as every role of the backup and, `with_matrix`, try every cell of the access matrix.

    `restored` is the superuser of a throwaway copy, where nobody needs a password, and which has
    been compared: its event triggers and connection limits are no more afterwards. Every role of
    the backup that may log in and connect has to get in. The matrix of sql/access is of this
    version's migrations, and says nothing about another version's or another application's
    database: that leaves its access unchecked, which is not the same as well.

    Raises:
        ServerUnreachableError, ToolFailedError: what happened says nothing of the backup.
    """
    found = _logins(restored, manifest)
    if not with_matrix:
        return Probed(tuple(found), None, ("access was not probed: it was not asked for",))
    expected = access.read_expected()
    unknown = set(access.roles_of(expected)) - {role.name for role in manifest.roles}
    if manifest.migration_head is None or unknown:
        return Probed(tuple(found), "it is not a database of this toolkit's migrations")
    if manifest.migration_head != newest_migration():
        return Probed(
            tuple(found),
            f"the backup is at migration {manifest.migration_head}, the matrix is for "
            f"{newest_migration()}",
        )
    try:
        given, strangers = probe(unbound(restored), expected, harmless=False)
    except (ConfigurationError, ToolFailedError) as error:
        if outer_cause(error):
            # No fault of the backup's: nothing can be said about it here.
            raise
        # What cannot be checked has not passed; what was found before is not to be lost.
        reason = f"access could not be probed: {error.message}: {error.detail or ''}"
        return Probed((*found, reason.rstrip(": ")), None)
    lines = [f"access: {difference}" for difference in access.differences(given, expected)]
    lines += [f"access: a right that the matrix does not know: {s}" for s in strangers]
    return Probed((*found, *first_few(lines)), None)


def outer_cause(error: CasedbError) -> str | None:
    """Return why `error` says nothing of the backup, in words for people; None if it may.

    >>> outer_cause(CasedbError("failed", detail="server closed the connection unexpectedly"))
    'the connection to the throwaway server was lost'
    """
    said = f"{error.message} {error.detail}"
    return next((cause for words, cause in _OUTER_CAUSES.items() if words in said), None)


def newest_migration() -> str:
    """Return the id of the newest migration of this version."""
    names = (path.stem for path in folder("migrations").glob("*.sql"))
    return max(name for name in names if not name.endswith(".rollback"))


def _logins(restored: Conninfo, manifest: Manifest) -> list[str]:
    superuser = unbound(restored, major=manifest.server_major)
    with connect(superuser, purpose="drill") as connection:
        for (statement,) in connection.execute(read_sql("catalog/drill-obstacles.sql")).fetchall():
            connection.execute(statement.encode())
        allowed = {role.name: _may_connect(connection, role.name) for role in manifest.roles}
    lines = []
    for role in manifest.roles:
        if not role.can_login:
            continue
        try:
            with connect(unbound(restored.replace(user=role.name)), purpose="drill") as connection:
                name = scalar(connection, "SELECT session_user")
            if not allowed[role.name] or name != role.name:
                lines.append(f"role {role.name} got in and should not")
        except (ServerUnreachableError, ToolFailedError) as error:
            if outer_cause(error) or not answers(superuser):
                raise
            # A role may exist for another database of the same server.
            if allowed[role.name]:
                lines.append(f"role {role.name} cannot log in: {error.detail or error.message}")
    return lines


def _may_connect(connection: Connection[Any], role: str) -> bool:
    return bool(
        scalar(
            connection,
            "SELECT has_database_privilege(%s, current_database(), 'CONNECT')",
            role,
        )
    )
