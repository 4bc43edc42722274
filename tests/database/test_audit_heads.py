"""The heads of the chains as a backup has them: how they are written, and what they prove."""

from hashlib import sha256
from itertools import groupby
from uuid import UUID

import psycopg
import pytest

from casedb import audit_heads
from casedb.audit_blocks import Block
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.sqlfiles import read_sql
from tests.database.audit_world import (
    CASE,
    CHAIR,
    CLERK,
    HASH,
    WORKER,
    WORKER_2,
    chained,
    far,
    forged,
    heads_of,
    last_entries,
    problems,
    removed,
    report_of,
    tamper,
    text_of_heads,
)


def expected_text(target: Conninfo, batch: int = 10_000) -> str:
    """The heads, written by hand from the rows."""
    text = ""
    for kind, of_kind in groupby(last_entries(target), lambda entry: entry[0]):
        chains = [
            (subject.hex, seq, digest if len(digest) == 32 else sha256(digest).digest())
            for _, subject, seq, digest in of_kind
        ]
        ids = [subject for subject, _, _ in chains]
        for of_batch in (chains[at : at + batch] for at in range(0, len(chains), batch)):
            text += written_by_hand(kind, of_batch, ids)
    return text


def written_by_hand(kind: str, chains: list[tuple[str, int, bytes]], ids: list[str]) -> str:
    # As many digits as tell each of them from all others.
    known = next(
        count
        for count in range(14, 33)
        if all(sum(i[:count] == one[:count] for i in ids) == 1 for one, _, _ in chains)
    )
    begin = chains[0][0][: known - 1]
    while not all(one.startswith(begin) for one, _, _ in chains):
        begin = begin[:-1]
    digests = ""
    for block in (chains[at : at + 16] for at in range(0, len(chains), 16)):
        entries = [bytes.fromhex(one) + seq.to_bytes(4, "big") + proof for one, seq, proof in block]
        digests += sha256(b"".join(entries)).hexdigest()
    rows = [f"{one[len(begin) : known]}{seq:08x}{proof[0]:02x}" for one, seq, proof in chains]
    columns = ["".join(column) for column in zip(*rows, strict=True)]
    return "\n".join([f"{kind}s\t{len(chains)}\t{known}\t{begin}", digests, *columns, ""])


def told_of(target: Conninfo, heads: list[Block], *, case: UUID | None = None) -> list[str]:
    return [str(finding) for finding in report_of(target, heads, case=case).findings]


def test_the_lines_are_digests_of_sixteen_and_the_digits_by_columns(many: Conninfo) -> None:
    text = text_of_heads(many)

    assert text == expected_text(many)
    lines = text.splitlines()
    # Where neighbours begin alike, all of a batch are written whole.
    assert lines[0] == "cases\t20\t32\t00000"
    assert len(lines[1]) == 2 * 64
    assert lines[2] == "1" * 3 + "0" * 17
    assert lines[3] == "210fedcba98765432100"
    assert lines[28] == "0" * 18 + "cb"
    assert lines[36] == "1" * 18 + "77"
    assert [len(line) for line in lines[2:39]] == 37 * [20]
    assert lines[39].startswith("users\t4\t32\t")
    assert problems(many, heads=heads_of(many)) == []


@pytest.mark.parametrize("batch", [1, 2, 15, 16, 17, 33])
def test_heads_read_in_parts_are_those_of_every_chain(
    told: Conninfo, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids that begin alike lie on both sides of a block's end, and of a batch's."""
    alike = [UUID(int=(n << 100) + last) for n in range(1, 18) for last in (0, 1)]
    chained(told, far(40), *alike, UUID(int=0))
    with psycopg.connect(told.dsn) as admin:
        admin.execute("SET LOCAL casedb.bulk_load = on")
        admin.execute(
            "INSERT INTO public.cases (id, title, description, created_by)"
            " VALUES (%s, 't', '', %s)",
            (UUID(int=2**128 - 1), CLERK),
        )
    monkeypatch.setattr(audit_heads, "_BATCH", batch)

    assert text_of_heads(told) == expected_text(told, batch)
    # The one that has no log is the last that was added.
    assert problems(told, heads=heads_of(told)) == [("case", str(UUID(int=2**128 - 1)), None)]


def test_the_highest_id_there_is_has_a_head_too(told: Conninfo) -> None:
    highest = UUID(int=2**128 - 1)
    chained(told, highest)

    heads = heads_of(told)

    assert (heads[0].heads[0].known, heads[0].heads[0].seq) == (highest.hex, 1)
    assert problems(told, heads=heads) == []
    tamper(told, *removed(highest))
    assert told_of(told, heads) == [f"case {highest}: entry 1 is gone, which backup x vouches for"]


def test_the_heads_are_looked_up_by_the_unique_key_and_not_sorted(many: Conninfo) -> None:
    heads = [head for block in heads_of(many) if block.kind == "case" for head in block.heads]
    with psycopg.connect(many.dsn) as admin:
        admin.execute("ANALYZE public.case_logs")
        # In so small a table, reading all of it is the cheapest.
        admin.execute("SET LOCAL enable_seqscan = off")
        admin.execute("SET LOCAL enable_hashjoin = off")
        admin.execute("SET LOCAL enable_mergejoin = off")
        plans = [
            "\n".join(
                line for (line,) in admin.execute(b"EXPLAIN " + read_sql(name).encode(), values)
            )
            for name, values in (
                ("audit/case-heads.sql", {"last": UUID(int=2**128 - 1), "size": 10_000}),
                (
                    "audit/anchored-cases.sql",
                    ([h.first for h in heads], [h.last for h in heads], [h.seq for h in heads]),
                ),
            )
        ]
    assert "Index Scan Backward using case_logs_case_id_seq_key" in plans[0]
    assert "Sort" not in plans[0]
    assert "Index Scan using case_logs_case_id_seq_key" in plans[1]
    by_key = "Index Cond: ((case_id >= a.first) AND (case_id <= a.last) AND (seq = a.seq))"
    assert by_key in plans[1]


def test_a_hash_that_is_none_is_noted_and_vouched_for(many: Conninfo) -> None:
    """Together as long as two hashes, so that only what is in between would be read wrongly."""
    before = heads_of(many)
    longer = (
        f"UPDATE public.case_logs SET hash = hash || '\\x00' WHERE case_id = '{far(5)}'",
        f"UPDATE public.case_logs SET hash = substring(hash FOR 31) WHERE case_id = '{far(7)}'",
        f"UPDATE public.case_logs SET hash = NULL WHERE case_id = '{far(17)}'",
    )
    tamper(
        many,
        "ALTER TABLE public.case_logs DROP CONSTRAINT case_logs_chained",
        "ALTER TABLE public.case_logs ALTER COLUMN hash DROP NOT NULL",
        *longer[:2],
    )

    assert text_of_heads(many) == expected_text(many)
    plain = [("case", str(far(5)), 1), ("case", str(far(7)), 1)]
    assert problems(many) == problems(many, heads=heads_of(many)) == plain
    assert len(problems(many, heads=before)) > len(plain)

    tamper(many, longer[2])
    assert sum(len(block.heads) for block in heads_of(many)) == 24
    assert len(problems(many, heads=heads_of(many))) == 3


def test_an_entry_without_a_number_does_not_leave_its_chain_out(many: Conninfo) -> None:
    tamper(
        many,
        "ALTER TABLE public.case_logs ALTER seq DROP NOT NULL",
        f"UPDATE public.case_logs SET seq = NULL WHERE case_id = '{far(5)}'",
    )

    found = {head.first: head.seq for b in heads_of(many) for head in b.heads if b.kind == "case"}
    assert len(found) == 20
    assert found[far(5).hex] == 0


def test_the_end_of_a_users_chain_that_was_cut_off_is_gone(staffed: Conninfo) -> None:
    with connect(staffed.replace(user="case_seed"), purpose="test") as seed:
        seed.execute("UPDATE public.users SET is_active = false WHERE id = %s", (CLERK,))
    heads = heads_of(staffed)
    tamper(
        staffed,
        "ALTER TABLE audit.user_logs DISABLE TRIGGER ALL",
        f"DELETE FROM audit.user_logs WHERE user_id = '{CLERK}' AND seq = 2",
    )

    assert told_of(staffed, heads) == [f"user {CLERK}: entry 2 is gone, which backup x vouches for"]


def test_which_of_two_that_begin_alike_has_lost_its_log_is_not_guessed(staffed: Conninfo) -> None:
    """Of the head the beginning is known only: nothing else began so when it was written."""
    earlier, later = UUID(int=far(3).int + 1), far(3)
    user = (
        "INSERT INTO public.users (id, email, password, role, first_name, last_name)"
        " VALUES (%s, %s, %s, 'CLERK', 'Jane', 'Doe')"
    )
    chained(staffed, earlier)
    with connect(staffed.replace(user="case_seed"), purpose="test") as seed:
        seed.execute(user, (earlier, "one@example.com", HASH))
    # Of users that begin alike, all of each id is written.
    tamper(
        staffed,
        "ALTER TABLE audit.user_logs DISABLE TRIGGER ALL",
        f"DELETE FROM audit.user_logs WHERE user_id IN ('{CHAIR}', '{WORKER}', '{WORKER_2}')",
        "ALTER TABLE audit.user_logs ENABLE TRIGGER ALL",
    )
    heads = heads_of(staffed)
    chained(staffed, later)
    with connect(staffed.replace(user="case_seed"), purpose="test") as seed:
        seed.execute(user, (later, "two@example.com", HASH))
    both = f"('{earlier}', '{later}')"
    tamper(
        staffed,
        "ALTER TABLE audit.user_logs DISABLE TRIGGER ALL",
        f"DELETE FROM public.case_logs WHERE case_id IN {both}",
        f"DELETE FROM audit.user_logs WHERE user_id IN {both}",
    )

    gone = "entry 1 is gone, which backup x vouches for"
    told = told_of(staffed, heads)
    assert [line for line in told if line.endswith(gone)] == [
        f"case {str(later)[:16]}...: {gone}",
        f"user {str(later)[:16]}...: {gone}",
    ]


def test_a_rewritten_chain_whose_hash_begins_as_before_is_found_with_its_block(
    many: Conninfo,
) -> None:
    heads = heads_of(many)
    tamper(many, forged(far(9), same_byte=True))

    assert problems(many) == []
    report = report_of(many, heads)
    assert [str(finding) for finding in report.findings] == [
        f"case {far(3)} to {far(18)}: one of these 16 chains is not the one that backup x vouches"
        " for; restore it to see which"
    ]
    assert (report.anchored, report.unproven) == (24, 16)


def test_a_rewritten_chain_whose_hash_begins_otherwise_is_named(many: Conninfo) -> None:
    heads = heads_of(many)
    tamper(many, forged(far(9), same_byte=False))

    assert problems(many) == []
    report = report_of(many, heads)
    assert [str(finding) for finding in report.findings] == [
        f"case {far(9)}: entry 1 is not the one that backup x vouches for: it or an earlier one"
        " was rewritten"
    ]
    assert (report.anchored, report.unproven) == (24, 15)


def test_a_block_of_one_chain_names_it(staffed: Conninfo) -> None:
    chained(staffed, far(1))
    heads = heads_of(staffed)
    tamper(staffed, forged(far(1), same_byte=True))

    for case in (None, far(1)):
        report = report_of(staffed, heads, case=case)
        assert [str(finding) for finding in report.findings] == [
            f"case {far(1)}: entry 1 is not the one that backup x vouches for: it or an earlier one"
            " was rewritten"
        ]
        assert report.unproven == 0


def test_each_kind_of_damage_in_one_block_is_named(many: Conninfo) -> None:
    heads = heads_of(many)
    tamper(
        many,
        forged(far(9), same_byte=False),
        f"DELETE FROM public.case_logs WHERE case_id = '{far(5)}'",
        *removed(far(12)),
    )

    gone = "entry 1 is gone, which backup x vouches for"
    assert told_of(many, heads) == [
        f"case {far(5)}: it has no log at all",
        f"case {far(12)}: {gone}",
        f"case {far(9)}: entry 1 is not the one that backup x vouches for: it or an earlier one"
        " was rewritten",
        f"case {far(5)}: {gone}",
    ]


def test_neighbours_that_begin_alike_are_found_whole(many: Conninfo) -> None:
    heads = heads_of(many)
    tamper(many, *removed(CASE))

    assert problems(many, heads=heads) == [("case", str(CASE), 7)]


def test_one_case_is_vouched_for_with_its_block_only(many: Conninfo) -> None:
    heads = heads_of(many)
    assert report_of(many, heads, case=far(4)).anchored == 1
    tamper(many, forged(far(9), same_byte=False), *removed(far(12)))

    assert told_of(many, heads, case=far(9)) == [
        f"case {far(9)}: entry 1 is not the one that backup x vouches for: it or an earlier one"
        " was rewritten"
    ]
    assert told_of(many, heads, case=far(12)) == [
        f"case {far(12)}: entry 1 is gone, which backup x vouches for"
    ]
    other = report_of(many, heads, case=far(4))
    assert [str(finding) for finding in other.findings] == [
        f"case {far(4)}: whether entry 1 was rewritten is not known: backup x vouches for 16 chains"
        " together, of which one was; restore it to compare"
    ]
    assert (other.anchored, other.unproven) == (1, 1)
    # This one is in another block.
    assert told_of(many, heads, case=far(2)) == []


def test_a_later_case_that_begins_alike_does_not_hide_or_break_an_earlier_one(
    staffed: Conninfo,
) -> None:
    """Its entry has the same number, its hash begins with the same byte, and it is found first."""
    earlier, later = UUID(int=far(3).int + 1), far(3)
    chained(staffed, far(1), earlier)
    heads = heads_of(staffed)
    chained(staffed, later)
    with connect(staffed, purpose="test") as admin:
        kept = scalar(admin, "SELECT hash FROM public.case_logs WHERE case_id = %s", earlier)
    tamper(
        staffed,
        f"UPDATE public.case_logs SET hash = '\\x{kept[:31].hex()}00' WHERE case_id = '{later}'",
    )

    assert problems(staffed, heads=heads) == problems(staffed) == [("case", str(later), 1)]
    assert report_of(staffed, heads, case=earlier).anchored == 1
    # This one came later than the heads, which say nothing of it.
    assert report_of(staffed, heads, case=later).anchored == 0

    tamper(staffed, *removed(earlier))
    assert ("case", f"{far(1)} to {later}", None) in problems(staffed, heads=heads)
