"""The audit trail, checked and told: chains of hashes, a chain a case and a chain a user.

Each entry's hash covers its content and the hash before it, so an edit or a removal shows, unless
everything after it was computed anew. What nobody inside of the database can forge is a copy of
the chains' heads that lies elsewhere: every backup carries one (backups/anchors.py).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import islice, product
from typing import Any
from uuid import UUID

from psycopg import Connection

from casedb.audit_heads import KINDS, Block, Head, Kind
from casedb.database import scalar
from casedb.errors import ConfigurationError
from casedb.sqlfiles import read_sql

OnChecked = Callable[[str, int, int | None], None]
"""Told of the phase in words, of what is done, and of how much there is (None: unknown)."""

_ANCHORED = {"case": "audit/anchored-cases.sql", "user": "audit/anchored-users.sql"}
_NAMED = {"case": "audit/named-cases.sql", "user": "audit/named-users.sql"}
_BATCH = 10_000
_BLOCKS = 600
"""So many blocks are compared at a time, of 16 chains."""
_LAST_ID = UUID(int=2**128 - 1)
_ID_BYTES, _HASH_AT = 16, 20
"""Where an entry's id ends, and where its hash begins, in sql/audit/anchored-cases.sql."""
_TRIES = 1000
"""So many choices of a block's entries are tried: who can insert could make them endless."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was written."""

    kind: Kind
    subject: str
    """The case's or user's id; the first and last of several where it is not known of which."""
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
    unproven: int
    """How many of them have no finding of their own, but are in a block that does not hold."""
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
    heads: Iterable[Block] | None = None,
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
        compared = _compare(connection, heads or (), case, anchor, on_checked)
        findings += compared.findings
        off = [name for (name,) in connection.execute(read_sql("audit/triggers.sql"))]
    return AuditReport(
        cases=total,
        entries=entries,
        users=users,
        user_entries=user_entries,
        anchored=compared.heads,
        unproven=compared.unproven,
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
    return Finding(kind, subject, seq, words)


@dataclass
class _Compared:
    """What comparing with an anchor came to, so far."""

    heads: int = 0
    unproven: int = 0
    findings: list[Finding] = field(default_factory=list)


def _compare(
    connection: Connection[Any],
    blocks: Iterable[Block],
    case: UUID | None,
    anchor: str,
    on_checked: OnChecked,
) -> _Compared:
    # One look-up a head: the planner could take reading the whole log for cheaper, each time.
    connection.execute("SET LOCAL enable_hashjoin = off")
    connection.execute("SET LOCAL enable_mergejoin = off")
    voucher = f"backup {anchor}" if anchor else "the anchor"
    so_far = _Compared()
    chosen = iter(blocks) if case is None else _blocks_of(blocks, case)
    while batch := list(islice(chosen, _BLOCKS)):
        on_checked("comparing with the anchor", so_far.heads, None)
        for kind in KINDS:
            of_kind = [block for block in batch if block.kind == kind]
            looked_up = list(zip(of_kind, _look_up(connection, kind, of_kind), strict=True))
            names = _names(connection, kind, looked_up)
            for block, entries in looked_up:
                proven = _proven(block, entries)
                if case is not None:
                    _tell_of_case(case, block, entries, proven, voucher, so_far)
                elif proven:
                    so_far.heads += len(block.heads)
                else:
                    _tell_of_block(block, entries, names, voucher, so_far)
    return so_far


def _blocks_of(blocks: Iterable[Block], case: UUID) -> Iterator[Block]:
    return (
        block
        for block in blocks
        if block.kind == "case" and any(head.may_be_of(case) for head in block.heads)
    )


def _look_up(
    connection: Connection[Any], kind: Kind, blocks: Sequence[Block]
) -> Iterator[list[list[bytes]]]:
    """Yield for each block, for each of its heads, the entries that it can be of."""
    heads = [head for block in blocks for head in block.heads]
    found: list[list[bytes]] = [[] for _ in heads]
    columns = ([h.first for h in heads], [h.last for h in heads], [h.seq for h in heads])
    with connection.cursor(binary=True) as cursor:
        for place, entry in cursor.execute(read_sql(_ANCHORED[kind]), columns):
            found[place - 1].append(entry)
    rest = iter(found)
    return (list(islice(rest, len(block.heads))) for block in blocks)


def _names(
    connection: Connection[Any], kind: Kind, looked_up: Iterable[tuple[Block, list[list[bytes]]]]
) -> dict[str, str]:
    """Return the ids of those whose entry is gone and of which something else is still there."""
    gone = [
        head
        for block, entries in looked_up
        for head, candidates in zip(block.heads, entries, strict=True)
        if not candidates
    ]
    if not gone:
        return {}
    columns = ([h.known for h in gone], [h.first for h in gone], [h.last for h in gone])
    return dict(connection.execute(read_sql(_NAMED[kind]), columns).fetchall())


def _fitting(head: Head, entries: Iterable[bytes]) -> list[bytes]:
    return [entry for entry in entries if entry.startswith(head.noted, _HASH_AT)]


def _proven(block: Block, entries: Sequence[list[bytes]]) -> tuple[bytes, ...] | None:
    """Return the entries that the block vouches for; None if they are not all there any more."""
    fitting = [_fitting(*pair) for pair in zip(block.heads, entries, strict=True)]
    # Nearly always one each: ids that begin alike and were not neighbours are made by hand.
    for chosen in islice(product(*fitting), _TRIES):
        if block.digest in (None, sha256(b"".join(chosen)).digest()):
            return chosen
    return None


def _tell_of_block(
    block: Block,
    entries: Sequence[list[bytes]],
    names: dict[str, str],
    voucher: str,
    so_far: _Compared,
) -> None:
    """Note what is wrong with a block that is not proven."""
    wrong = []
    for head, candidates in zip(block.heads, entries, strict=True):
        if not candidates:
            name = names.get(head.known, head.name)
            wrong.append(_gone(block.kind, name, head.seq, voucher))
        elif not _fitting(head, candidates) or len(block.heads) == 1:
            wrong.append(_rewritten(block.kind, _id_of(min(candidates)), head.seq, voucher))
    so_far.heads += len(block.heads)
    so_far.findings += wrong or [_one_of(block, entries, voucher)]
    so_far.unproven += len(block.heads) - len(wrong)


def _tell_of_case(
    case: UUID,
    block: Block,
    entries: Sequence[list[bytes]],
    proven: Sequence[bytes] | None,
    voucher: str,
    so_far: _Compared,
) -> None:
    """Note what a block, proven or not, says of one case."""
    if proven is not None:
        # It may be of another whose id begins alike.
        so_far.heads += any(entry.startswith(case.bytes) for entry in proven)
        return
    for head, candidates in zip(block.heads, entries, strict=True):
        if not head.may_be_of(case):
            continue
        so_far.heads += 1
        if not candidates:
            so_far.findings.append(_gone("case", str(case), head.seq, voucher))
        elif not _fitting(head, candidates) or len(block.heads) == 1:
            so_far.findings.append(_rewritten("case", str(case), head.seq, voucher))
        else:
            so_far.unproven += 1
            words = (
                f"whether entry {head.seq} was rewritten is not known: {voucher} vouches for "
                f"{len(block.heads)} chains together, of which one was; restore it to compare"
            )
            so_far.findings.append(Finding("case", str(case), head.seq, words))


def _id_of(entry: bytes) -> str:
    return str(UUID(bytes=entry[:_ID_BYTES]))


def _gone(kind: Kind, name: str, seq: int, voucher: str) -> Finding:
    return Finding(kind, name, seq, f"entry {seq} is gone, which {voucher} vouches for")


def _rewritten(kind: Kind, name: str, seq: int, voucher: str) -> Finding:
    words = (
        f"entry {seq} is not the one that {voucher} vouches for: it or an earlier one was rewritten"
    )
    return Finding(kind, name, seq, words)


def _one_of(block: Block, entries: Sequence[list[bytes]], voucher: str) -> Finding:
    # Descending, as the backup has them.
    name = f"{_id_of(min(entries[-1]))} to {_id_of(min(entries[0]))}"
    words = (
        f"one of these {len(block.heads)} chains is not the one that {voucher} vouches for; "
        "restore it to see which"
    )
    return Finding(block.kind, name, None, words)
