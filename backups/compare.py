"""Is a restored database what its backup's manifest says? Exact, with no tolerance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from psycopg import Connection

from backups import content, facts, fingerprint
from backups.collations import needed, order_notes, read_restored
from backups.manifest import (
    DatabaseProperties,
    LargeObjects,
    Manifest,
    SequenceFacts,
    TableFacts,
)
from backups.progress import OnProgress, Progress, unseen
from backups.properties import without_ours
from backups.snapshot import Relation, prepare_session, read_relations
from casedb.errors import DifferenceError, first_few

_ROLE_KINDS = ("role", "membership")


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what was found."""

    tables: int
    rows: int
    sequences: int
    catalog_rows: int
    large_objects: int
    differences: tuple[str, ...]
    notes: tuple[str, ...]


def different(message: str, differences: tuple[str, ...]) -> DifferenceError:
    """Return the error that lists differences, the first ones if there are many."""
    return DifferenceError(
        message,
        detail="\n".join(first_few(differences)),
        hint="Dump again and drill that one; until it passes, keep the last one that did.",
    )


def compare(
    connection: Connection[Any],
    manifest: Manifest,
    catalog: Sequence[fingerprint.Fact],
    *,
    with_roles: bool,
    on_progress: OnProgress = unseen,
) -> Comparison:
    """Compare the connected database with `manifest` and `catalog`.

    `with_roles`: whether the server's roles have to be the backup's as well. They belong to the
    server and not to the database, so a living server's may have changed since.
    """
    prepare_session(connection, content.SETTINGS)
    server = facts.read_server(connection)
    found, notes = [], []
    if server.major == manifest.server_major:
        on_progress(Progress("comparing the catalog"))
        found += compare_catalog(connection, manifest, catalog, with_roles=with_roles)
    else:
        # Each major version prints some definitions in its own way.
        notes.append(
            f"the catalog was not compared: the backup is of PostgreSQL {manifest.server_major}, "
            f"this is {server.major}"
        )
    found += compare_properties(manifest.properties, facts.read_properties(connection))
    notes += order_notes(needed(manifest), read_restored(connection))
    relations, unknown = _compared_relations(connection, manifest)
    notes += unknown
    tables = _read_tables(connection, relations, on_progress)
    moving = content.read_moving(connection)
    different, stale = compare_tables(
        content.pooled(manifest.tables, moving),
        content.pooled(tables, moving),
        _other_versions(connection, manifest),
    )
    found += different
    notes += stale
    found += compare_sequences(manifest.sequences, facts.read_sequences(connection))
    objects = content.read_large_objects(connection)
    found += compare_large_objects(manifest.large_objects, objects)
    return Comparison(
        tables=len(tables),
        rows=sum(t.rows for t in tables if t.kind == "table"),
        sequences=len(manifest.sequences),
        catalog_rows=len(catalog),
        large_objects=objects.count,
        differences=tuple(found),
        notes=tuple(notes),
    )


def compare_catalog(
    connection: Connection[Any],
    manifest: Manifest,
    catalog: Sequence[fingerprint.Fact],
    *,
    with_roles: bool,
) -> list[str]:
    """Return how the connected database's catalog differs from `catalog`."""
    found = fingerprint.read_fingerprint(connection, manifest.roles)
    if with_roles:
        return fingerprint.differences(catalog, found)
    return fingerprint.differences(
        [f for f in catalog if f.kind not in _ROLE_KINDS],
        [f for f in found if f.kind not in _ROLE_KINDS],
    )


def compare_properties(wanted: DatabaseProperties, found: DatabaseProperties) -> list[str]:
    """Return how the database itself differs: owner, encoding, locale, grants, settings."""
    lines = []
    for name in DatabaseProperties.model_fields:
        before, after = getattr(wanted, name), getattr(found, name)
        if name == "settings":
            before, after = without_ours(before), without_ours(after)
        # A version belongs to the machine's libraries and is a note, not a difference.
        if name != "collation_version" and before != after:
            lines.append(f"the database's {name} was {_plain(before)} and is {_plain(after)}")
    return lines


def compare_tables(
    wanted: Sequence[TableFacts],
    found: Sequence[TableFacts],
    other_versions: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[str], list[str]]:
    """Return (differences, notes) between the content of tables.

    A restore computes a materialized view anew from tables that are compared themselves. If its
    content differs, it was stale when it was dumped: worth a note, and no fault of the backup.
    `other_versions` are the words about each extension whose tables may have other columns here.
    """
    after = {t.full_name: t for t in found}
    before = {t.full_name: t for t in wanted}
    differences = [f"table {name} is missing" for name in before if name not in after]
    differences += [f"table {name} is not in the backup" for name in after if name not in before]
    notes = []
    for name in before.keys() & after.keys():
        was, now = before[name], after[name]
        if was == now:
            continue
        if was.kind == "matview":
            notes.append(f"materialized view {name} was stale when dumped; it is fresh now")
        elif was.rows != now.rows:
            differences.append(f"table {name} had {was.rows} rows and has {now.rows}")
        elif now.extension and now.extension in other_versions:
            notes.append(
                f"table {name} has {now.rows} rows as before; their content cannot be compared, "
                f"because {other_versions[now.extension]}"
            )
        else:
            differences.append(f"table {name} has {now.rows} rows as before, but other content")
    return sorted(differences), sorted(notes)


def compare_sequences(wanted: Sequence[SequenceFacts], found: Sequence[SequenceFacts]) -> list[str]:
    """Return which sequences are missing or would hand out a number again."""
    after = {s.full_name: s for s in found}
    lines = []
    for was in wanted:
        now = after.get(was.full_name)
        if now is None:
            lines.append(f"sequence {was.full_name} is missing")
        elif (now.next_value - was.next_value) * (1 if was.increment > 0 else -1) < 0:
            lines.append(
                f"sequence {was.full_name} would give {now.next_value} next, "
                f"before {was.next_value}"
            )
    return lines


def compare_large_objects(wanted: LargeObjects, found: LargeObjects) -> list[str]:
    """Return whether the large objects differ."""
    if wanted == found:
        return []
    if wanted.count != found.count:
        return [f"there were {wanted.count} large objects and are {found.count}"]
    return [f"the {found.count} large objects have other content"]


def _compared_relations(
    connection: Connection[Any], manifest: Manifest
) -> tuple[list[Relation], list[str]]:
    """Return what has rows to be compared, and notes on what the manifest says nothing of.

    An older casedb did not look at extensions' tables, and this server's version of an extension
    may have more of them.
    """
    known = {table.full_name for table in manifest.tables}
    found = [relation for relation in read_relations(connection) if relation.has_rows]
    unknown = [r for r in found if r.extension and r.full_name not in known]
    notes = [
        f"table {r.full_name} of extension {r.extension} was not compared: the backup does not "
        "tell what was in it"
        for r in unknown
    ]
    return [relation for relation in found if relation not in unknown], notes


def _other_versions(connection: Connection[Any], manifest: Manifest) -> dict[str, str]:
    here = {extension.name: extension.version for extension in facts.read_extensions(connection)}
    return {
        name: f"extension {name} was {version} and is {here[name]}"
        for name, version in ((e.name, e.version) for e in manifest.extensions)
        if here.get(name, version) != version
    }


def _read_tables(
    connection: Connection[Any], relations: Sequence[Relation], on_progress: OnProgress
) -> list[TableFacts]:
    columns = content.read_columns(connection, relations)
    found = []
    for done, relation in enumerate(relations):
        on_progress(Progress("comparing the tables", done, len(relations), "tables"))
        found.append(content.read_content(connection, relation, columns[relation.oid]))
    return found


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(" ".join(str(v) for v in dict(item).values()) for item in value) or "none"
    return "none" if value is None else str(value)
