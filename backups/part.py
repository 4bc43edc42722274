"""What a part of a backup is, what its copy has to be, and what that needs. Pure.

A part is some tables, or none: the schema alone. All of the schema comes with it, without the rows
of other tables, and beside tables without foreign keys, which would want those rows.
"""

import difflib
from collections.abc import Sequence
from dataclasses import replace

from backups.contents import stored_name
from backups.fingerprint import Fact
from backups.manifest import HEADS, LargeObjects, Manifest, TableFacts
from casedb.errors import ConfigurationError

_NO_ROWS = {"rows": 0, "hash_sum": "0", "hash_xor": "0"}
# A new database has the system's catalog; a table without rows a page or two in each of its
# indexes, and its TOAST table's.
_EMPTY_DATABASE_BYTES = 16 << 20
_EMPTY_TABLE_BYTES = 128 << 10


def chosen(manifest: Manifest, names: Sequence[str]) -> tuple[TableFacts, ...]:
    """Return the tables of these names; without a schema, they are those of public.

    Raises:
        ConfigurationError: the backup has no such table.
    """
    known = {table.full_name: table for table in manifest.tables if table.kind == "table"}
    return tuple(_table(manifest.label, known, name) for name in names)


def as_restored(
    manifest: Manifest, catalog: Sequence[Fact], tables: Sequence[TableFacts]
) -> tuple[Manifest, tuple[Fact, ...]]:
    """Return manifest and catalog as they would be of a database with `tables` and no other rows.

    What a whole restore is compared with, a part can be compared with in this form.
    """
    facts = unfilled(catalog)
    if tables:
        facts = tuple(fact for fact in facts if not _is_foreign_key(fact))
    files = {k: v for k, v in manifest.files.items() if k != stored_name(manifest, HEADS)}
    update = {
        "tables": tuple(
            table if table in tables else table.model_copy(update=_NO_ROWS)
            for table in manifest.tables
        ),
        "sequences": (),
        "large_objects": LargeObjects(count=0, hash_sum="0", hash_xor="0"),
        # The heads are those of rows that are not there.
        "files": files,
    }
    return manifest.model_copy(update=update), facts


def unfilled(catalog: Sequence[Fact]) -> tuple[Fact, ...]:
    """Return the catalog as it is when no materialized view was filled.

    >>> unfilled([Fact("materialized view", "a.b", "owner x acl {} as SELECT")])[0].definition
    'owner x without data acl {} as SELECT'
    """
    return tuple(
        replace(fact, definition=fact.definition.replace(" acl ", " without data acl ", 1))
        if fact.kind == "materialized view" and " without data acl " not in fact.definition
        else fact
        for fact in catalog
    )


def size_bytes(manifest: Manifest, tables: Sequence[TableFacts]) -> int:
    """Return what a database with this part takes at most.

    How much of the source each table took is in no manifest: one with rows may be nearly all.
    """
    if any(table.rows for table in tables):
        return manifest.database_size_bytes
    empty = _EMPTY_DATABASE_BYTES + _EMPTY_TABLE_BYTES * len(manifest.tables)
    return min(empty, manifest.database_size_bytes)


def _table(label: str, known: dict[str, TableFacts], name: str) -> TableFacts:
    wanted = name if "." in name else f"public.{name}"
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)
    raise ConfigurationError(
        f'backup "{label}" has no table "{name}"',
        detail=f"It has {', '.join(sorted(known))}.",
        hint=f'Did you mean "{near[0]}"?' if near else None,
    )


def _is_foreign_key(fact: Fact) -> bool:
    return fact.kind == "constraint" and fact.definition.startswith("FOREIGN KEY")
