"""The heads of the audit trail's chains, as they are written beside a backup and read from there.

Batches of up to 10,000 chains, cases first, then users, ids descending. A batch is of these lines:

    cases   10000   16      018     how many, the digits of each id, and what all ids begin with
    58ab67...       for each 16 chains SHA-256 over id (16 bytes), seq (4 bytes) and hash of them
    fedcba...       the next digit of each chain's id
    ...             and so on, up to so many digits as the first line says
    000000...       8 lines for the digits of each seq, and 2 for those of each hash's first byte

A hash does not compress: one for sixteen chains proves as much as one each, and takes a sixteenth.
The digits of a chain are there to look its entry up, and to name it where the block of sixteen
differs. Of an id only so much is written as tells all of a batch from their neighbours. It lies by
columns, as Python cuts a column out of a whole batch at once; a line a chain took three times as
long, and was a fifth larger when compressed.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain, islice, takewhile
from struct import unpack
from typing import Any
from uuid import UUID

from psycopg import Connection

from casedb.audit_blocks import BLOCK, DIGITS, ENTRY, KINDS, Block, Head, Kind
from casedb.audit_heads_older import parse_older
from casedb.sqlfiles import read_sql

_HEADS = {"case": "audit/case-heads.sql", "user": "audit/user-heads.sql"}
_BATCH = 10_000
_LAST_ID = UUID(int=2**128 - 1)
_COLUMNS = (16, 4, 32)
"""How many bytes of an entry are in each column of sql/audit/case-heads.sql: id, seq, hash."""
_SHORT = 14
"""So many digits of an id are written at least. UUIDv7 has its millisecond in the first twelve."""
_SEQ_DIGITS, _NOTED_DIGITS = 8, 2
_DIGEST_DIGITS = 64
_FIRST_LINE = re.compile(r"(case|user)s\t([1-9][0-9]{0,4})\t([1-9][0-9]?)\t([0-9a-f]{0,31})")
_HEXADECIMAL = re.compile("[0-9a-f]*")


def read_heads(connection: Connection[Any]) -> Iterator[bytes]:
    """Yield the heads of all chains, as lines in pieces; see `parse_heads`.

    They are of one moment in a transaction that holds a snapshot, or where nobody else writes.
    """
    for kind in KINDS:
        before, entries = b"", b""
        # Each batch waits: how its ids are written depends on the one behind it.
        for behind in chain(_read_entries(connection, kind), [b""]):
            if entries:
                yield _written(kind, entries, before, behind[: ENTRY.size])
            before, entries = entries[-ENTRY.size :], behind


def are_all_heads(connection: Connection[Any], blocks: Iterable[Block]) -> bool:
    """Whether `blocks` are the heads of all chains: of each, of no other, and in their order.

    Of whatever version, as long as that had cases first, then users, ids descending.
    """
    found = chain.from_iterable(
        ((kind, entries[at : at + ENTRY.size]) for at in range(0, len(entries), ENTRY.size))
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

    Earlier versions wrote a line a chain; see audit_heads_older.py.

    Raises:
        ValueError: if they are none.

    >>> columns = ["1", *"00000003", *"ff"]
    >>> [block] = parse_heads(iter([f"cases\t1\t14\t{13 * '0'}", 32 * "00", *columns]))
    >>> block.heads
    (Head(known='00000000000001', seq=3, noted=b'\xff'),)
    """
    for line in lines:
        if first := _FIRST_LINE.fullmatch(line):
            word, count, digits, begin = first.groups()
            kind: Kind = "case" if word == "case" else "user"
            yield from _parse_batch(kind, int(count), int(digits), begin, lines)
        else:
            yield parse_older(line, lines)


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
            yield _interleaved(
                [
                    column[byte::size]
                    for column, size in zip(row, _COLUMNS, strict=True)
                    for byte in range(size)
                ]
            )
            lowest = int.from_bytes(row[0][-_COLUMNS[0] :])
            last = UUID(int=lowest - 1) if lowest else None


def _interleaved(columns: Sequence[bytes]) -> bytes:
    """Return the first bytes of all columns, then the second ones, and so on."""
    rows = bytearray(len(columns) * len(columns[0]))
    for place, column in enumerate(columns):
        rows[place :: len(columns)] = column
    return bytes(rows)


def _written(kind: Kind, entries: bytes, before: bytes, behind: bytes) -> bytes:
    """Return the lines of a batch; the entries before and behind it are given, if there are."""
    count, place = len(entries) // ENTRY.size, len(before) // ENTRY.size
    around = _telling_apart(before + entries + behind)
    ids = [column[place : place + count] for column in around]
    # They are in order: what the first and the last begin with, all of them do.
    begin = bytes(column[0] for column in takewhile(lambda c: c[0] == c[-1], ids[:-1]))
    size = BLOCK * ENTRY.size
    digests = [sha256(entries[at : at + size]) for at in range(0, len(entries), size)]
    lines = (
        f"{kind}s\t{count}\t{len(ids)}\t{begin.decode()}".encode(),
        "".join(digest.hexdigest() for digest in digests).encode(),
        *ids[len(begin) :],
        *(_column(entries, DIGITS + digit) for digit in range(_SEQ_DIGITS + _NOTED_DIGITS)),
        b"",
    )
    return b"\n".join(lines)


def _telling_apart(entries: bytes) -> list[bytes]:
    """Return the first digits of all ids, a column each: as many as tell neighbours apart."""
    columns: list[bytes] = []
    # A byte for each two neighbours: 0 as long as their digits are the same.
    differences, pairs = 0, len(entries) // ENTRY.size - 1
    for digit in range(DIGITS):
        column = _column(entries, digit)
        columns.append(column)
        differences |= int.from_bytes(column[1:]) ^ int.from_bytes(column[:-1])
        if len(columns) >= _SHORT and 0 not in differences.to_bytes(pairs):
            break
    return columns


def _column(entries: bytes, digit: int) -> bytes:
    """Return this digit of each entry, hexadecimal."""
    byte, half = divmod(digit, 2)
    return entries[byte :: ENTRY.size].hex().encode()[half::2]


def _parse_batch(
    kind: Kind, count: int, digits: int, begin: str, lines: Iterator[str]
) -> Iterator[Block]:
    width = digits - len(begin)
    if count > _BATCH or not 0 < width <= digits <= DIGITS:
        raise ValueError(f"{count} chains, {digits} digits, {len(begin)} in common: no batch")
    digests = bytes.fromhex(_line(lines, -(-count // BLOCK) * _DIGEST_DIGITS))
    ids = _rows(lines, width, count)
    numbers = unpack(f">{count}i", bytes.fromhex(_rows(lines, _SEQ_DIGITS, count)))
    noted = bytes.fromhex(_rows(lines, _NOTED_DIGITS, count))
    heads = (
        Head(begin + ids[at * width : (at + 1) * width], numbers[at], noted[at : at + 1])
        for at in range(count)
    )
    size = _DIGEST_DIGITS // 2
    for at in range(0, len(digests), size):
        yield Block(kind, tuple(islice(heads, BLOCK)), digests[at : at + size])


def _rows(lines: Iterator[str], columns: int, count: int) -> str:
    """Return the digits of lines that have a column each, one chain's after the other's."""
    return _interleaved([_line(lines, count).encode() for _ in range(columns)]).decode()


def _line(lines: Iterator[str], digits: int) -> str:
    line = next(lines, None)
    if line is None:
        raise ValueError("it ends in the middle of a batch")
    if len(line) != digits or not _HEXADECIMAL.fullmatch(line):
        raise ValueError(f"{line[:80]!r} is not a line of {digits} digits")
    return line
