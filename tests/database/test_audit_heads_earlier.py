"""Heads of the chains as earlier versions of casedb wrote them are still checked."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from casedb.audit_blocks import Block
from casedb.audit_heads import are_all_heads, parse_heads
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from tests.database.audit_world import (
    CASE,
    far,
    forged,
    problems,
    removed,
    report_of,
    tamper,
    text_of_heads,
    text_of_heads_in_blocks,
    text_of_heads_in_twenty_digits,
    text_of_old_heads,
)


def test_the_heads_of_earlier_versions_are_checked(many: Conninfo) -> None:
    text = text_of_old_heads(many)
    with connect(many, purpose="test") as admin:
        last = scalar(admin, "SELECT hash FROM public.case_logs WHERE case_id = %s", far(18))
    assert text.startswith(f"case\t{far(18)}\t1\t{last[:20].hex()}\ncase\t{far(17)}\t1\t")
    heads = list(parse_heads(iter(text.splitlines())))
    assert report_of(many, heads).anchored == 24
    assert problems(many, heads=heads) == []

    tamper(many, forged(far(9), same_byte=True), *removed(far(12)), *removed(CASE))

    assert problems(many, heads=heads) == [
        ("case", str(far(12)), 1),
        ("case", str(far(9)), 1),
        ("case", str(CASE), 7),
    ]
    assert problems(many, heads=heads, case=far(9)) == [("case", str(far(9)), 1)]
    assert problems(many, heads=heads, case=far(4)) == []


def test_heads_of_twenty_digits_are_checked(many: Conninfo) -> None:
    heads = list(parse_heads(iter(text_of_heads_in_twenty_digits(many).splitlines())))
    assert {len(head.known) for block in heads for head in block.heads} == {20, 32}
    assert report_of(many, heads).anchored == 24
    assert problems(many, heads=heads) == []

    tamper(many, forged(far(9), same_byte=False), *removed(far(12)))

    assert problems(many, heads=heads) == [
        ("case", f"{str(far(12))[:23]}...", 1),
        ("case", str(far(9)), 1),
    ]


def test_heads_of_as_many_digits_as_a_block_needs_are_checked(many: Conninfo) -> None:
    heads = list(parse_heads(iter(text_of_heads_in_blocks(many).splitlines())))
    assert {len(head.known) for block in heads for head in block.heads} == {14, 32}
    assert report_of(many, heads).anchored == 24
    assert problems(many, heads=heads) == []

    tamper(many, forged(far(9), same_byte=False), *removed(far(12)), *removed(CASE))

    assert problems(many, heads=heads) == [
        ("case", f"{str(far(12))[:16]}...", 1),
        ("case", str(far(9)), 1),
        ("case", str(CASE), 7),
    ]


@pytest.mark.parametrize(
    "written",
    [text_of_heads, text_of_heads_in_blocks, text_of_heads_in_twenty_digits, text_of_old_heads],
)
def test_heads_are_all_heads_or_not_whichever_version_wrote_them(
    many: Conninfo, written: Callable[[Conninfo], str]
) -> None:
    heads = list(parse_heads(iter(written(many).splitlines())))

    def are_all(blocks: list[Block]) -> bool:
        with connect(many, purpose="test") as admin:
            return are_all_heads(admin, blocks)

    assert are_all(heads)
    assert not are_all(heads[:-1])
    assert not are_all([*heads, heads[-1]])
    assert not are_all([heads[-1], *heads[1:-1], heads[0]])
    assert not are_all([replace(block, kind="case") for block in heads])
    tamper(many, forged(far(9), same_byte=True))
    assert not are_all(heads)
