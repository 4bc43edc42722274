"""The audit trail, checked and told: chains of hashes, a chain a case and a chain a user.

Each entry's hash covers its content and the hash before it, so an edit or a removal shows, unless
everything after it was computed anew. What nobody inside of the database can forge is a copy of
the chains' heads that lies elsewhere: every backup carries one (backups/anchors.py).
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection, Cursor

from casedb.database import scalar
from casedb.errors import ConfigurationError
from casedb.sqlfiles import read_sql

Kind = Literal["case", "user"]
OnChecked = Callable[[str, int, int | None], None]
"""Told of the phase in words, of what is done, and of how much there is (None: unknown)."""

_KINDS: tuple[Kind, ...] = ("case", "user")
_ANCHORED = {"case": "audit/anchored-cases.sql", "user": "audit/anchored-users.sql"}
_BATCH = 10_000
_HASH_BYTES = 20
"""As in sql/audit/case-heads.sql."""
_LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True)
class Head:
    """The last entry of one chain at some moment."""

    kind: Kind
    subject: UUID
    """The case's or user's id."""
    seq: int
    hash: bytes
    """The first 20 bytes of the entry's hash."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was written."""

    kind: Kind
    subject: UUID
    seq: int | None
    """The entry at which it shows; None if it is about the chain as a whole."""
    problem: str
    """A sentence for people."""

    def __str__(self) -> str:
        """Return one line: whose chain, and what is wrong."""
        return f"{self.kind} {self.subject}: {self.problem}"


@dataclass(frozen=True)
class AuditReport:
    """What was checked, and what was found."""

    cases: int
    entries: int
    users: int
    user_entries: int
    anchored: int
    """How many heads were compared; 0 without an anchor."""
    duration_s: float
    findings: tuple[Finding, ...]
    triggers_off: tuple[str, ...]
    """The triggers that keep the trail and do not, right now; each as TABLE.TRIGGER."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is not as it should be, a line each; empty if all is well."""
        off = (
            f"trigger {name} is missing, switched off or not ENABLE ALWAYS"
            for name in self.triggers_off
        )
        return (*map(str, self.findings), *off)


@dataclass(frozen=True)
class Entry:
    """One entry of a case's log."""

    seq: int
    at: datetime
    action: str
    details: Any
    login: str
    user_id: UUID
    user_name: str
    user_role: str


@dataclass(frozen=True)
class History:
    """One case and its log, oldest entry first."""

    case_id: UUID
    title: str
    status: str
    entries: tuple[Entry, ...]


def _unseen(_phase: str, _done: int, _total: int | None) -> None:
    """Tell nobody."""


def has_audit(connection: Connection[Any]) -> bool:
    """Whether the connected database keeps an audit trail at all."""
    return bool(scalar(connection, "SELECT to_regclass('audit.user_logs')"))


def verify(
    connection: Connection[Any],
    *,
    case: UUID | None = None,
    heads: Iterable[Head] | None = None,
    anchor: str = "",
    on_checked: OnChecked = _unseen,
) -> AuditReport:
    """Check all chains (or that of one `case`) as they are at this moment; change nothing.

    Finds every edited or removed entry after which the chain was not computed anew. With `heads`,
    taken at an earlier moment from the same database, also what was rehashed, cut off at the
    end, or removed with its case. `anchor` names where the heads come from, for the findings.

    `connection` must be in autocommit mode, and its role must see all rows.

    Raises:
        ConfigurationError: no audit trail here, or no such case.
    """
    started = time.monotonic()
    _require_audit(connection)
    findings: list[Finding] = []
    with _moment(connection):
        if case is None:
            total = int(scalar(connection, "SELECT count(*) FROM public.cases"))
            entries = 0
            for done, first, last in _ranges(connection):
                on_checked("checking the chains", done, total)
                counted, found = _verify_cases(connection, first, last)
                entries += counted
                findings += found
            users, user_entries, found = _verify_users(connection)
            findings += found
        else:
            known = scalar(connection, "SELECT count(*) FROM public.cases WHERE id = %s", case)
            entries, findings = _verify_cases(connection, case, case)
            if not known and not entries and heads is None:
                raise no_such_case(case)
            total, users, user_entries = 1, 0, 0
        anchored, found = _compare(connection, _of_case(heads or (), case), anchor, on_checked)
        findings += found
        off = [name for (name,) in connection.execute(read_sql("audit/triggers.sql"))]
    return AuditReport(
        cases=total,
        entries=entries,
        users=users,
        user_entries=user_entries,
        anchored=anchored,
        duration_s=round(time.monotonic() - started, 3),
        findings=tuple(findings),
        triggers_off=tuple(off),
    )


def history(connection: Connection[Any], case: UUID) -> History:
    """Return one case's log.

    Raises:
        ConfigurationError: no audit trail here, or no such case.
    """
    _require_audit(connection)
    row = connection.execute(
        "SELECT title, status::text FROM public.cases WHERE id = %s", (case,)
    ).fetchone()
    if row is None:
        raise no_such_case(case)
    rows = connection.execute(read_sql("audit/history.sql"), (case,)).fetchall()
    return History(case, row[0], row[1], tuple(Entry(*entry) for entry in rows))


def no_such_case(case: UUID) -> ConfigurationError:
    """Return the error for a case that is not there."""
    return ConfigurationError(
        f"there is no case {case}",
        detail="Neither the case nor a log of it.",
        hint="If it was there once: `casedb audit verify --anchor LABEL` tells.",
    )


def read_heads(connection: Connection[Any]) -> Iterator[bytes]:
    """Yield the heads of all chains, as lines in pieces: cases, then users, ids descending.

    A line is kind, id, number and 20 bytes of the hash in hex, with tabs between; see `parse_head`.
    They are of one moment in a transaction that holds a snapshot, or where nobody else writes.
    """
    last = _LAST_ID
    query = read_sql("audit/case-heads.sql")
    while text := _only(connection.execute(query, {"last": last, "size": _BATCH})):
        yield text.encode()
        # The lines go down, so the last one has the lowest id.
        lowest = UUID(text[text.rfind("\n", 0, -1) + 1 :].split("\t")[1])
        if not lowest.int:
            break
        last = UUID(int=lowest.int - 1)
    yield (scalar(connection, read_sql("audit/user-heads.sql")) or "").encode()


def _only(cursor: Cursor[Any]) -> Any:
    row = cursor.fetchone()
    return row[0] if row else None


def parse_head(line: str) -> Head:
    """Return the head in one line of `read_heads`.

    Raises:
        ValueError: if it is none.

    >>> parse_head("case\\t00000000-0000-0000-0000-000000000001\\t3\\t" + 20 * "ff").seq
    3
    """
    kind, subject, seq, digest = line.rstrip("\n").split("\t")
    if kind not in ("case", "user"):
        raise ValueError(f"{kind!r} is neither case nor user")
    return Head(
        "case" if kind == "case" else "user", UUID(subject), int(seq), bytes.fromhex(digest)
    )


def _require_audit(connection: Connection[Any]) -> None:
    if not has_audit(connection):
        raise ConfigurationError(
            "this database keeps no audit trail",
            hint="Apply the migrations first: `casedb migrate apply`.",
        )


@contextmanager
def _moment(connection: Connection[Any]) -> Iterator[None]:
    """Hold one snapshot, in which a wrong plan or a hidden row cannot make a chain look whole."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # An error instead of chains that row security leaves out in silence.
        connection.execute("SET LOCAL row_security = off")
        connection.execute("SET LOCAL search_path = ''")
        connection.execute("SET LOCAL jit = off")
        yield


def _ranges(connection: Connection[Any]) -> Iterator[tuple[int, UUID, UUID]]:
    """Yield (cases before it, first id, last id) of ranges that together hold every id there is."""
    first, done = UUID(int=0), 0
    while True:
        last = scalar(
            connection,
            "SELECT id FROM public.cases WHERE id >= %s ORDER BY id OFFSET %s LIMIT 1",
            first,
            _BATCH - 1,
        )
        yield done, first, last or _LAST_ID
        if last is None or last == _LAST_ID:
            return
        first, done = UUID(int=last.int + 1), done + _BATCH


def _verify_cases(
    connection: Connection[Any], first: UUID, last: UUID
) -> tuple[int, list[Finding]]:
    row = connection.execute(
        read_sql("audit/verify-cases.sql"), {"first": first, "last": last}
    ).fetchone()
    entries, found = row or (0, [])
    return entries, [_finding("case", **finding) for finding in found]


def _verify_users(connection: Connection[Any]) -> tuple[int, int, list[Finding]]:
    users, entries, found = connection.execute(read_sql("audit/verify-users.sql")).fetchone() or (
        0,
        0,
        [],
    )
    return users, entries, [_finding("user", **finding) for finding in found]


def _finding(
    kind: Kind, *, subject: str, seq: int | None, previous_seq: int | None, problem: str
) -> Finding:
    if problem == "missing" and seq is not None and previous_seq is not None:
        gone = f"entry {previous_seq + 1}"
        if seq - 1 > previous_seq + 1:
            gone = f"entries {previous_seq + 1} to {seq - 1}"
        words = f"{gone} before entry {seq} {'is' if ' to ' not in gone else 'are'} missing"
    elif problem == "changed":
        words = f"entry {seq} is not what was written, or the entry before it is not"
    elif problem == "no log":
        words = "it has no log at all"
    else:
        words = f"it has a log, but the {kind} itself is gone"
    return Finding(kind, UUID(subject), seq, words)


def _of_case(heads: Iterable[Head], case: UUID | None) -> Iterator[Head]:
    return (h for h in heads if case is None or (h.kind == "case" and h.subject == case))


def _compare(
    connection: Connection[Any], heads: Iterator[Head], anchor: str, on_checked: OnChecked
) -> tuple[int, list[Finding]]:
    # One look-up a head: the planner could take reading the whole log for cheaper, each time.
    connection.execute("SET LOCAL enable_hashjoin = off")
    connection.execute("SET LOCAL enable_mergejoin = off")
    done, findings = 0, []
    voucher = f"backup {anchor}" if anchor else "the anchor"
    while batch := list(islice(heads, _BATCH)):
        on_checked("comparing with the anchor", done, None)
        for kind in _KINDS:
            chosen = [head for head in batch if head.kind == kind]
            columns = (
                [head.subject for head in chosen],
                [head.seq for head in chosen],
                [head.hash for head in chosen],
            )
            for subject, seq, gone in connection.execute(read_sql(_ANCHORED[kind]), columns):
                words = (
                    f"entry {seq} is gone, which {voucher} vouches for"
                    if gone
                    else f"entry {seq} is not the one that {voucher} vouches for: "
                    "it or an earlier one was rewritten"
                )
                findings.append(Finding(kind, subject, seq, words))
        done += len(batch)
    return done, findings
