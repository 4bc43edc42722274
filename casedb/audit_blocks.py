"""The heads of the audit trail's chains, in blocks that are vouched for together."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from struct import Struct
from typing import Literal
from uuid import UUID

Kind = Literal["case", "user"]

KINDS: tuple[Kind, ...] = ("case", "user")
ENTRY = Struct(">16si32s")
"""The last entry of a chain, as sql/audit/anchored-cases.sql has it: id, seq, hash."""
DIGITS = 32
"""Of an id, hexadecimal."""
BLOCK = 16
"""So many chains are vouched for together."""


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
        return self.known.ljust(DIGITS, "0")

    @property
    def last(self) -> str:
        """The highest id that it can be of."""
        return self.known.ljust(DIGITS, "f")

    @property
    def name(self) -> str:
        """The id; with dots at its end where only its first digits are known."""
        if len(self.known) == DIGITS:
            return str(UUID(self.known))
        groups = (self.known[begin:end] for begin, end in pairwise((0, 8, 12, 16, 20, DIGITS)))
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
                for subject, seq, digest in [ENTRY.unpack(entry)]
            )
        )
