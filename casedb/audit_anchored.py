"""The audit trail's chains, compared with their heads as an earlier backup has them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice, product
from typing import Any
from uuid import UUID

from psycopg import Connection

from casedb.audit_blocks import KINDS, Block, Head, Kind
from casedb.audit_findings import Finding
from casedb.sqlfiles import read_sql

OnChecked = Callable[[str, int, int | None], None]
"""Told of the phase in words, of what is done, and of how much there is (None: unknown)."""

_ANCHORED = {"case": "audit/anchored-cases.sql", "user": "audit/anchored-users.sql"}
_NAMED = {"case": "audit/named-cases.sql", "user": "audit/named-users.sql"}
_BLOCKS = 600
"""So many blocks are compared at a time, of 16 chains."""
_ID_BYTES, _HASH_AT = 16, 20
"""Where an entry's id ends, and where its hash begins, in sql/audit/anchored-cases.sql."""
_TRIES = 1000
"""So many choices of a block's entries are tried: who can insert could make them endless."""


@dataclass
class Compared:
    """What comparing with an anchor came to, so far."""

    heads: int = 0
    unproven: int = 0
    findings: list[Finding] = field(default_factory=list)


def compare(
    connection: Connection[Any],
    blocks: Iterable[Block],
    case: UUID | None,
    anchor: str,
    on_checked: OnChecked,
) -> Compared:
    """Compare the chains with heads of an earlier moment: all, or those of one `case`'s block.

    `anchor` names where the heads come from. The connection is in a transaction, of one moment.
    """
    # One look-up a head: the planner could take reading the whole log for cheaper, each time.
    connection.execute("SET LOCAL enable_hashjoin = off")
    connection.execute("SET LOCAL enable_mergejoin = off")
    voucher = f"backup {anchor}" if anchor else "the anchor"
    so_far = Compared()
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
    so_far: Compared,
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
    so_far: Compared,
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
