r"""The heads of the audit trail's chains, as earlier versions of casedb wrote them beside a backup.

The first wrote a line each: what it is of, its whole id, seq, and 20 bytes of its hash:

    case    00000000-0000-0000-0000-00000000000b    7       9f...

Later ones wrote a line a block, and then one a chain:

    case    16      SHA-256 over the entries of the 16      0185a3
    06bb1a7a        7       9f      how the id goes on, seq, the hash's first byte
    ...

At the end of the block's line is what all ids of the block begin with. The second version had
nothing there, and 20 digits or all of each id in the lines of the chains.
"""

import re
from collections.abc import Iterator
from itertools import islice
from uuid import UUID

from casedb.audit_blocks import BLOCK, DIGITS, Block, Head, Kind

_BLOCK_LINE = re.compile(r"(case|user)\t([0-9]{1,2})\t([0-9a-f]{64})(?:\t([0-9a-f]{0,31}))?")
_CHAIN_LINE = re.compile(r"([0-9a-f]{1,32})\t(-?[0-9]{1,10})\t([0-9a-f]{2})")
_OLD_LINE = re.compile(r"(case|user)\t([0-9a-f-]{36})\t(-?[0-9]{1,10})\t([0-9a-f]{40})")
_INTEGERS = range(-(2**31), 2**31)


def parse_older(line: str, lines: Iterator[str]) -> Block:
    r"""Return the block that begins with `line`, whose other lines are taken from `lines`.

    Raises:
        ValueError: if they are none.

    >>> old = f"case\t{UUID(int=1)}\t3\t{20 * 'ff'}"
    >>> parse_older(old, iter([])).heads[0].seq
    3
    """
    if old := _OLD_LINE.fullmatch(line):
        kind, subject, seq, noted = old.groups()
        head = Head(UUID(subject).hex, _integer(seq), bytes.fromhex(noted))
        return Block(_kind(kind), (head,), None)
    kind, count, digest, begin = _groups(_BLOCK_LINE, line)
    if not 1 <= int(count) <= BLOCK:
        raise ValueError(f"a block of {count} chains is none")
    heads = tuple(_parse_head(begin or "", line) for line in islice(lines, int(count)))
    if len(heads) < int(count):
        raise ValueError("it ends in the middle of a block")
    return Block(_kind(kind), heads, bytes.fromhex(digest))


def _parse_head(begin: str, line: str) -> Head:
    known, seq, noted = _groups(_CHAIN_LINE, line)
    if len(begin + known) > DIGITS:
        raise ValueError(f"{begin + known} is too long for an id")
    return Head(begin + known, _integer(seq), bytes.fromhex(noted))


def _groups(pattern: re.Pattern[str], line: str) -> tuple[str, ...]:
    found = pattern.fullmatch(line)
    if found is None:
        raise ValueError(f"{line[:80]!r} begins neither a batch nor a block, and is no chain")
    return found.groups()


def _kind(word: str) -> Kind:
    return "case" if word == "case" else "user"


def _integer(digits: str) -> int:
    if (number := int(digits)) not in _INTEGERS:
        raise ValueError(f"{digits} is not the number of an entry")
    return number
