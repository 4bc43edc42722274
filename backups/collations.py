"""Does text sort here as it did where it was dumped? The versions of collations tell.

Indexes are built anew by a restore. What can differ is what was accepted in one order and is to be
accepted in another, and what the application shows in order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import Connection, sql

from backups import facts
from backups.manifest import CollationFacts, Manifest
from casedb.database import scalar
from casedb.sqlfiles import read_sql

_OF_THE_DATABASE = '"default"'
"""As PostgreSQL calls the collation of all that names none."""


@dataclass(frozen=True)
class Collations:
    """What a server or database has of the collations of a backup; of others it is not known."""

    versions: Mapping[str, str | None] = field(default_factory=dict)
    """By name, the version of what sorts by it here; None if it has none."""
    missing: frozenset[str] = frozenset()


def needed(manifest: Manifest) -> tuple[CollationFacts, ...]:
    """Return the collations that the backup relies on, that of the database itself first."""
    properties = manifest.properties
    is_libc = properties.locale_provider == "libc"
    own = CollationFacts(
        name=_OF_THE_DATABASE,
        provider=properties.locale_provider,
        locale=properties.collate if is_libc else properties.locale,
        version=properties.collation_version,
    )
    return own, *manifest.collations


def read_restored(connection: Connection[Any]) -> Collations:
    """Return those of the connected database, which was just restored.

    The session must have content.SETTINGS.
    """
    own = facts.read_properties(connection).collation_version
    others = {found.name: found.actual_version for found in facts.read_collations(connection)}
    return Collations({_OF_THE_DATABASE: own, **others})


def read_server(connection: Connection[Any], manifest: Manifest) -> Collations:
    """Return those that a database made on this server would have; only a superuser may ask."""
    encoding = manifest.properties.encoding
    # In a database of another encoding, no locale of this one can be tried.
    can_try = scalar(connection, "SELECT getdatabaseencoding()") == encoding
    versions: dict[str, str | None] = {}
    missing = set()
    for wanted in needed(manifest):
        if wanted.provider is None:
            continue
        try:
            if wanted.locale is None:
                there, version = _server_has(connection, wanted.name, encoding)
            elif can_try:
                there, version = True, _version_of(connection, wanted.provider, wanted.locale)
            else:
                continue
        except psycopg.errors.InvalidParameterValue:
            # So PostgreSQL says that there is no such locale.
            there, version = False, None
        except psycopg.Error:
            continue
        if there:
            versions[wanted.name] = version
        else:
            missing.add(wanted.name)
    return Collations(versions, frozenset(missing))


def order_notes(wanted: Iterable[CollationFacts], here: Collations) -> list[str]:
    """Return what is worth a note where text may be sorted in another way than before.

    >>> order_notes([CollationFacts(name="german", version="1")], Collations({"german": "1"}))
    []
    """
    wanted = list(wanted)
    other = [
        f"{_named(c)} had version {_before(c)}, here it has {here.versions[c.name] or 'none'}"
        for c in wanted
        if c.name in here.versions and _differs(c, here.versions[c.name])
    ]
    missing = [_named(c) for c in wanted if c.name in here.missing]
    notes = []
    if other:
        notes.append(
            f"text may be sorted in another way here: {'; '.join(other)}. Indexes are built anew "
            "and need neither REINDEX nor REFRESH VERSION; look at what the application shows in "
            "order, and at unique constraints, range partitions and CHECKs that compare text"
        )
    if missing:
        notes.append(
            f"not on this server, so what relies on it cannot be restored: {', '.join(missing)}. "
            "Install its locale; one that is not made by the backup also wants "
            "SELECT pg_import_system_collations('pg_catalog') in template0"
        )
    return notes


def _server_has(connection: Connection[Any], name: str, encoding: str) -> tuple[bool, str | None]:
    """Return whether the server itself has the collation, and the version of what sorts by it."""
    words = {"name": name, "encoding": encoding}
    row = connection.execute(read_sql("catalog/restore-collation.sql"), words).fetchone()
    return row or (False, None)


def _version_of(connection: Connection[Any], provider: str, locale: str) -> str | None:
    """Return the version of what sorts by a locale, for which PostgreSQL has no function.

    A collation can be asked for it, so one is made, in a transaction that is rolled back.
    """
    with connection.transaction(force_rollback=True):
        connection.execute(
            sql.SQL("CREATE COLLATION pg_temp.casedb (provider = {}, locale = {})").format(
                sql.Identifier(provider), sql.Literal(locale)
            )
        )
        row = connection.execute(
            "SELECT pg_collation_actual_version('pg_temp.casedb'::regcollation)"
        ).fetchone()
    return row[0] if row else None


def _differs(wanted: CollationFacts, here: str | None) -> bool:
    # Rows may have been accepted by the one that it was made with, or by what sorted in the end.
    before = {wanted.version, wanted.actual_version} - {None} or {None}
    return before != {here}


def _before(wanted: CollationFacts) -> str:
    in_the_end = wanted.actual_version
    if in_the_end in (None, wanted.version):
        return wanted.version or "none"
    return f"{wanted.version or 'none'} ({in_the_end} where it was dumped)"


def _named(collation: CollationFacts) -> str:
    if collation.name == _OF_THE_DATABASE:
        return f"the database's collation ({collation.locale})"
    return f"collation {collation.name}"
