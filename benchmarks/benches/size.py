"""What a log entry takes in a backup, and how much of that no program can make smaller.

A hash and the random part of an id do not compress. What xz makes of the entries at its best, for
many times the work that a dump can afford, and each column by itself, which rows do not allow,
bound what a better compressor could win. gzip has the rows as text, as the plan's script gives them
to it; all others in COPY's binary format, with the columns in the order in which a dump has them.
"""

import gzip
import lzma
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from psycopg import Connection, sql

from backups import copy_binary, copy_text
from backups.column_order import smallest_order
from backups.large_tables import ORDER_BYTES
from backups.streams import Compressed
from benchmarks.bench import Bench, Found
from benchmarks.figures import Figure
from benchmarks.site import Site
from casedb.database import connect

ENTRIES = 300_000
_HIGH = 9
_GZIP = 6
"""What the program takes if it is not told."""
_STRONGEST = "by xz at its best"


class _Bytes:
    """Bytes, to be read once."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read(self, size: int = -1) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        return bytes(taken)


def columns_of(connection: Connection[Any], table: str) -> list[str]:
    """Return the names of a table's columns, in its own order."""
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass"
        " AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (f"public.{table}",),
    )
    return [name for (name,) in found]


def rows_of(connection: Connection[Any], table: str, columns: list[str], *, form: str) -> bytes:
    """Return these columns of the first ENTRIES rows as COPY writes them in this format."""
    query = sql.SQL("COPY (SELECT {} FROM ONLY public.{} LIMIT {}) TO STDOUT (FORMAT {})").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.Identifier(table),
        sql.Literal(ENTRIES),
        sql.Identifier(form),
    )
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        return b"".join(map(bytes, copy))


def dumped_rows(connection: Connection[Any], table: str, *, form: str = "binary") -> bytes:
    """Return the first ENTRIES rows with the columns in the order in which a dump has them."""
    names = columns_of(connection, table)
    as_it_is = rows_of(connection, table, names, form=form)
    written = copy_binary if form == "binary" else copy_text
    order = smallest_order(list(written.fields_of(as_it_is, ORDER_BYTES)), written.rows_of)
    return rows_of(connection, table, [names[column] for column in order], form=form)


def ours(data: bytes, level: int | None = None, *, accelerated: bool = True) -> int:
    """Return how long `data` are as a dump compresses a log, at this level if it is told one."""
    reader, size_bytes = Compressed(_Bytes(data), level, lambda: accelerated), 0
    while chunk := reader.read():
        size_bytes += len(chunk)
    return size_bytes


def gzipped(data: bytes) -> int:
    """Return how long `data` are as the plan's script compresses them."""
    return len(gzip.compress(data, compresslevel=_GZIP))


def strongest(data: bytes) -> int:
    """Return how long `data` are by xz at its best, which codes each bit by what came before."""
    return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def work_of(compressed: Callable[[bytes], int], data: bytes) -> tuple[int, float]:
    """Return how long `data` are compressed, and in how many seconds of processor time."""
    began = time.process_time()
    return compressed(data), time.process_time() - began


def measure(site: Site) -> Found:
    """Measure."""
    with connect(site.filled.target, purpose="bench") as connection:
        names = columns_of(connection, "case_logs")
        read = partial(rows_of, connection, "case_logs")
        text, natural = (read(names, form=form) for form in ("text", "binary"))
        whole = dumped_rows(connection, "case_logs")
        high = partial(ours, level=_HIGH)
        alone = {name: high(read([name], form="binary")) for name in names}
    entries = text.count(b"\n")
    packed, packing_s = work_of(gzipped, text)
    ways: dict[str, Callable[[bytes], int]] = {
        "as a dump has it": ours,
        "without acceleration": partial(ours, accelerated=False),
        f"with --compress {_HIGH}": high,
        _STRONGEST: strongest,
    }
    sizes = {way: work_of(compressed, whole) for way, compressed in ways.items()}

    def each(name: str, size_bytes: int) -> Figure:
        return Figure(name=name, value=size_bytes / entries, unit="bytes")

    return Found(
        figures=[
            each("a log entry, by gzip", packed),
            each("a log entry, in its own order of columns", ours(natural)),
            *(each(f"a log entry, {way}", size_bytes) for way, (size_bytes, _) in sizes.items()),
            each("its hash alone", alone["hash"]),
            each("its id alone", alone["id"]),
            *(
                Figure(name=f"work {way}, of gzip's", value=took_s / packing_s)
                for way, (_, took_s) in sizes.items()
            ),
            Figure(name="by xz at its best, of gzip's", value=sizes[_STRONGEST][0] / packed),
            Figure(
                name="every column by itself, of gzip's log entry",
                value=sum(alone.values()) / packed,
            ),
        ],
        notes=[
            f"of {entries:,} entries; each column by itself at level {_HIGH}",
            "32 bytes of hash and 9 of an id are random: nothing makes them smaller",
        ],
    )


BENCH = Bench("size", "What limits how small a backup can be?", measure, minutes=4)
