"""What a drill runs on: programs and a throwaway cluster that fit the backup.

Without them it could not be tried, which is an answer of its own and never the backup's fault.
"""

import secrets
from contextlib import ExitStack
from pathlib import Path

from backups import facts
from backups.catalog import read_manifest
from backups.manifest import Manifest
from backups.stores.base import Store
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import (
    CasedbError,
    ConfigurationError,
    ServerUnreachableError,
    UnverifiedError,
)
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools


def require_tools(
    store: Store, database: str, label: str, tools: PostgresTools, image: str | None
) -> PostgresTools:
    """Return `tools` if they fit the backup; of none that is there, any do.

    Raises:
        UnverifiedError: they are of another major version, or have no server and there is no image.
    """
    if not store.files(database, label):
        return tools
    manifest = read_manifest(store, database, label)
    if manifest.server_major != tools.major or not (tools.can_serve or image):
        raise UnverifiedError(
            f'backup "{label}" cannot be drilled with these programs',
            detail=f"It is of PostgreSQL {manifest.server_major}; {tools.bindir} has "
            f"{tools.version}{'' if tools.can_serve else ' and no server'}.",
            hint=f"Install PostgreSQL {manifest.server_major}'s server or name it in PG_BIN; with "
            "its client programs alone, and Docker: --container.",
        )
    return tools


def cluster(
    stack: ExitStack, tools: PostgresTools, scratch: Path | None, image: str | None
) -> Conninfo:
    """Start a throwaway cluster, gone with `stack`; return its superuser's conninfo.

    Raises:
        UnverifiedError: none could be started.
        ConfigurationError: there is no Docker with that image.
    """
    # A name of its own, so that the backup's CREATE ROLE postgres finds no such role.
    superuser = f"casedb_drill_{secrets.token_hex(4)}"
    try:
        if image:
            # Only who drills in a container waits for Docker's library.
            from casedb.throwaway_container import throwaway_container

            return stack.enter_context(
                throwaway_container(image, superuser=superuser, folder=scratch)
            )
        return stack.enter_context(throwaway_cluster(tools, superuser=superuser, folder=scratch))
    except CasedbError as error:
        if image and isinstance(error, ConfigurationError):
            raise
        raise could_not(
            "no throwaway cluster could be started",
            error,
            "Has the folder for temporary files room for one? --scratch names another folder.",
        ) from error


def require_major(admin: Conninfo, manifest: Manifest, image: str | None) -> str:
    """Return the server's version; an image has whatever it has.

    Raises:
        ConfigurationError: it is of another major version than the backup.
    """
    with connect(admin, purpose="drill") as connection:
        found = facts.read_server(connection)
    if found.major != manifest.server_major:
        raise ConfigurationError(
            f"image {image} is of PostgreSQL {found.version}",
            detail=f'Backup "{manifest.label}" is of PostgreSQL {manifest.server_major}.',
            hint="Name one of that version: drill_image in casedb.toml, with {major} in it.",
        )
    return found.version


def require_extensions(admin: Conninfo, manifest: Manifest) -> None:
    """Refuse a cluster that lacks extensions of the backup.

    Raises:
        UnverifiedError: some are not installed.
    """
    with connect(admin, purpose="drill") as connection:
        there = {name for (name,) in connection.execute("SELECT name FROM pg_available_extensions")}
    missing = sorted({extension.name for extension in manifest.extensions} - there)
    if missing:
        raise UnverifiedError(
            f'backup "{manifest.label}" cannot be drilled here: extensions are missing',
            detail=f"Not installed: {', '.join(missing)}.",
            hint="Install them (Debian: postgresql-contrib) or drill on another machine.",
        )


def answers(admin: Conninfo) -> bool:
    """Whether the cluster still runs."""
    try:
        with connect(admin, purpose="drill") as connection:
            return bool(scalar(connection, "SELECT true"))
    except ServerUnreachableError:
        return False


def could_not(
    reason: str,
    error: CasedbError | None = None,
    hint: str = "Whether the backup restores is still unknown.",
) -> UnverifiedError:
    """Return the error that says why whether the backup restores is still unknown.

    `hint` is for an `error` that has none, or one about the server that `casedb server` knows.
    """
    inner = None if error is None or isinstance(error, ServerUnreachableError) else error.hint
    return UnverifiedError(
        f"the drill could not be run: {reason}",
        detail=f"{error.message}: {error.detail or ''}".rstrip(": ") if error else None,
        hint=inner or hint,
    )
