"""Which large tables of a dump are read by sessions of ours, and what these are told.

pg_dump reads a table over one connection and as text, and the one server process that makes text of
its rows is what a dump waits for. Most tables are read faster, and are smaller, in COPY's binary
format. And of a large table, several sessions can each read every second, third... range of its
pages; put in the order of the ranges, their rows are what one would have read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from psycopg import Connection

from backups import column_order, copy_binary
from backups.streams import compressed
from casedb.sqlfiles import read_sql

LARGE_FROM_BYTES = 16 << 20
"""Chosen, and not measured: below it, to start the sessions takes most of what they would save."""
RANGE_BYTES = 4 << 20
"""Of a table's size. What is read ahead is kept in memory, so not more; and each range is a
statement, so not less."""
SAMPLE_BYTES = 512 << 10
"""By which of its rows the format of a table is chosen."""
WORTH_ITS_SPEED = 0.05
"""How much larger rows in binary may be: the server makes them in two thirds of the time."""
ORDERED_FROM_BYTES = 128 << 20
"""From here on, to look for the best order of the columns takes less than a tenth of a dump."""
ORDER_BYTES = 128 << 10
"""Of rows, by which the order is chosen."""


@dataclass(frozen=True)
class LargeTable:
    """A table whose rows sessions of ours read."""

    schema_name: str
    name: str
    pages: int
    size_bytes: int
    full_name: str
    """Quoted, as the next ones are."""
    columns: tuple[str, ...]
    is_binary: bool = False
    """Whether its rows are in COPY's binary format, and not in text as pg_dump writes them."""

    @property
    def copy_in(self) -> str:
        """The statement that loads its rows, as pg_dump writes it but for the format."""
        binary = " WITH (FORMAT binary)" if self.is_binary else ""
        return f"COPY {self.full_name} ({self.column_list}) FROM stdin{binary};\n"

    @property
    def copy_out(self) -> str:
        """How the statement begins that reads all of its rows; `to_stdout` ends it."""
        return f"COPY {self.full_name} ({self.column_list})"

    @property
    def copy_pages(self) -> str:
        """How the statement begins that reads the rows of a range; one of `conditions` follows."""
        return f"COPY (SELECT {self.column_list} FROM ONLY {self.full_name} WHERE ctid"

    @property
    def to_stdout(self) -> str:
        """How both of them end."""
        return f"TO STDOUT{' (FORMAT binary)' if self.is_binary else ''};"

    @property
    def pattern(self) -> str:
        """What pg_dump's options know it by."""
        quoted = (name.replace('"', '""') for name in (self.schema_name, self.name))
        return ".".join(f'"{name}"' for name in quoted)

    @property
    def column_list(self) -> str:
        """Its columns, as statements name them."""
        return ", ".join(self.columns)


def read_large_tables(
    connection: Connection[Any], from_bytes: int, *, binary: bool
) -> list[LargeTable]:
    """Return the tables of `from_bytes` and more that sessions of ours can read, by their names.

    With `binary`, those that are as small so are to be read in COPY's binary format.

    Tables with names beyond ASCII are left to pg_dump, which alone knows in which encoding it puts
    them into the archive.
    """
    found = []
    rows = connection.execute(read_sql("catalog/backup-large-tables.sql"), (from_bytes,))
    for schema, name, pages, size_bytes, full_name, columns, is_plain in rows:
        table = LargeTable(schema, name, pages, size_bytes, full_name, tuple(columns))
        if (table.copy_in + table.pattern).isascii():
            found.append(in_its_format(connection, table) if binary and is_plain else table)
    return found


def in_its_format(connection: Connection[Any], table: LargeTable) -> LargeTable:
    """Return `table` in COPY's binary format, if the rows in its middle are as small in that.

    Mostly they are smaller: a hash has half of the bytes, and what is random in an id as well. But
    text that repeats an id finds it again in text only. Without rows nothing is known. The columns
    of a table in binary are in the order in which those rows are smallest.
    """
    in_binary = replace(table, is_binary=True)
    rows = _sample(connection, in_binary)
    some = list(copy_binary.fields_of(rows, ORDER_BYTES))
    if some and table.size_bytes >= ORDERED_FROM_BYTES:
        order = column_order.smallest_order(some)
        in_binary = replace(in_binary, columns=tuple(table.columns[number] for number in order))
        rows = _sample(connection, in_binary)
    size_in_text = len(compressed(_sample(connection, table)))
    return in_binary if len(compressed(rows)) < size_in_text * (1 + WORTH_ITS_SPEED) else table


def _sample(connection: Connection[Any], table: LargeTable) -> bytes:
    # By what the columns take in the table, before any of them is fetched: a few rows can be large.
    width = " + ".join(f"coalesce(pg_column_size({column}), 0)" for column in table.columns)
    columns = table.column_list
    total = next(name for at in count() if (name := f'"bytes {at}"') not in table.columns)
    pages = max(1, SAMPLE_BYTES * table.pages // max(1, table.size_bytes))
    begin = max(0, table.pages - pages) // 2
    statement = (
        f"COPY (SELECT {columns} FROM (SELECT {columns},"
        f" sum({width}) OVER (ROWS UNBOUNDED PRECEDING) AS {total}"
        f" FROM ONLY {table.full_name}"
        f" WHERE ctid >= '({begin},0)' AND ctid < '({begin + pages},0)') AS s"
        f" WHERE {total} < {SAMPLE_BYTES}) {table.to_stdout}"
    )
    with connection.cursor().copy(statement.encode()) as copy:
        return b"".join(copy)


def conditions(table: LargeTable, range_bytes: int = RANGE_BYTES) -> Iterator[str]:
    """Yield what follows "ctid" for each range, which together are all pages.

    The last one is open: no row that the snapshot sees lies behind the pages that were counted, but
    nobody needs to rely on that.

    >>> list(conditions(LargeTable("s", "t", 5, 80, "s.t", ("c",)), 32))
    [">= '(0,0)' AND ctid < '(2,0)'", ">= '(2,0)' AND ctid < '(4,0)'", ">= '(4,0)'"]
    """
    pages_each = max(1, range_bytes * table.pages // max(1, table.size_bytes))
    begins = range(0, max(1, table.pages), pages_each)
    for begin in begins[:-1]:
        yield f">= '({begin},0)' AND ctid < '({begin + pages_each},0)'"
    yield f">= '({begins[-1]},0)'"
