"""pg_dump's archive as it comes out of several programs: its own, and the readers of large tables.

pg_dump writes everything but the rows of large tables, which the readers read meanwhile
(large_tables.py, readers.py). Put together it is the archive that pg_dump alone would have written,
but for the place of those rows, and the format of some: they come last (toc_rows.py).
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from backups import large_tables, toc
from backups.archive_form import ArchiveForm
from backups.dump_progress import Meter
from backups.large_tables import LargeTable
from backups.pipes import Pipes
from backups.readers import EndedEarly, Program, Readers, piped, reading
from backups.streams import Piece
from backups.toc_rows import UnfitHeadError, block, with_rows
from casedb import tools as programs
from casedb.batch import as_batch
from casedb.conninfo import Conninfo
from casedb.database import server_major
from casedb.errors import ToolFailedError
from casedb.tools import PostgresTools

_ROW_HEAD_BYTES = 5
"""pg_dump writes each row as a block, and before it how long it is."""


class ArchiveStream:
    """The archive, read from front to end."""

    def __init__(
        self,
        pipes: Pipes,
        pg_dump: Program,
        readers: Readers,
        tables: Sequence[LargeTable],
        meter: Meter,
    ) -> None:
        self.pg_dump = pg_dump
        self._tables = tables
        self.meter = meter
        """How much of the tables has been read."""
        self._accelerated = False
        self._pipes = pipes
        self._readers = readers
        self._pieces = self._assembled() if tables else self._from_pg_dump()

    def read(self, _size: int = -1) -> Piece:
        """Return what comes next, however much that is; nothing at the end.

        It is the caller's until he reads on.

        Raises:
            EndedEarly: one of the programs has failed, or was ended.
            ToolFailedError: the archive is none that rows can be added to.
        """
        piece = next(self._pieces, b"")
        if piece:
            self.meter.add(len(piece))
        else:
            self.meter.end()
        return piece

    def is_accelerated(self) -> bool:
        """Whether what `read` has returned last is hardly larger when it is compressed faster."""
        return self._accelerated

    def _from_pg_dump(self) -> Iterator[Piece]:
        while piece := self._pipes.take(self.pg_dump.outlet):
            yield piece
        if self.pg_dump.process.wait():
            raise EndedEarly(self.pg_dump)

    def _assembled(self) -> Iterator[Piece]:
        # The first ones are read while pg_dump still reads the catalog.
        asked = map(self._readers.rows, self._tables)
        rows = itertools.chain([next(asked)], asked)
        # Plain bytes, as of any archive; what is left to pg_dump is little.
        begin, rest = toc.begun(map(bytes, self._from_pg_dump()))
        try:
            copies = {(table.schema_name, table.name): table.copy_in for table in self._tables}
            amended, numbers = with_rows(begin, copies)
            head = toc.read_head(amended)
            assert head
        except UnfitHeadError as error:
            raise ToolFailedError(
                "the rows of large tables cannot be put into pg_dump's archive",
                detail=f"pg_dump's table of contents is not as expected: {error}.",
                hint="Leave them to pg_dump, which takes longer: --jobs 1 --copy-format text.",
            ) from error
        yield amended
        yield from filter(None, rest)
        for table, number, of_it in zip(self._tables, numbers, rows, strict=True):
            self._accelerated = table.is_accelerated
            self.meter.begin(table.size_bytes, table.ratio)
            yield from block(head, number, of_it, is_binary=table.is_binary)
        self._readers.end()


@contextmanager
def archive_stream(
    connection: Connection[Any],
    target: Conninfo,
    *,
    tools: PostgresTools,
    snapshot: str,
    form: ArchiveForm,
    lock_wait_ms: int,
    tables_bytes: int = 0,
) -> Iterator[ArchiveStream]:
    """Start what it takes, and yield the archive; the programs are ended with the block.

    `connection` holds `snapshot`, and `target` is how programs connect. They and the threads that
    begin in the block are batch jobs to the scheduler. `tables_bytes` is how much all tables take,
    for the meter.

    Raises:
        EndedEarly: a reader could not begin.
    """
    pipes = Pipes()
    binary = form.binary and tools.major in toc.KNOWN_MAJORS
    large = large_tables.read_large_tables(connection, form.large_from_bytes)

    def worth_reading(sessions: int) -> list[LargeTable]:
        if sessions == 1:
            # What it could only read as pg_dump does would take no less time.
            return [table for table in large if binary and table.is_plain]
        return large if sessions else []

    with (
        as_batch(),
        reading(
            pipes,
            worth_reading(form.jobs),
            sessions=form.jobs,
            snapshot=snapshot,
            target=target,
            tools=tools,
            lock_wait_ms=lock_wait_ms,
            server_major=server_major(connection),
        ) as readers,
    ):
        tables = worth_reading(len(readers.sessions))
        argv = programs.pg_dump_argv(
            tools,
            snapshot=snapshot,
            lock_wait_ms=lock_wait_ms,
            without_rows_of=[table.pattern for table in tables],
        )
        with piped(argv, pipes, target=target) as pg_dump:
            if binary:
                # Not before pg_dump has begun: it reads the catalog meanwhile, on another core.
                tables = [large_tables.in_its_format(connection, table) for table in tables]
            read = {table.pattern for table in tables}
            left = [table for table in large if table.pattern not in read]
            tables = large_tables.measured(connection, tables)
            left = large_tables.measured(connection, left, row_head_bytes=_ROW_HEAD_BYTES)
            meter = Meter()
            meter.begin(*_rest(tables_bytes, tables, left))
            yield ArchiveStream(pipes, pg_dump, readers, tables, meter)


def _rest(
    tables_bytes: int, tables: Sequence[LargeTable], left: Sequence[LargeTable]
) -> tuple[int, float]:
    """Return how much the tables take whose rows pg_dump writes, and how many bytes come of each.

    `left` are the large ones of them, and `tables` those that it does not write.
    """
    size = max(0, tables_bytes - sum(table.size_bytes for table in tables))
    large = sum(table.size_bytes for table in left)
    comes = sum(table.size_bytes * table.ratio for table in left)
    comes += max(0, size - large) * large_tables.TEXT_RATIO
    return size, comes / size if size else 1.0
