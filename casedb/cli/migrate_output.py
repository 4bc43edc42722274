"""How a plan, a status and a check of the migrations are shown to people."""

from collections.abc import Iterator

from casedb.cli.output import size
from casedb.migrations.losses import TableSize
from casedb.migrations.plan import MigrationPlan, PlannedMigration


def plan_lines(plan: MigrationPlan) -> Iterator[str]:
    """Yield the lines that tell people what `apply` would do."""
    if not plan.pending:
        yield f"nothing pending: the database is at {plan.head or 'the very beginning'}"
    for migration in plan.pending:
        yield from _migration_lines(migration)
    for problem in plan.problems:
        yield f"apply would refuse: {problem}"
    for note in plan.notes:
        yield f"note: {note}"


def _migration_lines(migration: PlannedMigration) -> Iterator[str]:
    how = "in one transaction" if migration.transactional else "outside of a transaction"
    yield f"{migration.id} ({how})"
    if migration.failure:
        yield f"  fails     {migration.failure}"
    live = {table.name: table for table in migration.tables}
    for lock in migration.locks:
        known = live.get(lock.relation)
        amount = f"; {_amount(known)}" if known else ""
        yield f"  locks     {lock.relation}: {lock.mode}, stops {lock.stops}{amount}"
    if migration.rehearsed and not migration.locks:
        yield "  locks     nothing that was there before"
    for table in migration.rewrites:
        yield f"  rewrites  {table}, every row, while the lock is held"
    for loss in migration.losses:
        yield f"  loses     {str(loss).partition(': ')[2]}"
    for warning in migration.warnings:
        yield f"  lint      {warning}"


def _amount(table: TableSize) -> str:
    rows = "rows not counted yet" if table.rows is None else f"about {table.rows:,} rows"
    return f"{rows}, {size(table.total_bytes)} with its indexes"
