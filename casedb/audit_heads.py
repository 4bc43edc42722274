"""The heads of the audit trail's chains, as they are written beside a backup and read from there.

A block a few chains, cases first, then users, ids descending; lines whose fields tabs part:

    case    16      SHA-256 over id (16 bytes), seq (4 bytes) and hash of each of the 16
    0185a306bb1a7ab0ac0e    7       9f      what the id begins with, seq, the hash's first byte
    ...

A hash does not compress: one for sixteen chains proves as much as one each, and takes a sixteenth.
The line of a chain is there to look its entry up, and to name it where the block differs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice, pairwise
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
_ENTRY = Struct(">16si32s")
"""As sql/audit/case-heads.sql writes it: id, seq, hash."""
_SHORT = 10
"""So many bytes of an id are written. UUIDv7 has a millisecond and 26 bits at random in them."""
_PARTS = Struct(">10s6si1s31x")
"""The same: what is written of the id, the rest of it, seq, and the first byte of the hash."""
_BLOCK_LINE = re.compile(r"(case|user)\t([0-9]{1,2})\t([0-9a-f]{64})")
_CHAIN_LINE = re.compile(r"([0-9a-f]{20}|[0-9a-f]{32})\t(-?[0-9]{1,10})\t([0-9a-f]{2})")
_OLD_LINE = re.compile(r"(case|user)\t([0-9a-f-]{36})\t(-?[0-9]{1,10})\t([0-9a-f]{40})")
_INTEGERS = range(-(2**31), 2**31)


@dataclass(frozen=True)
class Head:
    """The last entry of one chain at some moment, as far as it is noted."""

    known: str
    """Hexadecimal digits that the case's or user's id begins with; all 32, or the first 20."""
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
        name = str(UUID(self.first))
        return name if self.first == self.last else f"{name[:24]}..."

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
                yield _written(kind, rest[:size], before, rest[size : size + _SHORT])
                before = rest[size - _ENTRY.size :][:_SHORT]
                rest = rest[size:]
        yield _written(kind, rest, before, b"")


def read_old_heads(connection: Connection[Any]) -> Iterator[bytes]:
    """Yield the heads of all chains as earlier versions wrote them: a line each, with 20 bytes."""
    for kind in KINDS:
        for entries in _read_entries(connection, kind):
            yield "".join(
                f"{kind}\t{UUID(bytes=subject)}\t{seq}\t{digest[:20].hex()}\n"
                for subject, seq, digest in _ENTRY.iter_unpack(entries)
            ).encode()


def parse_heads(lines: Iterator[str]) -> Iterator[Block]:
    r"""Yield the blocks in lines of `read_heads` or `read_old_heads`, without their line ends.

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
        kind, count, digest = _groups(_BLOCK_LINE, line)
        if not 1 <= int(count) <= _BLOCK:
            raise ValueError(f"a block of {count} chains is none")
        heads = tuple(_parse_head(chain) for chain in islice(lines, int(count)))
        if len(heads) < int(count):
            raise ValueError("it ends in the middle of a block")
        yield Block(_kind(kind), heads, bytes.fromhex(digest))


def is_old(text: bytes) -> bool:
    """Whether a file of heads that begins with `text` is one of earlier versions."""
    return text.partition(b"\n")[0].count(b"\t") > 2


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
    """Return the lines of whole blocks; what the ids before and behind them begin with is given."""
    chains = list(_PARTS.iter_unpack(entries))
    starts = [before, *(start for start, _, _, _ in chains), behind]
    shared = {start for start, following in pairwise(starts) if start == following}
    lines = []
    for first in range(0, len(chains), _BLOCK):
        of_block = chains[first : first + _BLOCK]
        digest = sha256(entries[first * _ENTRY.size : (first + _BLOCK) * _ENTRY.size])
        lines.append(f"{kind}\t{len(of_block)}\t{digest.hexdigest()}\n")
        lines += [
            f"{(start + rest if start in shared else start).hex()}\t{seq}\t{noted.hex()}\n"
            for start, rest, seq, noted in of_block
        ]
    return "".join(lines).encode()


def _parse_head(line: str) -> Head:
    known, seq, noted = _groups(_CHAIN_LINE, line)
    return Head(known, _integer(seq), bytes.fromhex(noted))


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
