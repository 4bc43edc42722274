"""Which large tables of a dump are read by sessions of ours, and what these are told.

pg_dump reads a table over one connection and as text, and the one server process that makes text of
its rows is what a dump waits for. Most tables are read faster, and are smaller, in COPY's binary
format. And of a large table, several sessions can each read every second, third... range of its
pages; put in the order of the ranges, their rows are what one would have read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from itertools import count
from typing import Any

from psycopg import Connection

from backups import column_order, copy_binary, copy_text
from backups.streams import compressed
from casedb.sqlfiles import read_sql

LARGE_FROM_BYTES = 16 << 20
"""Chosen, and not measured: below it, to start the sessions takes most of what they would save."""
RANGE_BYTES = 4 << 20
"""Of a table's size. What is read ahead is kept in memory, so not more; and each range is a
statement, so not less."""
SAMPLE_BYTES = 512 << 10
"""By which of its rows the format of a table is chosen, and told how far it is read."""
TEXT_RATIO = 4 / 3
"""How many bytes of text come of each that a table takes, if it is not measured: of case data."""
MEASURED = 8
"""So many tables at most, the largest, are measured that need no sample for their format: it takes
10 to 30 ms each, mostly while pg_dump reads the catalog."""
WORTH_ITS_SPEED = 0.05
"""How much larger rows in binary may be: the server makes them in two thirds of the time."""
ORDERED_FROM_BYTES = 64 << 20
"""Chosen: a table of that size is dumped in most of a second, and its best order found in a tenth
or two."""
ORDER_BYTES = 128 << 10
"""Of rows, by which the order is chosen."""
WORTH_ACCELERATION = 0.02
"""How much larger rows of the sample may be that are compressed for less work. A sample makes it
look worse than it is: of a log it is nearly 2 % larger and all of its rows hardly, of the cases it
is 3 % and all of them 1 % (`casedb bench compression`)."""


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
    is_plain: bool = False
    """Whether COPY's binary format of all of its columns means the same in any database."""
    is_binary: bool = False
    """Whether its rows are in COPY's binary format, and not in text as pg_dump writes them."""
    is_ordered: bool = False
    """Whether its columns are in another order than the table's, which pg_dump does not know."""
    is_accelerated: bool = False
    """Whether its rows are hardly larger when matches are looked for at two of three bytes only."""
    measured_ratio: float | None = None
    """How many bytes of rows come of each that it takes, by a sample; None without one."""

    @property
    def ratio(self) -> float:
        """About how many bytes of rows come of each that it takes."""
        return self.measured_ratio or TEXT_RATIO

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


def read_large_tables(connection: Connection[Any], from_bytes: int) -> list[LargeTable]:
    """Return the tables of `from_bytes` and more that sessions of ours can read, by their names.

    Tables with names beyond ASCII are left to pg_dump, which alone knows in which encoding it puts
    them into the archive.
    """
    rows = connection.execute(read_sql("catalog/backup-large-tables.sql"), (from_bytes,))
    tables = [
        LargeTable(schema, name, pages, size_bytes, full_name, tuple(columns), is_plain)
        for schema, name, pages, size_bytes, full_name, columns, is_plain in rows
    ]
    return [table for table in tables if (table.copy_in + table.pattern).isascii()]


def in_its_format(connection: Connection[Any], table: LargeTable) -> LargeTable:
    """Return `table` in COPY's binary format, if the rows in its middle are as small in that.

    As it is, if that format of its columns is not plain.

    Mostly they are smaller: a hash has half of the bytes, and what is random in an id as well. But
    text that repeats an id finds it again in text only. Without rows nothing is known. The columns
    of a large one are in the order in which those rows are smallest, in either format. In binary
    they are compressed faster, if that makes them hardly larger.
    """
    if not table.is_plain:
        return table
    in_binary = in_its_order(connection, replace(table, is_binary=True))
    rows, in_text = (_sample(connection, each) for each in (in_binary, table))
    size = len(compressed(rows))
    if size < len(compressed(in_text)) * (1 + WORTH_ITS_SPEED):
        accelerated = len(compressed(rows, accelerated=True))
        is_accelerated = accelerated < size * (1 + WORTH_ACCELERATION)
        return replace(_measured(in_binary, len(rows)), is_accelerated=is_accelerated)
    return in_its_order(connection, _measured(table, len(in_text)))


def in_its_order(connection: Connection[Any], table: LargeTable) -> LargeTable:
    """Return `table` with its columns in the order in which the rows in its middle are smallest.

    As it is, if it is not large enough to look for one.
    """
    if table.size_bytes < ORDERED_FROM_BYTES:
        return table
    form = copy_binary if table.is_binary else copy_text
    rows = list(form.fields_of(_sample(connection, table), ORDER_BYTES))
    order = column_order.smallest_order(rows, form.rows_of) if rows else []
    if order in ([], sorted(order)):
        return table
    return replace(table, columns=tuple(table.columns[at] for at in order), is_ordered=True)


def measured(
    connection: Connection[Any], tables: Sequence[LargeTable], *, row_head_bytes: int = 0
) -> list[LargeTable]:
    """Return `tables`, the largest that are not measured by a sample of their text.

    In which `row_head_bytes` come with each row. As they are where the session speaks another
    encoding than the database has: what is in one need not exist in the other.
    """
    if connection.info.parameter_status("server_encoding") != "UTF8":
        return list(tables)
    unknown = [table for table in tables if table.measured_ratio is None]
    found = {}
    for table in nlargest(MEASURED, unknown, key=lambda table: table.size_bytes):
        rows = _sample(connection, table)
        found[table] = _measured(table, len(rows) + rows.count(b"\n") * row_head_bytes)
    return [found.get(table, table) for table in tables]


def _measured(table: LargeTable, came_bytes: int) -> LargeTable:
    # A sample is of pages that take so much, with all that is theirs: also what rows were deleted.
    # Of the longest rows it is cut off by what they take, and those deleted are not known of.
    of_bytes = min(SAMPLE_BYTES, max(1, table.size_bytes))
    return replace(table, measured_ratio=came_bytes / of_bytes)


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
