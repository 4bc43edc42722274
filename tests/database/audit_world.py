"""Four users, two cases with a history, and what the audit trail says of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import groupby
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection

from casedb.audit import AuditReport, verify
from casedb.audit_blocks import Block
from casedb.audit_heads import parse_heads, read_heads
from casedb.conninfo import Conninfo
from casedb.database import connect

HASH = "$2b$10$" + "a" * 53
CLERK, CHAIR, WORKER, WORKER_2 = (UUID(int=n) for n in range(1, 5))
USERS = ((CLERK, "CLERK"), (CHAIR, "CHAIR"), (WORKER, "CASEWORKER"), (WORKER_2, "CASEWORKER"))
CASE, OTHER = UUID(int=11), UUID(int=12)


@contextmanager
def acting(target: Conninfo, user: UUID) -> Iterator[Connection[Any]]:
    """A back end's transaction for `user`, committed at the end."""
    with psycopg.connect(target.replace(user="case_app").dsn) as connection:
        connection.execute("SELECT public.act_as(%s)", (str(user),))
        yield connection


def log(target: Conninfo, case: UUID = CASE) -> list[tuple[Any, ...]]:
    with connect(target, purpose="test") as admin:
        return admin.execute(
            "SELECT seq, action, user_id, login, details FROM public.case_logs"
            " WHERE case_id = %s ORDER BY seq",
            (case,),
        ).fetchall()


def problems(
    target: Conninfo, *, heads: list[Block] | None = None, case: UUID | None = None
) -> list[tuple[str, str, int | None]]:
    with connect(target.replace(user="case_backup"), purpose="test") as connection:
        report = verify(connection, heads=heads, case=case)
    return [(finding.kind, finding.subject, finding.seq) for finding in report.findings]


def chained(target: Conninfo, *cases: UUID) -> None:
    """Make cases with a log of one entry each."""
    with psycopg.connect(target.dsn) as admin:
        admin.execute("SET LOCAL casedb.bulk_load = on")
        for case in cases:
            admin.execute(
                "INSERT INTO public.cases (id, title, description, created_by)"
                " VALUES (%s, 't', '', %s)",
                (case, CLERK),
            )
        admin.execute("SET LOCAL casedb.bulk_load = off")
        for case in cases:
            admin.execute(
                "INSERT INTO public.case_logs (case_id, user_id, action)"
                " VALUES (%s, %s, 'created')",
                (case, CLERK),
            )


def tamper(target: Conninfo, *statements: str) -> None:
    """Do what only a superuser or the owner can: switch the triggers off first."""
    tables = ("public.case_logs", "public.cases", "public.case_documents", "public.case_comments")
    with psycopg.connect(target.dsn) as admin:
        for table in tables:
            admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())
        for statement in statements:
            admin.execute(statement.encode())
        for table in tables:
            admin.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL".encode())


def text_of_heads(target: Conninfo) -> str:
    with connect(target.replace(user="case_backup"), purpose="test") as connection:
        return b"".join(read_heads(connection)).decode()


def text_of_old_heads(target: Conninfo) -> str:
    """The heads as the first version wrote them: a line each, with 20 bytes of the hash."""
    return "".join(
        f"{kind}\t{subject}\t{seq}\t{digest[:20].hex()}\n"
        for kind, subject, seq, digest in last_entries(target)
    )


def text_of_heads_in_twenty_digits(target: Conninfo) -> str:
    """The heads as the second version wrote them: blocks, and 20 digits or all of each id."""
    lines = []
    for kind, of_kind in groupby(last_entries(target), lambda entry: entry[0]):
        entries = list(of_kind)
        starts = [subject.hex[:20] for _, subject, _, _ in entries]
        for block in (entries[at : at + 16] for at in range(0, len(entries), 16)):
            proof = sha256(b"".join(s.bytes + n.to_bytes(4, "big") + h for _, s, n, h in block))
            lines.append(f"{kind}\t{len(block)}\t{proof.hexdigest()}\n")
            for _, subject, seq, digest in block:
                alone = starts.count(subject.hex[:20]) == 1
                known = subject.hex[:20] if alone else subject.hex
                lines.append(f"{known}\t{seq}\t{digest[0]:02x}\n")
    return "".join(lines)


def text_of_heads_in_blocks(target: Conninfo) -> str:
    """The heads as the third version wrote them: of each id what tells it from its neighbours."""
    text = ""
    for kind, of_kind in groupby(last_entries(target), lambda entry: entry[0]):
        ends = {subject: (seq, digest) for _, subject, seq, digest in of_kind}
        ids = [subject.hex for subject in ends]
        chains = list(ends.items())
        for block in (chains[at : at + 16] for at in range(0, len(chains), 16)):
            of_block = [subject.hex for subject, _ in block]
            # As many digits as tell each of them from all others.
            short = next(
                count
                for count in range(14, 33)
                if all(sum(i[:count] == one[:count] for i in ids) == 1 for one in of_block)
            )
            begin = of_block[0][: short - 1]
            while not all(one.startswith(begin) for one in of_block):
                begin = begin[:-1]
            evidence = sha256()
            lines = ""
            for subject, (seq, digest) in block:
                proof = digest if len(digest) == 32 else sha256(digest).digest()
                evidence.update(subject.bytes + seq.to_bytes(4, "big") + proof)
                lines += f"{subject.hex[len(begin) : short]}\t{seq}\t{proof[0]:02x}\n"
            text += f"{kind}\t{len(block)}\t{evidence.hexdigest()}\t{begin}\n{lines}"
    return text


def last_entries(target: Conninfo) -> list[tuple[Any, ...]]:
    """Kind, id, number and hash of the last entry of each chain, cases first, ids descending."""
    with connect(target, purpose="test") as admin:
        return admin.execute(
            "SELECT DISTINCT ON (1, 2) * FROM ("
            "SELECT 'case', case_id, seq, hash FROM public.case_logs UNION ALL"
            " SELECT 'user', user_id, seq, hash FROM audit.user_logs"
            ") AS e (kind, subject, seq, hash) ORDER BY 1, 2 DESC, 3 DESC"
        ).fetchall()


def heads_of(target: Conninfo) -> list[Block]:
    return list(parse_heads(iter(text_of_heads(target).splitlines())))


def far(number: int) -> UUID:
    """An id that no other begins like."""
    return UUID(int=number << 100)


def forged(case: UUID, *, same_byte: bool) -> str:
    """A statement that rewrites a log of one entry and its hash, which begins as before or not."""
    return f"""
        UPDATE public.case_logs AS l SET details = found.details, hash = found.hash
        FROM (
            SELECT to_jsonb(n) AS details, k.hash AS old, audit.case_log_hash(
                NULL, k.id, k.case_id, k.seq, k.user_id, k.action, to_jsonb(n), k."timestamp",
                k.login
            ) AS hash
            FROM public.case_logs AS k, generate_series(1, 5000) AS n WHERE k.case_id = '{case}'
        ) AS found
        WHERE l.case_id = '{case}'
          AND (get_byte(found.hash, 0) = get_byte(found.old, 0)) = {same_byte}
    """


def removed(case: UUID) -> tuple[str, str]:
    return (
        f"DELETE FROM public.case_logs WHERE case_id = '{case}'",
        f"DELETE FROM public.cases WHERE id = '{case}'",
    )


def report_of(target: Conninfo, heads: list[Block], *, case: UUID | None = None) -> AuditReport:
    with connect(target.replace(user="case_backup"), purpose="test") as connection:
        return verify(connection, heads=heads, case=case, anchor="x")
