"""The catalog as a list of facts, and the difference of two such lists in words.

What counts as a fact is in sql/catalog/backup-catalog.sql, and in backup-catalog-other.sql.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from backups.definitions import settled
from backups.manifest import RoleFacts
from casedb.sqlfiles import read_sql

_SHOWN_CHARS = 160
_PARTS = ("catalog/backup-catalog.sql", "catalog/backup-catalog-other.sql")
PARTS = "fingerprint"
"""The kind of the fact that tells of the second part."""
SECOND_PART = frozenset(
    (
        PARTS,
        "access method",
        "array domain",
        "cast",
        "collation",
        "column statistics",
        "conversion",
        "foreign table options",
        "foreign-data wrapper",
        "grant",
        "language",
        "large objects",
        "operator",
        "operator class",
        "operator family",
        "publication details",
        "security label",
        "server",
        "subscription",
        "text search configuration",
        "text search dictionary",
        "text search parser",
        "text search template",
        "transform",
        "user mapping",
    )
)
"""The kinds of facts of which a backup of before cannot tell anything."""


@dataclass(frozen=True, order=True)
class Fact:
    """One thing in the catalog: what it is, its name, and everything said about it."""

    kind: str
    identity: str
    definition: str


def read_fingerprint(connection: Connection[Any], roles: Iterable[RoleFacts]) -> tuple[Fact, ...]:
    """Return the catalog of the connected database, and what the server says of `roles`.

    The session must have content.SETTINGS: an empty search_path, above all.
    """
    names = [role.name for role in roles]
    rows = [row for part in _PARTS for row in connection.execute(read_sql(part), {"roles": names})]
    return tuple(sorted(Fact(kind, name, settled(text)) for kind, name, text in rows))


def to_bytes(facts: Sequence[Fact]) -> bytes:
    """Return the facts as they lie in catalog.json: one line each, for people with grep."""
    lines = [json.dumps([f.kind, f.identity, f.definition], ensure_ascii=False) for f in facts]
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode()


def from_bytes(data: bytes) -> tuple[Fact, ...]:
    """Return the facts in the content of a catalog.json.

    Raises:
        ValueError: if it is none.
    """
    try:
        return tuple(Fact(*row) for row in json.loads(data))
    except TypeError as error:
        raise ValueError(str(error)) from error


def sha256(facts: Sequence[Fact]) -> str:
    """Return the fingerprint itself."""
    return hashlib.sha256(to_bytes(facts)).hexdigest()


def differences(wanted: Sequence[Fact], found: Sequence[Fact]) -> list[str]:
    """Return what is missing, what is there besides, and what changed, a line each.

    `found` is as this version reads it. `wanted` may lie in a backup of an earlier one, which knew
    fewer things that PostgreSQL prints in another way after a restore. What `wanted` is too old to
    tell of is not compared.
    """
    if not any(fact.kind == PARTS for fact in wanted):
        found = [fact for fact in found if fact.kind not in SECOND_PART]
    before, after = _by_name(wanted), _by_name(found)
    lines = []
    for key in sorted(before.keys() | after.keys()):
        name = " ".join(key)
        if key not in after:
            lines.append(f"{name} is missing")
        elif key not in before:
            lines.append(f"{name} is not in the backup")
        elif sorted(map(settled, before[key])) != sorted(after[key]):
            was, now = _where_they_part(" ".join(before[key]), " ".join(after[key]))
            lines.append(f"{name} was: {was}; is: {now}")
    return lines


def _by_name(facts: Sequence[Fact]) -> dict[tuple[str, str], list[str]]:
    grouped: dict[tuple[str, str], list[str]] = {}
    for fact in facts:
        grouped.setdefault((fact.kind, fact.identity), []).append(fact.definition)
    return grouped


def _where_they_part(was: str, now: str) -> tuple[str, str]:
    """Return both texts, from a few words before they differ if they are long."""
    same = next((i for i, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 0)
    start = max(0, same - 40)
    return tuple(_shown(text, start) for text in (was, now))  # type: ignore[return-value]


def _shown(text: str, start: int) -> str:
    part = text[start : start + _SHOWN_CHARS]
    head, tail = "…" if start else "", "…" if start + _SHOWN_CHARS < len(text) else ""
    return head + " ".join(part.split()) + tail
