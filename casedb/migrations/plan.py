"""The plan: what `apply` would do, whom it would stop and for how much data. Changes nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from casedb.conninfo import Conninfo
from casedb.database import connect, server_major
from casedb.errors import CasedbError
from casedb.migrations.files import MigrationFile, read_folder
from casedb.migrations.lint import LintWarning, lint
from casedb.migrations.losses import Loss, TableSize, announced, read_sizes
from casedb.migrations.records import find_problems, read_records
from casedb.migrations.rehearsal import Lock, Rehearsed, rehearse
from casedb.roles import OWNER
from casedb.tools import PostgresTools


@dataclass(frozen=True)
class PlannedMigration:
    """One pending migration."""

    id: str
    transactional: bool
    rehearsed: bool
    """Whether locks and rewrites were seen; False leaves them empty."""
    locks: tuple[Lock, ...]
    rewrites: tuple[str, ...]
    """Tables of which every row is written anew while the lock is held."""
    tables: tuple[TableSize, ...]
    """How large the tables are, live, that it locks against anybody."""
    losses: tuple[Loss, ...]
    """The data that it throws away."""
    warnings: tuple[LintWarning, ...]
    failure: str | None
    """Why it failed in the rehearsal."""


@dataclass(frozen=True)
class MigrationPlan:
    """What `apply` would do."""

    head: str | None
    pending: tuple[PlannedMigration, ...]
    problems: tuple[str, ...]
    """Why it would refuse, a sentence each."""
    notes: tuple[str, ...]
    """What could not be found out, and why."""


def plan(
    target: Conninfo,
    *,
    source: Path,
    tools: Callable[[int], PostgresTools],
    on_step: Callable[[str], None],
) -> MigrationPlan:
    """Return what is pending and what each of it will do; the database stays as it is.

    `tools` returns the programs for a server's major version; without them, or where the schema
    cannot be copied, the locks are not known and a note says why.

    Raises:
        ConfigurationError: the folder is not what it should be.
        ServerUnreachableError: no server, or the roles are missing.
    """
    files = read_folder(source)
    settings = {"role": OWNER, "default_transaction_read_only": "on", "lock_timeout": "2s"}
    with connect(target, purpose="migrate plan", settings=settings) as connection:
        records = read_records(connection)
        major = server_major(connection)
        pending = [file for file in files if file.id not in records.ids]
        sizes = read_sizes(connection) if pending else {}
        said = announced(connection, pending, "apply")
    problems = find_problems(files, records.ids, records.checksums)
    notes: list[str] = []
    rehearsed: dict[str, Rehearsed] = {}
    warnings: Sequence[LintWarning] = ()
    if pending and not problems:
        try:
            rehearsed = rehearse(target, pending, tools(major), on_step)
        except CasedbError as error:
            notes.append(_note("locks and rewrites are not known", error))
    try:
        warnings = lint(pending, pg_version=major)
    except CasedbError as error:
        notes.append(_note("no lint", error))
    by_name = {size.name: size for size in sizes.values()}
    return MigrationPlan(
        head=next((file.id for file in reversed(files) if file.id in records.ids), None),
        pending=tuple(
            _planned(file, rehearsed.get(file.id), by_name, said, warnings) for file in pending
        ),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _planned(
    file: MigrationFile,
    seen: Rehearsed | None,
    sizes: dict[str, TableSize],
    said: Sequence[Loss],
    warnings: Sequence[LintWarning],
) -> PlannedMigration:
    losses = {
        (loss.kind, loss.table, loss.column): loss for loss in said if loss.migration == file.id
    }
    for kind, table, column in seen.losses if seen else ():
        size = sizes.get(table)
        if size and size.size_bytes:
            loss = Loss(file.id, kind, table, column, size.rows, size.size_bytes)
            losses[kind, table, column] = loss
    felt = {lock.relation for lock in seen.locks if lock.stops != "nobody"} if seen else set()
    return PlannedMigration(
        id=file.id,
        transactional=file.transactional,
        rehearsed=seen is not None and seen.failure is None,
        locks=seen.locks if seen else (),
        rewrites=seen.rewrites if seen else (),
        tables=tuple(sizes[name] for name in sorted(felt) if name in sizes),
        losses=tuple(losses.values()),
        warnings=tuple(warning for warning in warnings if warning.file == file.path.name),
        failure=seen.failure if seen else None,
    )


def _note(what: str, error: CasedbError) -> str:
    return f"{what}: {error.message}." + (f" {error.detail}" if error.detail else "")
