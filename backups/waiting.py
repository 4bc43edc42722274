"""A restored and verified database that waits for its name, because the swap did not come off.

An hour of work is in it. So it stays, closed to writes, and says of itself what it is: the next
restore of the same backup over the same database compares it again and goes straight to the swap.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import Connection, sql

from backups import fill, fingerprint, kept
from backups.compare import Comparison
from backups.facts import read_properties, read_settings
from backups.manifest import DatabaseProperties, Manifest
from backups.progress import Watch
from backups.properties import OURS, READ_ONLY
from backups.sealing import Keys
from backups.stores.base import Store
from backups.unfinished import drop_statement
from backups.verify import check_bytes, damaged, read_catalog
from casedb.conninfo import Conninfo
from casedb.errors import DifferenceError, LockedError, RefusedError, ServerUnreachableError
from casedb.tools import PostgresTools

VERIFIED = f"{OURS}verified"
"""The backup that a database was restored from and compared with, while it waits for its name."""
TO_BE_SETTLED = (LockedError, RefusedError, ServerUnreachableError)
"""Why a swap does not come off without a fault of what was restored: somebody settles it."""


def marking(database: str, label: str) -> list[sql.Composed]:
    """Return the statements that close the verified `database` to writes, and say what it is."""
    return [
        kept.set_statement(database, READ_ONLY, "on"),
        kept.set_statement(database, VERIFIED, label),
    ]


def unmarking(database: str, wanted: DatabaseProperties) -> list[sql.Composed]:
    """Return the statements that end `marking`; READ_ONLY is as `wanted` says."""
    values = [s.value for s in wanted.settings if s.role is None and s.name == READ_ONLY]
    return [
        kept.set_statement(database, READ_ONLY, values[0])
        if values
        else kept.reset_statement(database, READ_ONLY),
        kept.reset_statement(database, VERIFIED),
    ]


def find(connection: Connection[Any], databases: Iterable[str], label: str) -> str | None:
    """Return which of the unfinished `databases` is verified and of the backup `label`."""
    waiting = (d for d in databases if read_settings(connection, d).get(VERIFIED) == label)
    return next(waiting, None)


def ways_out(database: str, label: str) -> str:
    """Return the sentences that say what a database that waits is good for, and how it goes."""
    return (
        f'"{database}" is still there: it is {label}, restored and verified, and waits for its '
        "name. The same restore again goes straight to the swap; if it is not wanted any more: "
        f"{drop_statement(database).as_string(None)}"
    )


def small_files(
    store: Store, manifest: Manifest, tools: PostgresTools, keys: Keys | None, watch: Watch
) -> tuple[fingerprint.Fact, ...]:
    """Return the backup's catalog, when every file but the dump, which nobody needs, is checked.

    Raises:
        BackupDamagedError: one of them is damaged.
    """
    with watch.phase("verify", "checking the bytes"):
        problems = check_bytes(store, manifest, tools, watch.on_progress, keys, with_dump=False)
        if problems:
            raise damaged(store, manifest.database, manifest.label, problems)
        return read_catalog(store, manifest, keys)


def compared_again(
    store: Store,
    manifest: Manifest,
    catalog_facts: Sequence[fingerprint.Fact],
    connection: Connection[Any],
    target: Conninfo,
    keys: Keys | None,
    watch: Watch,
) -> tuple[Comparison, bool | None]:
    """Compare all of the waiting database `target` with the manifest, as when it was verified.

    That it is read-only is a default, which a session may change: only what it holds tells.

    Raises:
        DifferenceError: it is not what was verified any more.
    """
    # What belongs to the name is the live database's, and is given to it at the swap.
    properties = read_properties(connection, target.dbname)
    wanted = manifest.model_copy(update={"properties": properties})
    try:
        return fill.compared(store, wanted, catalog_facts, target, keys, watch)
    except DifferenceError as error:
        raise DifferenceError(
            f'database "{target.dbname}" waited for its name and is not what was verified any more',
            detail=error.detail,
            hint="Somebody changed it since, so it is removed. "
            "The same command again restores the backup anew.",
        ) from error
