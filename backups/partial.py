"""A part of a backup in a new database, and how the living one differs from it.

Because "somebody changed the wrong thing" is the commoner night: what was changed is found, and
copied back by somebody who knows it, not by a tool.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from psycopg import Connection, sql

from backups import archive, beside, content, fill, fingerprint, part
from backups.attempt import Wish, prepare
from backups.contents import require_keys, stored_name
from backups.downloads import resumed
from backups.interrupts import add_way_out, held
from backups.load import give_properties
from backups.manifest import DUMP, Manifest, TableFacts
from backups.progress import OnProgress, Watch, unseen
from backups.restore import named
from backups.sealing import Keys
from backups.snapshot import prepare_session
from backups.stores.base import Store
from backups.table_diff import TableDiff, diff_table
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar, server_major, unbound
from casedb.errors import CasedbError
from casedb.tools import PostgresTools

# Roles belong to the server; large objects are in no part.
_NOT_THE_TABLES = ("role", "membership", "large objects")
# Foreign keys would want the tables that are left out; the rest of the content is other tables'.
_LEFT_OUT = re.compile(
    r"^\d+; \d+ \d+ (FK CONSTRAINT|TABLE DATA|SEQUENCE SET|MATERIALIZED VIEW DATA|BLOBS?|"
    r"BLOB DATA|BLOB METADATA) "
)


@dataclass(frozen=True)
class PartialReport:
    """What was brought back in part, and how the living database differs."""

    label: str
    database: str
    """The new database."""
    compared_with: str | None
    """The living database; None if there is none."""
    rows: int
    """In the tables that were asked for; they and all others are compared with the manifest."""
    catalog_rows: int
    tables: tuple[TableDiff, ...]
    """One for each table that was asked for."""
    schema: tuple[str, ...] | None
    """How the living catalog differs from the backup's, a line each; None if it was not asked."""
    duration_s: float
    phases_s: dict[str, float]
    created_roles: tuple[str, ...]
    notes: tuple[str, ...]
    """What else is worth knowing: what was removed, and how much of a download was there."""


def restore_part(
    store: Store,
    wish: Wish,
    admin: Conninfo,
    *,
    tools: PostgresTools,
    live: str,
    keys: Keys | None = None,
    scratch: Path | None = None,
    on_progress: OnProgress = unseen,
) -> PartialReport:
    """Restore `wish.part` of a backup into the new database; see backups/part.py.

    It is compared with the manifest before it gets its name. `live` is the database to compare it
    with afterwards, on the same server.

    Raises:
        ConfigurationError: the backup has no such table; and as `restore`, also all the others.
    """
    began = time.monotonic()
    watch = Watch(on_progress)
    with ExitStack() as stack:
        connection, plan, manifest, notes = prepare(stack, store, wish, admin, tools, keys, scratch)
        chosen = part.chosen(manifest, wish.part or ())
        store, more = stack.enter_context(resumed(store, manifest, scratch, plan.spare_bytes))
        notes += more
        unpacked, catalog = fill.checked(
            stack, store, manifest, tools, keys, scratch, watch, plan.spare_bytes
        )
        beside.require_first_superuser(connection, manifest, catalog)
        created = stack.enter_context(
            beside.missing_roles(connection, manifest, plan.missing_roles)
        )
        temporary = stack.enter_context(
            beside.temporary_database(admin, manifest, catalog, wish.database)
        )
        ours = partial(unbound, major=server_major(connection))
        target = ours(admin.replace(dbname=temporary))
        with (
            watch.phase("restore", "restoring"),
            _words(store, manifest, chosen, tools, keys) as words,
        ):
            fill.load(store, manifest, unpacked, connection, target, tools, keys, watch, words)
            give_properties(target, manifest)
        wanted = part.as_restored(manifest, catalog, chosen)
        found, _ = fill.compared(store, *wanted, target, keys, watch)
        with held() as signals:
            named(connection, temporary, wish, signals)
            stack.enter_context(_told(wish.database))
        there = scalar(connection, "SELECT true FROM pg_database WHERE datname = %s", live)
        diffs: list[TableDiff] = []
        schema = None
        if there:
            with (
                watch.phase("diff", f'comparing with "{live}"'),
                connect(ours(admin.replace(dbname=wish.database)), purpose="restore: diff") as copy,
                connect(ours(admin.replace(dbname=live)), purpose="restore: diff") as living,
            ):
                diffs = [diff_table(copy, living, table) for table in chosen]
                schema = None if chosen else tuple(_schema(copy, living, manifest))
    return PartialReport(
        label=wish.label,
        database=wish.database,
        compared_with=live if there else None,
        rows=found.rows,
        catalog_rows=found.catalog_rows,
        tables=tuple(diffs),
        schema=schema,
        duration_s=round(time.monotonic() - began, 3),
        phases_s=watch.seconds,
        created_roles=created,
        notes=(*notes, *found.notes),
    )


def done_with(database: str) -> str:
    """Return the sentence that says how a new database goes again."""
    drop = sql.SQL("DROP DATABASE {}").format(sql.Identifier(database)).as_string(None)
    return f"Done with it: {drop}"


@contextmanager
def _told(database: str) -> Iterator[None]:
    """Say of whatever stops the block that the new database is there all the same."""
    try:
        yield
    except (CasedbError, KeyboardInterrupt) as error:
        way_out = f'What was asked for is in database "{database}". {done_with(database)}'
        add_way_out(error, way_out)
        raise


@contextmanager
def _words(
    store: Store,
    manifest: Manifest,
    tables: Sequence[TableFacts],
    tools: PostgresTools,
    keys: Keys | None,
) -> Iterator[list[str]]:
    """Yield the words of pg_restore that leave out what was not asked for."""
    if not tables:
        yield ["--schema-only"]
        return
    opening = require_keys(manifest, keys) if manifest.recipients else None
    name = stored_name(manifest, DUMP)
    with store.open(manifest.database, manifest.label, name) as file:
        lines = archive.listing(file, tools, opening)
    wanted = {f"TABLE DATA {table.schema_name} {table.name} " for table in tables}
    kept = [
        line
        for line in lines
        if not _LEFT_OUT.match(line) or any(f" {words}" in line for words in wanted)
    ]
    with tempfile.NamedTemporaryFile("w", prefix="casedb-list-") as file_of_names:
        file_of_names.write("\n".join(kept) + "\n")
        file_of_names.flush()
        os.chmod(file_of_names.name, 0o600)
        yield [f"--use-list={file_of_names.name}"]


def _schema(copy: Connection[Any], living: Connection[Any], manifest: Manifest) -> list[str]:
    """Return how the living catalog differs from the copy's.

    Not from the backup's own: another major version prints some definitions in its own way, and
    these two are of one server.
    """
    catalogs = []
    for connection in (copy, living):
        prepare_session(connection, content.SETTINGS)
        found = part.unfilled(fingerprint.read_fingerprint(connection, manifest.roles))
        catalogs.append([fact for fact in found if fact.kind not in _NOT_THE_TABLES])
    return fingerprint.differences(*catalogs)
