"""The heads of the chains as text: what is written is read again, and nothing else is."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest

from casedb import audit_heads
from casedb.audit_blocks import Block, Head, Kind
from casedb.audit_heads import are_all_heads, parse_heads, read_heads

Chain = tuple[UUID, int]


class Chains:
    """A connection to a server that has these chains, ids descending."""

    def __init__(self, **chains: Sequence[Chain]) -> None:
        self.chains = chains
        self.found: list[Chain] = []

    def cursor(self, *, binary: bool) -> "Chains":
        assert binary
        return self

    def __enter__(self) -> "Chains":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, sql: str, values: dict[str, Any]) -> None:
        chains = self.chains["cases" if "case_id" in sql else "users"]
        self.found = [chain for chain in chains if chain[0] <= values["last"]][: values["size"]]

    def fetchone(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        if not self.found:
            return (None, None, None)
        entries = [entry_of(chain) for chain in self.found]
        columns = ((0, 16), (16, 20), (20, 52))
        ids, numbers, hashes = (b"".join(e[a:b] for e in entries) for a, b in columns)
        return ids, numbers, hashes


def connected(cases: Sequence[Chain] = (), users: Sequence[Chain] = ()) -> psycopg.Connection[Any]:
    return cast(psycopg.Connection[Any], Chains(cases=cases, users=users))


def entry_of(chain: Chain) -> bytes:
    subject, seq = chain
    return subject.bytes + seq.to_bytes(4, "big", signed=True) + sha256(subject.bytes).digest()


def blocks_of(kind: Kind, chains: Sequence[Chain], digits: int) -> list[Block]:
    """The blocks that chains in a single batch come to."""
    return [
        Block(
            kind,
            tuple(
                Head(subject.hex[:digits], seq, sha256(subject.bytes).digest()[:1])
                for subject, seq in block
            ),
            sha256(b"".join(map(entry_of, block))).digest(),
        )
        for block in (chains[at : at + 16] for at in range(0, len(chains), 16))
    ]


def written(connection: psycopg.Connection[Any]) -> list[str]:
    return b"".join(read_heads(connection)).decode().splitlines()


def far(count: int) -> list[Chain]:
    """So many chains whose ids differ in their first digits."""
    return [(UUID(int=n << 100), n % 9) for n in range(count, 0, -1)]


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 32, 33, 300])
def test_as_many_chains_as_there_are_come_back(count: int) -> None:
    users = far(count)[:5]
    connection = connected(far(count), users)

    blocks = list(parse_heads(iter(written(connection))))

    assert blocks == blocks_of("case", far(count), 14) + blocks_of("user", users, 14)
    assert are_all_heads(connection, blocks)
    assert are_all_heads(connection, blocks[:-1]) is (not blocks)


@pytest.mark.parametrize("seq", [-(2**31), -1, 0, 1, 255, 256, 2**31 - 1])
def test_every_number_comes_back(seq: int) -> None:
    chains = [(UUID(int=9 << 100), seq), (UUID(int=7 << 100), 1)]

    assert list(parse_heads(iter(written(connected(chains))))) == blocks_of("case", chains, 14)


@pytest.mark.parametrize("digits", range(14, 33))
def test_ids_are_as_long_as_tells_neighbours_apart(digits: int) -> None:
    apart = UUID(int=(5 << 100) + (1 << 4 * (32 - digits)))
    chains = [(UUID(int=9 << 100), 1), (apart, 1), (UUID(int=5 << 100), 1)]

    lines = written(connected(chains))

    # The first two differ in their seventh digit, and have six in common.
    assert lines[0] == f"cases\t3\t{digits}\t000000"
    assert len(lines) == 2 + (digits - 6) + 8 + 2
    assert list(parse_heads(iter(lines))) == blocks_of("case", chains, digits)


def test_adjacent_ids_are_written_whole_with_all_but_their_ends_in_common() -> None:
    chains = [(UUID(int=n), 3) for n in range(9, -1, -1)]

    lines = written(connected(chains))

    assert lines[0] == f"cases\t10\t32\t{31 * '0'}"
    assert lines[2] == "9876543210"
    assert list(parse_heads(iter(lines))) == blocks_of("case", chains, 32)


def test_a_batch_is_told_from_those_before_and_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_heads, "_BATCH", 2)
    ids = [9 << 100, (8 << 100) + 1, 8 << 100, 7 << 100, 6 << 100, 5 << 100, 4 << 100]
    connection = connected([(UUID(int=number), 1) for number in ids])

    lines = written(connection)

    assert [line.split("\t")[:3] for line in lines if "\t" in line] == [
        ["cases", "2", "32"],
        ["cases", "2", "32"],
        ["cases", "2", "14"],
        ["cases", "1", "14"],
    ]
    assert are_all_heads(connection, parse_heads(iter(lines)))


FIRST_FORM = """\
case\t018f2c00-0000-7000-8000-000000000002\t3\t00112233445566778899aabbccddeeff00112233
user\t018f2c00-0000-7000-8000-000000000001\t-1\tffeeddccbbaa99887766554433221100ffeeddcc
"""
SECOND_FORM = """\
case\t2\t00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
018f2c00000070008000\t12\tab
018f2bffffff70008000000000000001\t3\t0f
"""
THIRD_FORM = """\
case\t2\t00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\t018f2
c00000070\t12\tab
bffffff70\t-3\t0f
user\t1\tffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100\t018f2c0000007
0\t1\t00
"""
PRESENT_FORM = """\
cases\t2\t14\t018f2
00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
cb
0f
0f
0f
0f
0f
0f
77
00
0f
0f
0f
0f
0f
0f
0f
cd
a0
bf
users\t1\t14\t018f2c0000007
ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100
0
0
0
0
0
0
0
0
1
0
0
"""
PROOF = bytes.fromhex("00112233445566778899aabbccddeeff")
OTHER = PROOF[::-1]


def test_the_first_form_had_a_line_a_chain() -> None:
    assert list(parse_heads(iter(FIRST_FORM.splitlines()))) == [
        Block("case", (Head("018f2c00000070008000000000000002", 3, PROOF + PROOF[:4]),), None),
        Block(
            "user",
            (Head("018f2c00000070008000000000000001", -1, OTHER + OTHER[:4]),),
            None,
        ),
    ]


def test_the_second_form_had_a_line_a_block_and_twenty_digits_or_all() -> None:
    heads = (
        Head("018f2c00000070008000", 12, b"\xab"),
        Head("018f2bffffff70008000000000000001", 3, b"\x0f"),
    )
    assert list(parse_heads(iter(SECOND_FORM.splitlines()))) == [Block("case", heads, PROOF * 2)]


@pytest.mark.parametrize("text", [THIRD_FORM, PRESENT_FORM])
def test_the_third_form_had_in_a_line_a_chain_what_now_has_columns(text: str) -> None:
    heads = (Head("018f2c00000070", 12, b"\xab"), Head("018f2bffffff70", -3, b"\x0f"))
    assert list(parse_heads(iter(text.splitlines()))) == [
        Block("case", heads, PROOF * 2),
        Block("user", (Head("018f2c00000070", 1, b"\x00"),), OTHER * 2),
    ]


def is_refused(lines: Sequence[str]) -> bool:
    try:
        list(parse_heads(iter(lines)))
    except ValueError:
        return True
    return False


def test_a_text_that_lacks_a_line_or_has_one_twice_is_refused() -> None:
    lines = PRESENT_FORM.splitlines()
    of_cases = lines.index("users\t1\t14\t018f2c0000007")

    whole = [end for end in range(len(lines) + 1) if not is_refused(lines[:end])]
    assert whole == [0, of_cases, len(lines)]
    for at in range(len(lines)):
        assert is_refused(lines[:at] + lines[at + 1 :])
        assert is_refused(lines[: at + 1] + lines[at:])


@pytest.mark.parametrize("other", ["g", "A", " ", "\t", "-", "٣", "é", ""])
def test_a_character_that_is_no_digit_is_refused_wherever_it_stands(other: str) -> None:
    lines = PRESENT_FORM.splitlines()
    for number, line in enumerate(lines):
        for at in range(len(line)):
            changed = line[:at] + other + line[at + 1 :]
            if changed != line:
                assert is_refused([*lines[:number], changed, *lines[number + 1 :]]), changed


def test_another_digit_is_refused_or_is_another_head() -> None:
    lines = PRESENT_FORM.splitlines()
    blocks = list(parse_heads(iter(lines)))
    for number, line in enumerate(lines):
        for at, digit in enumerate(line):
            changed = line[:at] + ("1" if digit == "0" else "0") + line[at + 1 :]
            damaged = [*lines[:number], changed, *lines[number + 1 :]]
            assert is_refused(damaged) or list(parse_heads(iter(damaged))) != blocks


OLD_BLOCK, OLD_CHAIN = f"case\t1\t{'0' * 64}\t0", f"{'0' * 13}\t1\t00"
BATCH, DIGEST, COLUMNS = f"cases\t1\t14\t{'0' * 13}", "0" * 64, 11 * ["0"]
SUBJECT = str(UUID(int=11))


@pytest.mark.parametrize(
    "lines",
    [
        ["nothing"],
        [""],
        [OLD_CHAIN],
        [OLD_BLOCK],
        [OLD_BLOCK.replace("\t1\t", "\t2\t"), OLD_CHAIN],
        [OLD_BLOCK.replace("\t1\t", "\t0\t")],
        [OLD_BLOCK.replace("\t1\t", "\t17\t"), *[OLD_CHAIN] * 17],
        [OLD_BLOCK[:-4], OLD_CHAIN],
        [OLD_BLOCK[:-1] + "0" * 20, OLD_CHAIN],
        [OLD_BLOCK + "g", OLD_CHAIN],
        [OLD_BLOCK, OLD_CHAIN.lstrip("0")],
        [OLD_BLOCK.replace("case", "file"), OLD_CHAIN],
        [OLD_BLOCK.replace("case", "cases"), OLD_CHAIN],
        [OLD_BLOCK, f"{'0' * 19}{OLD_CHAIN}"],
        [OLD_BLOCK, OLD_CHAIN.replace("\t1\t", "\t2147483648\t")],
        [OLD_BLOCK, f"{OLD_CHAIN}00"],
        [f"case\t{SUBJECT}\t1\t{'0' * 38}"],
        [f"case\t{SUBJECT[:-1]}-\t1\t{'0' * 40}"],
        [BATCH.replace("cases", "case"), DIGEST, *COLUMNS],
        [BATCH.replace("cases", "files"), DIGEST, *COLUMNS],
        [BATCH.replace("\t1\t", "\t0\t"), "", *[""] * 11],
        [BATCH.replace("\t1\t", "\t01\t"), DIGEST, *COLUMNS],
        [BATCH.replace("\t1\t", "\t2\t"), DIGEST, *COLUMNS],
        [BATCH.replace("\t1\t", "\t10001\t"), "0" * 64 * 626, *["0" * 10_001] * 11],
        [BATCH.replace("\t14\t", "\t33\t"), DIGEST, *COLUMNS, *["0"] * 19],
        [BATCH.replace("\t14\t", "\t15\t"), DIGEST, *COLUMNS],
        [BATCH.replace("\t14\t", "\t13\t"), DIGEST, *COLUMNS[1:]],
        [BATCH.replace("\t14\t", "\t12\t"), DIGEST, *COLUMNS],
        [BATCH + "0" * 19, DIGEST, *COLUMNS],
        [BATCH, DIGEST * 2, *COLUMNS],
        [BATCH, DIGEST, *COLUMNS, "0"],
        [BATCH, DIGEST, *COLUMNS[1:]],
        [BATCH, DIGEST, *COLUMNS[1:], "00"],
    ],
)
def test_lines_that_are_no_heads_are_refused(lines: list[str]) -> None:
    assert not is_refused([OLD_BLOCK, OLD_CHAIN, BATCH, DIGEST, *COLUMNS])

    assert is_refused(lines)
