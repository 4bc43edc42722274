"""Sessions that read large tables of a snapshot, each some ranges of their pages.

Each is a psql that is told one range after the other, and writes the rows into a pipe as pg_dump
would: psycopg, which hands over a row at a time, takes three times as long for that.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from subprocess import DEVNULL, PIPE, Popen
from typing import IO

from backups.page_ranges import RANGE_BYTES, LargeTable, conditions
from backups.pipes import Outlet, Pipes
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.tools import PostgresTools

MARK = b"\\.\x01\n"
"""A line that no row can be: COPY writes a backslash twice, or before a letter. The byte in it is
the one that is looked for, which takes a tenth of looking for the line."""
_SAY_MARK = r"\echo '\\.\001'" + "\n"
_AHEAD = 3
"""Ranges that a session knows of before its turn comes."""
_KEPT_BYTES = RANGE_BYTES * 3 // 2
# What pg_dump sets, so that rows look the same; what keeps sessions alive; and what makes the
# server go to the pages that are asked for, and not read all of them for each range.
_SETTINGS = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "row_security": "off",
    "search_path": "''",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "client_connection_check_interval": "'1s'",
    "enable_seqscan": "off",
    "enable_tidscan": "on",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}


class EndedEarly(Exception):  # noqa: N818 - a turn of events; who sees it finds out why.
    """A program has ended before its work was done: how, and what it said."""

    def __init__(self, program: "Program") -> None:
        super().__init__(program.argv)
        self.argv = program.argv
        self.returncode = program.process.wait()
        self.printed = program.printed


@dataclass(eq=False)
class Program:
    """A program whose output is taken in turns with that of others."""

    argv: Sequence[str]
    process: "Popen[bytes]"
    outlet: Outlet
    errors: IO[bytes]
    rest: bytes = field(default=b"", repr=False)
    """What was taken from it and belongs to what comes next."""

    def tell(self, text: str) -> None:
        """Write to its standard input; who is gone hears nothing, and is found out by reading."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()

    @property
    def printed(self) -> str:
        """What it said on its standard error."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")


@contextmanager
def piped(
    argv: Sequence[str],
    pipes: Pipes,
    *,
    target: Conninfo,
    keep_bytes: int = 1,
    stdin: int = DEVNULL,
) -> Iterator[Program]:
    """Start a program whose output goes into `pipes`; it is ended with the block."""
    with (
        tempfile.TemporaryFile() as errors,
        programs.start(
            programs.with_large_writes(argv), target=target, stdin=stdin, stderr=errors
        ) as process,
    ):
        assert process.stdout is not None
        yield Program(argv, process, pipes.add(process.stdout, keep_bytes=keep_bytes), errors)


@contextmanager
def reading(
    pipes: Pipes,
    tables: Sequence[LargeTable],
    *,
    sessions: int,
    snapshot: str,
    target: Conninfo,
    tools: PostgresTools,
    lock_wait_ms: int,
    server_major: int,
) -> Iterator[list[Program]]:
    """Yield sessions that have imported the snapshot and locked `tables`; they end with the block.

    There are fewer than `sessions` where the server lets no more in, and none at all where it has
    no more than one to spare: pg_dump needs one besides, which was tried and is free then.

    Raises:
        EndedEarly: one of them could not have the snapshot, or a lock.
    """
    argv = [
        *programs.psql_argv(tools),
        # With its code, which is the same in every language.
        "--set=VERBOSITY=verbose",
    ]
    opening = _opening(tables, snapshot, lock_wait_ms, server_major)
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                piped(argv, pipes, target=target, keep_bytes=_KEPT_BYTES, stdin=PIPE)
            )
            for _ in range(sessions + 1 if tables and sessions > 1 else 0)
        ]
        for session in started:
            session.tell(_SAY_MARK)
        let_in = [session for session in started if _is_let_in(pipes, session)]
        kept = let_in[:-1] if len(let_in) > 2 else []
        for session in let_in:
            if session not in kept:
                _end(session)
        for session in kept:
            session.tell(opening)
        for session in kept:
            for _ in _up_to_mark(pipes, session):
                raise AssertionError("nothing was asked for yet")
        yield kept


def rows(pipes: Pipes, sessions: Sequence[Program], table: LargeTable) -> Iterator[bytes]:
    """Yield the rows of `table` in the order of its pages, in pieces that may end within a row.

    Raises:
        EndedEarly: one of the sessions has ended.
    """
    # Twice, because a table may have too many to keep them.
    commands = zip(cycle(sessions), conditions(table), strict=False)
    turns = zip(cycle(sessions), conditions(table), strict=False)

    def tell(count: int) -> None:
        for session, condition in islice(commands, count):
            session.tell(f":rows {condition}) TO STDOUT;\n{_SAY_MARK}")

    for session in sessions:
        # Once, and not with each range: what is told to a session that is at work has to fit into
        # its pipe.
        session.tell(f"\\set rows {_quoted(table.copy_out)}\n")
    tell(_AHEAD * len(sessions))
    for session, _ in turns:
        yield from _up_to_mark(pipes, session)
        tell(1)


def cut_at_mark(data: bytes, *, begins_line: bool) -> tuple[bytes, bytes | None]:
    """Return what `data` has before the mark, and what comes after it; None if it has none.

    What may be the beginning of a mark is left out at the end of the first, unless all of `data`
    was taken: it has to be asked for again with what follows. `begins_line` says whether `data`
    begins a line.

    >>> cut_at_mark(b"row\\n" + MARK + b"next", begins_line=True)
    (b'row\\n', b'next')
    >>> cut_at_mark(b"row\\n" + MARK[:2], begins_line=True)
    (b'row\\n', None)
    >>> cut_at_mark(b"\\x01\\n", begins_line=False)
    (b'\\x01\\n', None)
    """
    at = data.find(MARK[-2:-1])
    while at >= 0:
        begin = at - len(MARK) + 2
        in_line = data[begin - 1 : begin] == b"\n" if begin > 0 else begin == 0 and begins_line
        if in_line and data.startswith(MARK, begin):
            return data[:begin], data[begin + len(MARK) :]
        at = data.find(MARK[-2:-1], at + 1)
    for length in range(len(MARK) - 1, 0, -1):
        if data.endswith(MARK[:length]):
            begin = len(data) - length
            if data[begin - 1 : begin] == b"\n" if begin else begins_line:
                return data[:begin], None
    return data, None


def _up_to_mark(pipes: Pipes, session: Program) -> Iterator[bytes]:
    begins_line = True
    while True:
        data = session.rest
        while (cut := cut_at_mark(data, begins_line=begins_line)) == (b"", None):
            if not (more := pipes.take(session.outlet)):
                raise EndedEarly(session)
            data += more
        piece, after = cut
        if piece:
            begins_line = piece.endswith(b"\n")
            yield piece
        if after is not None:
            session.rest = after
            return
        session.rest = data[len(piece) :]


def _is_let_in(pipes: Pipes, session: Program) -> bool:
    try:
        for _ in _up_to_mark(pipes, session):
            raise AssertionError("nothing was asked for yet")
    except EndedEarly:
        return False
    return True


def _end(session: Program) -> None:
    assert session.process.stdin is not None
    with suppress(BrokenPipeError):
        session.process.stdin.close()
    session.process.wait()


def _opening(
    tables: Sequence[LargeTable], snapshot: str, lock_wait_ms: int, server_major: int
) -> str:
    settings = {**_SETTINGS, "lock_timeout": str(lock_wait_ms)}
    if server_major >= 17:
        settings["transaction_timeout"] = "0"
    names = ", ".join(f"ONLY {table.full_name}" for table in tables)
    return "\n".join(
        [
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;",
            f"SET TRANSACTION SNAPSHOT '{snapshot}';",
            *(f"SET {name} = {value};" for name, value in settings.items()),
            f"LOCK TABLE {names} IN ACCESS SHARE MODE;",
            _SAY_MARK,
        ]
    )


def _quoted(text: str) -> str:
    """Return `text` as a word of psql's own commands."""
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")
    return f"'{escaped}'"
