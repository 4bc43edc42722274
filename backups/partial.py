"""A part of a backup in a new database, and how the living one differs from it.

Because "somebody changed the wrong thing" is the commoner night: what was changed is found, and
copied back by somebody who knows it, not by a tool.
"""

import difflib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection, sql

from backups import archive, beside, content, fill, fingerprint
from backups.contents import require_keys, stored_name
from backups.downloads import resumed
from backups.interrupts import add_way_out, held
from backups.manifest import DUMP, Manifest, TableFacts
from backups.progress import OnProgress, Watch, unseen
from backups.properties import property_statements
from backups.restore import Wish, named, prepare
from backups.sealing import Keys
from backups.snapshot import prepare_session
from backups.stores.base import Store
from backups.table_diff import TableDiff, diff_table
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import CasedbError, ConfigurationError
from casedb.tools import PostgresTools

_ROLE_KINDS = ("role", "membership")
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
    tables: tuple[TableDiff, ...]
    """One for each table that was asked for."""
    schema: tuple[str, ...] | None
    """How the living catalog differs from the backup's, a line each; None if it was not asked."""
    duration_s: float
    phases_s: dict[str, float]
    notes: tuple[str, ...]
    """What else is worth knowing: what was removed, and how much of a download was there."""


def restore_part(
    store: Store,
    wish: Wish,
    admin: Conninfo,
    *,
    tools: PostgresTools,
    live: str,
    tables: Sequence[str] = (),
    keys: Keys | None = None,
    scratch: Path | None = None,
    on_progress: OnProgress = unseen,
) -> PartialReport:
    """Restore `tables` of a backup, or without any its schema alone, into the new database.

    Everything else of the schema is there too, without rows and without foreign keys. `live` is the
    database to compare with, on the same server.

    Raises:
        ConfigurationError: the backup has no such table; and as `restore`, also all the others.
    """
    began = time.monotonic()
    watch = Watch(on_progress)
    with ExitStack() as stack:
        connection, plan, manifest, notes = prepare(stack, store, wish, admin, tools, keys, scratch)
        chosen = [_table(manifest, name) for name in tables]
        store, more = stack.enter_context(resumed(store, manifest, scratch, plan.spare_bytes))
        notes += more
        unpacked, catalog = fill.checked(
            stack, store, manifest, tools, keys, scratch, watch, plan.spare_bytes
        )
        beside.require_first_superuser(connection, manifest, catalog)
        beside.create_missing_roles(connection, manifest, plan.missing_roles)
        temporary = stack.enter_context(beside.temporary_database(admin, manifest, wish.database))
        target = admin.replace(dbname=temporary)
        with (
            watch.phase("restore", "restoring"),
            _words(store, manifest, chosen, tools, keys) as words,
        ):
            fill.load(
                store, manifest, unpacked, connection, target, tools, keys, scratch, watch, words
            )
            for statement in property_statements(manifest.properties, temporary):
                connection.execute(statement)
        with held() as signals:
            named(connection, temporary, wish, signals)
            stack.enter_context(_told(wish.database))
        there = scalar(connection, "SELECT true FROM pg_database WHERE datname = %s", live)
        diffs: list[TableDiff] = []
        schema = None
        if there:
            with (
                watch.phase("compare", f'comparing with "{live}"'),
                connect(admin.replace(dbname=wish.database), purpose="restore: diff") as copy,
                connect(admin.replace(dbname=live), purpose="restore: diff") as living,
            ):
                diffs = [diff_table(copy, living, table) for table in chosen]
                schema = None if chosen else tuple(_schema(catalog, living, manifest))
    return PartialReport(
        label=wish.label,
        database=wish.database,
        compared_with=live if there else None,
        tables=tuple(diffs),
        schema=schema,
        duration_s=round(time.monotonic() - began, 3),
        phases_s=watch.seconds,
        notes=tuple(notes),
    )


@contextmanager
def _told(database: str) -> Iterator[None]:
    """Say of whatever stops the block that the new database is there all the same."""
    try:
        yield
    except (CasedbError, KeyboardInterrupt) as error:
        drop = sql.SQL("DROP DATABASE {}").format(sql.Identifier(database)).as_string(None)
        way_out = f'What was asked for is in database "{database}". Done with it: {drop}'
        add_way_out(error, way_out)
        raise


def _table(manifest: Manifest, name: str) -> TableFacts:
    wanted = name if "." in name else f"public.{name}"
    known = {table.full_name: table for table in manifest.tables if table.kind == "table"}
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)
    raise ConfigurationError(
        f'backup "{manifest.label}" has no table "{name}"',
        detail=f"It has {', '.join(sorted(known))}.",
        hint=f'Did you mean "{near[0]}"?' if near else None,
    )


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


def _schema(
    catalog: Sequence[fingerprint.Fact], living: Connection[Any], manifest: Manifest
) -> list[str]:
    prepare_session(living, content.SETTINGS)
    found = fingerprint.read_fingerprint(living, manifest.roles)
    return fingerprint.differences(
        [f for f in catalog if f.kind not in _ROLE_KINDS],
        [f for f in found if f.kind not in _ROLE_KINDS],
    )
