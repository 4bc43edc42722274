"""How a table in one database differs from the same table in another, row by row."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import Connection

from backups import content
from backups.content import Column
from backups.manifest import TableFacts
from backups.snapshot import Relation, prepare_session, read_relations
from casedb.sqlfiles import read_sql

SHOWN = 100
"""So many rows are named; all are counted."""
_FETCHED = 10_000

Key = tuple[str, ...]
Row = tuple[Key, int]
"""A row's primary key, as texts, and the hash of its content."""


class Difference(StrEnum):
    """How one row differs."""

    ONLY_IN_BACKUP = "only in the backup"
    ONLY_IN_LIVE = "only in the live database"
    CHANGED = "changed"


@dataclass(frozen=True)
class TableDiff:
    """How one table of the live database differs from the backup's."""

    table: str
    only_in_backup: int
    only_in_live: int
    changed: int
    shown: tuple[tuple[Difference, Key], ...]
    note: str | None = None
    """Why it could not be compared in whole."""
    not_compared: str | None = None
    """Why it could not be compared at all; then the numbers say nothing."""

    @property
    def is_equal(self) -> bool:
        """Whether no difference was found."""
        found = self.only_in_backup or self.only_in_live or self.changed
        return not (found or self.note or self.not_compared)


def diff_table(copy: Connection[Any], live: Connection[Any], table: TableFacts) -> TableDiff:
    """Compare `table` as it is in `copy` with the one in `live`, by primary key.

    Both are read in key order, so memory holds two rows; the servers sort.
    """
    for connection in (copy, live):
        prepare_session(connection, content.SETTINGS)
    here, there = (_relation(connection, table) for connection in (copy, live))
    if here is None or there is None:
        where = "live database" if here else "backup"
        return _not_compared(table, f"there is no such table in the {where}")
    if root := content.read_moving(copy).get(table.full_name):
        reason = f"a restore spreads the rows of {'.'.join(root)} anew over its partitions"
        return _not_compared(table, reason)
    key = [name for (name,) in copy.execute(read_sql("catalog/primary-key.sql"), _name(table))]
    ours, theirs = _live_columns(copy, here), _live_columns(live, there)
    common = [column for column in ours if column in theirs]
    apart = sorted({c.name for c in ours} ^ {c.name for c in theirs})
    if not key or not set(key) <= {column.name for column in common}:
        return _not_compared(table, "it has no primary key to compare by")
    with copy.transaction(), live.transaction():
        found = merged(_rows(copy, here, key, common), _rows(live, there, key, common))
        counts = dict.fromkeys(Difference, 0)
        shown: list[tuple[Difference, Key]] = []
        for difference, row in found:
            counts[difference] += 1
            if len(shown) < SHOWN:
                shown.append((difference, row))
    return TableDiff(
        table.full_name,
        counts[Difference.ONLY_IN_BACKUP],
        counts[Difference.ONLY_IN_LIVE],
        counts[Difference.CHANGED],
        tuple(shown),
        f"not compared, being in one of them only: {', '.join(apart)}" if apart else None,
    )


def merged(backup: Iterable[Row], live: Iterable[Row]) -> Iterator[tuple[Difference, Key]]:
    """Yield the differences between two lists of rows, both sorted by key.

    >>> [d.value for d, _ in merged([(("a",), 1), (("b",), 2)], [(("b",), 3), (("c",), 4)])]
    ['only in the backup', 'changed', 'only in the live database']
    """
    left, right = iter(backup), iter(live)
    ours, theirs = next(left, None), next(right, None)
    while ours or theirs:
        if ours and (not theirs or ours[0] < theirs[0]):
            yield Difference.ONLY_IN_BACKUP, ours[0]
            ours = next(left, None)
        elif theirs and (not ours or theirs[0] < ours[0]):
            yield Difference.ONLY_IN_LIVE, theirs[0]
            theirs = next(right, None)
        elif ours and theirs:
            if ours[1] != theirs[1]:
                yield Difference.CHANGED, ours[0]
            ours, theirs = next(left, None), next(right, None)


def _not_compared(table: TableFacts, reason: str) -> TableDiff:
    return TableDiff(table.full_name, 0, 0, 0, (), not_compared=reason)


def _name(table: TableFacts) -> tuple[str, str]:
    return table.schema_name, table.name


def _relation(connection: Connection[Any], table: TableFacts) -> Relation | None:
    return next(
        (r for r in read_relations(connection) if (r.schema_name, r.name) == _name(table)), None
    )


def _live_columns(connection: Connection[Any], relation: Relation) -> Sequence[Column]:
    return content.read_columns(connection, [relation])[relation.oid]


def _rows(
    connection: Connection[Any], relation: Relation, key: Sequence[str], columns: Sequence[Column]
) -> Iterator[Row]:
    with connection.cursor("rows") as cursor:
        cursor.itersize = _FETCHED
        for *keys, digest in cursor.execute(content.row_query(relation, key, columns)):
            yield tuple(keys), digest
