"""Which tables of a dump are read in ranges of pages, by several sessions, and in which ranges.

pg_dump reads a table over one connection, and the one server process that turns its rows into text
is what a dump waits for. Of a large table, several can do that at once: each reads every second,
third... range of its pages, and put in the order of the ranges their rows are what pg_dump would
have read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from casedb.sqlfiles import read_sql

LARGE_FROM_BYTES = 16 << 20
"""Chosen, and not measured: below it, to start the sessions takes most of what they would save."""
RANGE_BYTES = 4 << 20
"""Of a table's size. What is read ahead is kept in memory, so not more; and each range is a
statement, so not less."""


@dataclass(frozen=True)
class LargeTable:
    """A table that is read in ranges."""

    schema_name: str
    name: str
    pages: int
    size_bytes: int
    full_name: str
    """Quoted, as the next two are."""
    columns: tuple[str, ...]

    @property
    def copy_in(self) -> str:
        """The statement that loads its rows, as pg_dump writes it."""
        return f"COPY {self.full_name} ({', '.join(self.columns)}) FROM stdin;\n"

    @property
    def copy_out(self) -> str:
        """How the statement that reads rows begins, up to which pages."""
        return f"COPY (SELECT {', '.join(self.columns)} FROM ONLY {self.full_name} WHERE ctid"

    @property
    def pattern(self) -> str:
        """What pg_dump's options know it by."""
        quoted = (name.replace('"', '""') for name in (self.schema_name, self.name))
        return ".".join(f'"{name}"' for name in quoted)


def read_large_tables(connection: Connection[Any], from_bytes: int) -> list[LargeTable]:
    """Return the tables of `from_bytes` and more that can be read in ranges, by their names.

    Those with names beyond ASCII are left to pg_dump, which alone knows in which encoding it puts
    them into the archive.
    """
    rows = connection.execute(read_sql("catalog/backup-large-tables.sql"), (from_bytes,))
    tables = [
        LargeTable(schema, name, pages, size_bytes, full_name, tuple(columns))
        for schema, name, pages, size_bytes, full_name, columns in rows
        if columns
    ]
    return [table for table in tables if (table.copy_in + table.pattern).isascii()]


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
