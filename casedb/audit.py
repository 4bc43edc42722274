"""The audit trail, checked and told: chains of hashes, a chain a case and a chain a user.

Each entry's hash covers its content and the hash before it, so an edit or a removal shows, unless
everything after it was computed anew. What nobody inside of the database can forge is a copy of
the chains' heads that lies elsewhere: every backup carries one (backups/anchors.py).
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection

from casedb import audit_findings
from casedb.audit_anchored import OnChecked, compare
from casedb.audit_blocks import Block
from casedb.audit_findings import Finding
from casedb.database import scalar
from casedb.errors import ConfigurationError
from casedb.sqlfiles import read_sql

_BATCH = 10_000
_LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True)
class AuditReport:
    """What was checked, and what was found."""

    cases: int
    entries: int
    users: int
    user_entries: int
    anchored: int
    """How many heads were compared; 0 without an anchor."""
    unproven: int
    """How many of them have no finding of their own, but are in a block that does not hold."""
    duration_s: float
    findings: tuple[Finding, ...]
    triggers_off: tuple[str, ...]
    """The triggers that keep the trail and do not, right now; each as TABLE.TRIGGER."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is not as it should be, a line each; empty if all is well."""
        off = (
            f"trigger {name} is missing, switched off or not ENABLE ALWAYS"
            for name in self.triggers_off
        )
        return (*map(str, self.findings), *off)


@dataclass(frozen=True)
class Entry:
    """One entry of a case's log."""

    seq: int
    at: datetime
    action: str
    details: Any
    login: str
    user_id: UUID
    user_name: str
    user_role: str


@dataclass(frozen=True)
class History:
    """One case and its log, oldest entry first."""

    case_id: UUID
    title: str
    status: str
    entries: tuple[Entry, ...]


def _unseen(_phase: str, _done: int, _total: int | None) -> None:
    """Tell nobody."""


def has_audit(connection: Connection[Any]) -> bool:
    """Whether the connected database keeps an audit trail at all."""
    return bool(scalar(connection, "SELECT to_regclass('audit.user_logs')"))


def verify(
    connection: Connection[Any],
    *,
    case: UUID | None = None,
    heads: Iterable[Block] | None = None,
    anchor: str = "",
    on_checked: OnChecked = _unseen,
) -> AuditReport:
    """Check all chains (or that of one `case`) as they are at this moment; change nothing.

    Finds every edited or removed entry after which the chain was not computed anew. With `heads`,
    taken at an earlier moment from the same database, also what was rehashed, cut off at the
    end, or removed with its case. `anchor` names where the heads come from, for the findings.

    `connection` must be in autocommit mode, and its role must see all rows.

    Raises:
        ConfigurationError: no audit trail here, or no such case.
    """
    started = time.monotonic()
    _require_audit(connection)
    findings: list[Finding] = []
    with _moment(connection):
        if case is None:
            total = int(scalar(connection, "SELECT count(*) FROM public.cases"))
            entries = 0
            for done, first, last in _ranges(connection):
                on_checked("checking the chains", done, total)
                counted, found = _verify_cases(connection, first, last)
                entries += counted
                findings += found
            users, user_entries, found = _verify_users(connection)
            findings += found
        else:
            known = scalar(connection, "SELECT count(*) FROM public.cases WHERE id = %s", case)
            entries, findings = _verify_cases(connection, case, case)
            if not known and not entries and heads is None:
                raise no_such_case(case)
            total, users, user_entries = 1, 0, 0
        compared = compare(connection, heads or (), case, anchor, on_checked)
        findings += compared.findings
        off = [name for (name,) in connection.execute(read_sql("audit/triggers.sql"))]
    return AuditReport(
        cases=total,
        entries=entries,
        users=users,
        user_entries=user_entries,
        anchored=compared.heads,
        unproven=compared.unproven,
        duration_s=round(time.monotonic() - started, 3),
        findings=tuple(findings),
        triggers_off=tuple(off),
    )


def history(connection: Connection[Any], case: UUID) -> History:
    """Return one case's log.

    Raises:
        ConfigurationError: no audit trail here, or no such case.
    """
    _require_audit(connection)
    row = connection.execute(
        "SELECT title, status::text FROM public.cases WHERE id = %s", (case,)
    ).fetchone()
    if row is None:
        raise no_such_case(case)
    rows = connection.execute(read_sql("audit/history.sql"), (case,)).fetchall()
    return History(case, row[0], row[1], tuple(Entry(*entry) for entry in rows))


def no_such_case(case: UUID) -> ConfigurationError:
    """Return the error for a case that is not there."""
    return ConfigurationError(
        f"there is no case {case}",
        detail="Neither the case nor a log of it.",
        hint="If it was there once: `casedb audit verify --anchor LABEL` tells.",
    )


def _require_audit(connection: Connection[Any]) -> None:
    if not has_audit(connection):
        raise ConfigurationError(
            "this database keeps no audit trail",
            hint="Apply the migrations first: `casedb migrate apply`.",
        )


@contextmanager
def _moment(connection: Connection[Any]) -> Iterator[None]:
    """Hold one snapshot, in which a wrong plan or a hidden row cannot make a chain look whole."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # An error instead of chains that row security leaves out in silence.
        connection.execute("SET LOCAL row_security = off")
        connection.execute("SET LOCAL search_path = ''")
        connection.execute("SET LOCAL jit = off")
        yield


def _ranges(connection: Connection[Any]) -> Iterator[tuple[int, UUID, UUID]]:
    """Yield (cases before it, first id, last id) of ranges that together hold every id there is."""
    first, done = UUID(int=0), 0
    while True:
        last = scalar(
            connection,
            "SELECT id FROM public.cases WHERE id >= %s ORDER BY id OFFSET %s LIMIT 1",
            first,
            _BATCH - 1,
        )
        yield done, first, last or _LAST_ID
        if last is None or last == _LAST_ID:
            return
        first, done = UUID(int=last.int + 1), done + _BATCH


def _verify_cases(
    connection: Connection[Any], first: UUID, last: UUID
) -> tuple[int, list[Finding]]:
    row = connection.execute(
        read_sql("audit/verify-cases.sql"), {"first": first, "last": last}
    ).fetchone()
    entries, found = row or (0, [])
    return entries, [audit_findings.of_a_chain("case", **finding) for finding in found]


def _verify_users(connection: Connection[Any]) -> tuple[int, int, list[Finding]]:
    users, entries, found = connection.execute(read_sql("audit/verify-users.sql")).fetchone() or (
        0,
        0,
        [],
    )
    return users, entries, [audit_findings.of_a_chain("user", **finding) for finding in found]
