"""The heads of the audit trail's chains, as they are written beside a backup and read from there.

A block a few chains, cases first, then users, ids descending; lines whose fields tabs part:

    case    16      SHA-256 over id (16 bytes), seq (4 bytes) and hash of each of the 16    0185a3
    06bb1a7a        7       9f      how the id goes on, seq, the hash's first byte
    ...

A hash does not compress: one for sixteen chains proves as much as one each, and takes a sixteenth.
The line of a chain is there to look its entry up, and to name it where the block differs. Of an id
only so much is written as tells it from its neighbours: what all ids of the block begin with at the
end of the block's line, and some more digits in the line of the chain.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, islice, pairwise
from struct import Struct
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection

from casedb.sqlfiles import read_sql

Kind = Literal["case", "user"]

KINDS: tuple[Kind, ...] = ("case", "user")
_HEADS = {"case": "audit/case-heads.sql", "user": "audit/user-heads.sql"}
_BATCH = 10_000
_BLOCK = 16
_LAST_ID = UUID(int=2**128 - 1)
_NONE_IS_SHARED = 1 << 127
"""How two ids differ that have not even their first digit in common: as one without a neighbour."""
_ENTRY = Struct(">16si32s")
"""As sql/audit/case-heads.sql writes it: id, seq, hash."""
_ID_BYTES, _DIGITS = 16, 32
"""Of an id; the digits are hexadecimal."""
_SHORT = 14
"""So many of them are written at least. UUIDv7 has its millisecond in the first twelve."""
_PARTS = Struct(">16si1s31x")
"""The same: id, seq, and the first byte of the hash."""
_BLOCK_LINE = re.compile(r"(case|user)\t([0-9]{1,2})\t([0-9a-f]{64})(?:\t([0-9a-f]{0,31}))?")
_CHAIN_LINE = re.compile(r"([0-9a-f]{1,32})\t(-?[0-9]{1,10})\t([0-9a-f]{2})")
_OLD_LINE = re.compile(r"(case|user)\t([0-9a-f-]{36})\t(-?[0-9]{1,10})\t([0-9a-f]{40})")
_INTEGERS = range(-(2**31), 2**31)


@dataclass(frozen=True)
class Head:
    """The last entry of one chain at some moment, as far as it is noted."""

    known: str
    """Hexadecimal digits that the case's or user's id begins with; mostly 14 of 32."""
    seq: int
    noted: bytes
    """What the entry's hash begins with."""

    @property
    def first(self) -> str:
        """The lowest id that it can be of."""
        return self.known.ljust(32, "0")

    @property
    def last(self) -> str:
        """The highest id that it can be of."""
        return self.known.ljust(32, "f")

    @property
    def name(self) -> str:
        """The id; with dots at its end where only its first digits are known."""
        if len(self.known) == _DIGITS:
            return str(UUID(self.known))
        groups = (self.known[begin:end] for begin, end in pairwise((0, 8, 12, 16, 20, _DIGITS)))
        return "-".join(filter(None, groups)) + "..."

    def may_be_of(self, subject: UUID) -> bool:
        """Whether the id of `subject` begins with what is known."""
        return subject.hex.startswith(self.known)


@dataclass(frozen=True)
class Block:
    """Heads that are vouched for together."""

    kind: Kind
    heads: tuple[Head, ...]
    digest: bytes | None
    """SHA-256 over the entries of all; None for one that vouches for itself, by 20 bytes."""

    def vouches_for(self, entries: Sequence[bytes]) -> bool:
        """Whether these are the entries, all of them, in their order."""
        return len(entries) == len(self.heads) and (
            self.digest in (None, sha256(b"".join(entries)).digest())
            and all(
                subject.hex().startswith(head.known)
                and seq == head.seq
                and digest.startswith(head.noted)
                for head, entry in zip(self.heads, entries, strict=True)
                for subject, seq, digest in [_ENTRY.unpack(entry)]
            )
        )


def read_heads(connection: Connection[Any]) -> Iterator[bytes]:
    """Yield the heads of all chains, as lines in pieces; see `parse_heads`.

    They are of one moment in a transaction that holds a snapshot, or where nobody else writes.
    """
    for kind in KINDS:
        before, rest = b"", b""
        for entries in _read_entries(connection, kind):
            rest += entries
            # The last one waits: how its id is written depends on the one behind it.
            size = (len(rest) - 1) // (_BLOCK * _ENTRY.size) * _BLOCK * _ENTRY.size
            if size:
                yield _written(kind, rest[:size], before, rest[size : size + _ID_BYTES])
                before = rest[size - _ENTRY.size :][:_ID_BYTES]
                rest = rest[size:]
        yield _written(kind, rest, before, b"")


def are_all_heads(connection: Connection[Any], blocks: Iterable[Block]) -> bool:
    """Whether `blocks` are the heads of all chains: of each, of no other, and in their order.

    Of whatever version, as long as that had cases first, then users, ids descending.
    """
    found = chain.from_iterable(
        ((kind, entries[at : at + _ENTRY.size]) for at in range(0, len(entries), _ENTRY.size))
        for kind in KINDS
        for entries in _read_entries(connection, kind)
    )
    for block in blocks:
        of_block = list(islice(found, len(block.heads)))
        of_kind = [entry for kind, entry in of_block if kind == block.kind]
        if len(of_kind) < len(block.heads) or not block.vouches_for(of_kind):
            return False
    return next(found, None) is None


def parse_heads(lines: Iterator[str]) -> Iterator[Block]:
    r"""Yield the blocks in lines of `read_heads`, without their line ends.

    Earlier versions wrote a line each, with the whole id and 20 bytes of the hash; or blocks whose
    line has nothing of the ids, and 20 digits or all of each.

    Raises:
        ValueError: if they are none.

    >>> old = f"case\t{UUID(int=1)}\t3\t{20 * 'ff'}"
    >>> [block.heads[0].seq for block in parse_heads(iter([old]))]
    [3]
    """
    for line in lines:
        if old := _OLD_LINE.fullmatch(line):
            kind, subject, seq, noted = old.groups()
            head = Head(UUID(subject).hex, _integer(seq), bytes.fromhex(noted))
            yield Block(_kind(kind), (head,), None)
            continue
        kind, count, digest, begin = _groups(_BLOCK_LINE, line)
        if not 1 <= int(count) <= _BLOCK:
            raise ValueError(f"a block of {count} chains is none")
        heads = tuple(_parse_head(begin or "", line) for line in islice(lines, int(count)))
        if len(heads) < int(count):
            raise ValueError("it ends in the middle of a block")
        yield Block(_kind(kind), heads, bytes.fromhex(digest))


def _read_entries(connection: Connection[Any], kind: Kind) -> Iterator[bytes]:
    """Yield the last entries of all chains in batches, 52 bytes each, ids descending."""
    last: UUID | None = _LAST_ID
    # As text, each byte would be two digits on its way.
    with connection.cursor(binary=True) as cursor:
        while last is not None:
            cursor.execute(read_sql(_HEADS[kind]), {"last": last, "size": _BATCH})
            row = cursor.fetchone()
            if row is None or row[0] is None:
                return
            yield row[0]
            lowest = int.from_bytes(row[0][-_ENTRY.size :][:16])
            last = UUID(int=lowest - 1) if lowest else None


def _written(kind: Kind, entries: bytes, before: bytes, behind: bytes) -> bytes:
    """Return the lines of whole blocks; the ids before and behind them are given, if there are."""
    chains = list(_PARTS.iter_unpack(entries))
    ids = [int.from_bytes(subject) for subject, _, _ in chains]
    ids_before, ids_behind = (
        [int.from_bytes(subject)] if subject else [] for subject in (before, behind)
    )
    around = [*ids_before, *ids, *ids_behind]
    lines = []
    for first in range(0, len(chains), _BLOCK):
        of_block = chains[first : first + _BLOCK]
        digest = sha256(entries[first * _ENTRY.size : (first + _BLOCK) * _ENTRY.size])
        begins = first + len(ids_before)
        neighbours = pairwise(around[max(0, begins - 1) : begins + _BLOCK + 1])
        closest = min((one ^ other for one, other in neighbours), default=_NONE_IS_SHARED)
        short = max(_SHORT, _shared(closest) + 1)
        # They are in order: what the first and the last begin with, all of them do.
        begin = min(short - 1, _shared(ids[first] ^ ids[first + len(of_block) - 1]))
        known = of_block[0][0].hex()[:begin]
        lines.append(f"{kind}\t{len(of_block)}\t{digest.hexdigest()}\t{known}\n")
        lines += [
            f"{subject.hex()[begin:short]}\t{seq}\t{noted.hex()}\n"
            for subject, seq, noted in of_block
        ]
    return "".join(lines).encode()


def _shared(difference: int) -> int:
    """Return how many digits two ids begin with in common, from their bits that differ."""
    return _DIGITS - (difference.bit_length() + 3) // 4


def _parse_head(begin: str, line: str) -> Head:
    known, seq, noted = _groups(_CHAIN_LINE, line)
    if len(begin + known) > _DIGITS:
        raise ValueError(f"{begin + known} is too long for an id")
    return Head(begin + known, _integer(seq), bytes.fromhex(noted))


def _groups(pattern: re.Pattern[str], line: str) -> tuple[str, ...]:
    found = pattern.fullmatch(line)
    if found is None:
        raise ValueError(f"{line[:80]!r} is neither a block nor a chain")
    return found.groups()


def _kind(word: str) -> Kind:
    return "case" if word == "case" else "user"


def _integer(digits: str) -> int:
    if (number := int(digits)) not in _INTEGERS:
        raise ValueError(f"{digits} is not the number of an entry")
    return number
