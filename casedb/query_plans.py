"""Plans of the named queries, judged by the budgets in their heads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

from psycopg import Connection, RawCursor

from casedb.database import scalar
from casedb.errors import UsageError
from casedb.queries import NamedQuery, bind
from casedb.sqlfiles import read_sql

SMALL_TABLE_PAGES = 64
"""Up to half a megabyte a scan is the cheapest way, whatever indexes there are."""


@dataclass(frozen=True)
class PlanReport:
    """How PostgreSQL ran one query for one reader, and what its budget says to that."""

    query: str
    role: str
    """The database role that ran it."""
    plan: tuple[str, ...] = field(repr=False)
    """EXPLAIN's own lines."""
    indexes: tuple[str, ...]
    """Those in the plan; what a function uses inside of it does not show."""
    buffers: int
    """Pages of 8 kB, found in memory or read."""
    max_buffers: int
    missed: tuple[str, ...]
    """In sentences, what the budget does not allow; empty: it is met."""
    notes: tuple[str, ...]
    """What could not be judged."""

    @property
    def within_budget(self) -> bool:
        """Whether the budget is met."""
        return not self.missed


def explain(
    connection: Connection[Any], query: NamedQuery, given: Mapping[str, object]
) -> PlanReport:
    """Run `query` under EXPLAIN ANALYZE in whatever identity `connection` has, and judge it.

    Call it in a transaction. Parameters that are not given are found by the head's @sample.

    Raises:
        UsageError: see `casedb.queries.bind`; or a sample finds nothing for this reader.
    """
    values = bind(query, _with_samples(connection, query, given))
    before = _scans(connection, query)
    judged: LiteralString = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
    cursor = RawCursor(connection)
    row = cursor.execute(judged + query.sql, values).fetchone()
    assert row is not None
    top = row[0][0]["Plan"]
    after = _scans(connection, query)
    shown: LiteralString = "EXPLAIN (ANALYZE, BUFFERS) "
    lines = tuple(str(line) for (line,) in cursor.execute(shown + query.sql, values))
    scanned = {table for table, (scans, _) in after.items() if scans > before[table][0]}
    scanned |= {
        node["Relation Name"]
        for node in _nodes(top)
        if node["Node Type"] == "Seq Scan" and node.get("Actual Loops")
    } & after.keys()
    pages = {table: size for table, (_, size) in after.items()}
    missed, notes = judge(
        query, scanned_pages={table: pages[table] for table in scanned}, buffers=_buffers(top)
    )
    return PlanReport(
        query=query.name,
        role=scalar(connection, "SELECT current_user"),
        plan=lines,
        indexes=tuple(sorted({n["Index Name"] for n in _nodes(top) if "Index Name" in n})),
        buffers=_buffers(top),
        max_buffers=query.budget.max_buffers,
        missed=missed,
        notes=notes,
    )


def judge(
    query: NamedQuery, *, scanned_pages: Mapping[str, int], buffers: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what misses the budget, and what is too small to be judged; both in sentences.

    `scanned_pages`: the tables that were scanned sequentially, and their size in pages.
    """
    missed, notes = [], []
    for table, pages in sorted(scanned_pages.items()):
        if pages > SMALL_TABLE_PAGES:
            missed.append(f"{table} was read from end to end ({pages} pages)")
        else:
            notes.append(f"{table} has only {pages} pages: no index would be faster")
    if buffers > query.budget.max_buffers:
        missed.append(f"{buffers} buffers were needed, {query.budget.max_buffers} are allowed")
    return tuple(missed), tuple(notes)


def _with_samples(
    connection: Connection[Any], query: NamedQuery, given: Mapping[str, object]
) -> Mapping[str, object]:
    found = dict(given)
    for parameter in query.parameters:
        if parameter.sample and parameter.name not in found:
            value = scalar(connection, parameter.sample)
            if value is None:
                raise UsageError(
                    f'nothing to try parameter "{parameter.name}" of {query.name} with',
                    detail="This reader sees no row.",
                    hint=f"Give it: --param {parameter.name}=..., or `casedb seed` first.",
                )
            found[parameter.name] = value
    return found


def _scans(connection: Connection[Any], query: NamedQuery) -> dict[str, tuple[int, int]]:
    rows = connection.execute(
        read_sql("query-plans/sequential-scans.sql"), (list(query.budget.no_scan_on),)
    )
    return {table: (scans, pages) for table, scans, pages in rows}


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _buffers(plan: Mapping[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])
