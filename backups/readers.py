"""Sessions that read large tables of a snapshot, whole or each some ranges of their pages.

Each is a psql that is told one statement after the other, and writes the rows into a pipe:
psycopg, which hands over a row at a time, takes three times as long for that. After the rows of
each statement it writes a mark (end_mark.py).
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, cycle, islice
from subprocess import DEVNULL, PIPE, Popen
from typing import IO

from backups.copy_binary import joined
from backups.end_mark import LINE_BYTES, EndMark
from backups.large_tables import RANGE_BYTES, LargeTable, conditions
from backups.pipes import Outlet, Pipes
from backups.streams import CHUNK_BYTES, Piece
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.tools import PostgresTools

_AHEAD = 3
"""Ranges that a session knows of before its turn comes."""
_KEPT_BYTES = RANGE_BYTES * 3 // 2
# What pg_dump sets, so that rows look the same and come in their order; what keeps sessions alive;
# and what makes the server go to the pages that are asked for, and not read all for each range.
_SETTINGS = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "row_security": "off",
    "synchronize_seqscans": "off",
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
    keep_bytes: int = CHUNK_BYTES,
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
        outlet = pipes.add(process.stdout, keep_bytes=keep_bytes, mark_bytes=LINE_BYTES)
        yield Program(argv, process, outlet, errors)


@dataclass(frozen=True)
class Readers:
    """Sessions that have imported a snapshot, and locked what they may be asked for."""

    pipes: Pipes
    sessions: Sequence[Program]
    mark: EndMark

    def rows(self, table: LargeTable) -> Iterator[Piece]:
        """Ask for the rows of `table`, and return them in the order of its pages.

        They come in pieces that may end within a row; each is the caller's until he asks for the
        next one. A single session reads all of them with one statement, past the server's shared
        buffers. Nothing else may be asked for before all have come.

        Raises:
            EndedEarly: when read, if one of the sessions has ended.
        """
        begin, ends = _statements(table, len(self.sessions))
        # Twice, because a table may have too many to keep them.
        commands, turns = (zip(cycle(self.sessions), ends(), strict=False) for _ in range(2))

        def tell(count: int) -> None:
            for session, end in islice(commands, count):
                session.tell(f":rows {end} {table.to_stdout}\n{_say(self.mark)}")

        for session in self.sessions:
            # Once, and not with each range: what is told to a session that is at work has to fit
            # into its pipe.
            session.tell(f"\\set rows {_quoted(begin)}\n")
        tell(_AHEAD * len(self.sessions))
        answers = self._answers((session for session, _ in turns), lambda: tell(1))
        return joined(answers) if table.is_binary else chain.from_iterable(answers)

    def end(self) -> None:
        """End the sessions, which nobody asks for rows any more."""
        for session in self.sessions:
            _end(session)

    def _answers(
        self, turns: Iterator[Program], tell_next: Callable[[], None]
    ) -> Iterator[Iterator[Piece]]:
        # One session has one statement for a table, so nothing comes after its rows.
        whole = len(self.sessions) == 1
        for session in turns:
            yield _up_to_mark(self.pipes, session, self.mark, nothing_follows=whole)
            tell_next()


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
) -> Iterator[Readers]:
    """Yield `sessions` that have the snapshot and have locked `tables`; they end with the block.

    There are fewer where the server lets no more in, and none at all where it has one to spare:
    pg_dump needs that one, which was tried and is free then.

    Raises:
        EndedEarly: one of them could not have the snapshot, or a lock.
    """
    argv = [
        *programs.psql_argv(tools),
        # With its code, which is the same in every language.
        "--set=VERBOSITY=verbose",
    ]
    mark = EndMark.random()
    opening = _opening(tables, snapshot, lock_wait_ms, server_major) + _say(mark)
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                piped(argv, pipes, target=target, keep_bytes=_KEPT_BYTES, stdin=PIPE)
            )
            for _ in range(sessions + 1 if tables else 0)
        ]
        for session in started:
            session.tell(_say(mark))
        let_in = [session for session in started if _is_let_in(pipes, session, mark)]
        for session in let_in[-1:]:
            _end(session)
        kept = let_in[:-1]
        for session in kept:
            session.tell(opening)
        for session in kept:
            _hear_mark(pipes, session, mark)
        yield Readers(pipes, kept, mark)


def _statements(table: LargeTable, sessions: int) -> tuple[str, Callable[[], Iterator[str]]]:
    """Return how the statements begin that read `table`, and what makes their middles."""
    if sessions == 1:
        return table.copy_out, lambda: iter([""])
    return table.copy_pages, lambda: (f"{condition})" for condition in conditions(table))


def _up_to_mark(
    pipes: Pipes, session: Program, mark: EndMark, *, nothing_follows: bool = True
) -> Iterator[memoryview]:
    is_end = False
    while not is_end:
        found = pipes.take_before(session.outlet, mark, nothing_follows=nothing_follows)
        if found is None:
            raise EndedEarly(session)
        piece, is_end = found
        if piece:
            yield piece


def _hear_mark(pipes: Pipes, session: Program, mark: EndMark) -> None:
    for _ in _up_to_mark(pipes, session, mark):
        raise AssertionError("nothing was asked for yet")


def _is_let_in(pipes: Pipes, session: Program, mark: EndMark) -> bool:
    try:
        _hear_mark(pipes, session, mark)
    except EndedEarly:
        return False
    return True


def _end(session: Program) -> None:
    assert session.process.stdin is not None
    with suppress(BrokenPipeError):
        session.process.stdin.close()
    session.process.wait()


def _say(mark: EndMark) -> str:
    """Return the line that has psql write the mark, whose end of line psql adds."""
    return f"\\echo {mark.line.decode()}"


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
            "",
        ]
    )


def _quoted(text: str) -> str:
    """Return `text` as a word of psql's own commands."""
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")
    return f"'{escaped}'"
