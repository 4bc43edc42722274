"""What a migration throws away: by its text, or found in the catalog before its commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from casedb.database import scalar
from casedb.migrations.files import MigrationFile
from casedb.migrations.statements import LossKind, announced_losses
from casedb.sqlfiles import read_sql


@dataclass(frozen=True)
class TableSize:
    """How much a table holds."""

    name: str
    rows: int | None
    """Estimated by the server; None where nobody has counted yet."""
    size_bytes: int
    """Of the rows alone: 0 means that there never was one."""
    total_bytes: int
    """Including its indexes."""


@dataclass(frozen=True)
class Loss:
    """Data that a migration or its rollback throws away."""

    migration: str
    kind: LossKind
    table: str
    column: str | None
    rows: int | None
    """In the table, as the server estimates it; None where nobody has counted yet."""
    size_bytes: int

    def __str__(self) -> str:
        what = f"column {self.table}.{self.column}" if self.column else f"table {self.table}"
        rows = "an unknown number of rows" if self.rows is None else f"about {self.rows} rows"
        if self.kind is LossKind.DELETE:
            rows = "some of " + rows
        return f"{self.migration}: {self.kind} of {what} ({rows}, {_size(self.size_bytes)})"


@dataclass(frozen=True)
class Gone:
    """Something that is thrown away, whether or not there was data in it."""

    migration: str
    kind: LossKind
    oid: int
    column: str | None = None


@dataclass(frozen=True)
class Table:
    """One table as the catalog has it."""

    oid: int
    name: str
    filenode: int | None
    columns: Mapping[int, tuple[str, str]]
    """Number of the column: its name and type. The number outlives every renaming."""


class LossAheadError(Exception):
    """Losses that nobody has agreed to yet; what was about to happen was not done."""

    def __init__(self, losses: Sequence[Loss]) -> None:
        super().__init__("; ".join(map(str, losses)))
        self.losses = tuple(losses)


def read_sizes(
    connection: Connection[Any], oids: Sequence[int] | None = None
) -> dict[int, TableSize]:
    """Return the size of the application's tables (of those in `oids`, or of all), by their oid.

    Waits for whoever holds one of them exclusively.
    """
    query = read_sql("catalog/migration-table-sizes.sql")
    rows = connection.execute(query, {"oids": None if oids is None else list(oids)}).fetchall()
    return {oid: TableSize(*rest) for oid, *rest in rows}


def read_tables(connection: Connection[Any]) -> dict[int, Table]:
    """Return every table of the application and its columns, by the table's oid."""
    rows = connection.execute(read_sql("catalog/migration-columns.sql")).fetchall()
    return {
        oid: Table(
            oid,
            name,
            filenode,
            {
                number: (column, type_)
                for number, column, type_ in zip(
                    numbers or (), names or (), types or (), strict=True
                )
            },
        )
        for oid, name, filenode, numbers, names, types in rows
    }


def announced(
    connection: Connection[Any], files: Sequence[MigrationFile], direction: str
) -> list[Loss]:
    """Return what the texts of `files` announce that they throw away.

    A table that does not exist yet, or never had a row, has nothing to lose.
    """
    named = [
        Gone(file.id, loss.kind, oid, loss.column)
        for file in files
        for statement in (file.statements if direction == "apply" else file.undoing)
        for loss in announced_losses(statement)
        if (oid := scalar(connection, "SELECT to_regclass(%s)::oid::bigint", loss.table))
    ]
    return weigh(connection, named)


def compare(
    file: MigrationFile,
    before: Mapping[int, Table],
    after: Mapping[int, Table],
    deleted_from: Sequence[int],
) -> list[Gone]:
    """Return what is gone between `before` and `after`: pure, the truth behind every text.

    `deleted_from` are the tables that lost rows to a DELETE.
    """
    found = []
    for oid, table in before.items():
        now = after.get(oid)
        if now is None:
            found.append(Gone(file.id, LossKind.DROP_TABLE, oid))
            continue
        for number, (column, type_) in table.columns.items():
            if number not in now.columns:
                found.append(Gone(file.id, LossKind.DROP_COLUMN, oid, column))
            elif now.columns[number][1] != type_:
                found.append(Gone(file.id, LossKind.CHANGE_TYPE, oid, column))
        if oid in deleted_from:
            found.append(Gone(file.id, LossKind.DELETE, oid))
    return found


def gone_since(
    connection: Connection[Any], file: MigrationFile, before: Mapping[int, Table]
) -> list[Gone]:
    """Return what this transaction has thrown away since `before`, whatever the text said."""
    after = read_tables(connection)
    rows = connection.execute(read_sql("catalog/migration-deletions.sql")).fetchall()
    found = compare(file, before, after, [oid for oid, _ in rows])
    for oid in before.keys() & after.keys():
        # A new file that is empty: TRUNCATE, or a table that never had a row.
        if before[oid].filenode != after[oid].filenode and not scalar(
            connection, "SELECT pg_relation_size(%s::bigint::oid)", oid
        ):
            found.append(Gone(file.id, LossKind.TRUNCATE, oid))
    return found


def weigh(connection: Connection[Any], gone: Sequence[Gone]) -> list[Loss]:
    """Return those of `gone` that held data, and how much; asked while it is still there."""
    if not gone:
        return []
    sizes = read_sizes(connection, [one.oid for one in gone])
    return [
        Loss(one.migration, one.kind, size.name, one.column, size.rows, size.size_bytes)
        for one in gone
        if (size := sizes.get(one.oid)) and size.size_bytes
    ]


def _size(size_bytes: int) -> str:
    mebibytes = size_bytes / 1024 / 1024
    return f"{mebibytes:.1f} MiB" if mebibytes >= 1 else f"{size_bytes // 1024} KiB"
