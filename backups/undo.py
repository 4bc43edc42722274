"""Swap back: the database that was kept gets its name again. Nothing is merged, nothing is lost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from backups import kept
from backups.catalog import recipients_of
from backups.facts import read_settings
from backups.interrupts import Held, held
from backups.labels import report_label
from backups.progress import OnProgress, Watch, unseen
from backups.properties import PREVIOUS, RESTORED
from backups.records import read_record, standing, write_record
from backups.remembered import Shape, changes_since, read_state
from backups.reports import RestoreReport, UndoReport
from backups.restore_facts import KeptDatabase, kept_databases, read_server
from backups.restore_refusals import require_fit
from backups.stores.base import Store
from backups.swap import TOO_LATE, Swap, Writes, swap_names, writes_to
from backups.verify import database_named
from backups.version import tool_version
from casedb.conninfo import Conninfo
from casedb.database import connect, server_major, unbound
from casedb.errors import CasedbError, ConfigurationError, RefusedError
from casedb.locks import maintenance_lock


@dataclass(frozen=True)
class UndoPlan:
    """What swapping back would do."""

    database: str
    kept: str
    """The database that gets its name back."""
    others: tuple[str, ...]
    """What else is kept of this name, and could be swapped back instead; newest first."""
    previous: str | None
    """The one that the present database replaced."""
    restored: str | None
    """The backup that the present one came from; None if it came from none."""
    changes: tuple[str, ...] | None
    """What was changed in the present one since it got the name; None if nobody can tell."""
    writes: Writes | None
    """The server's own count, from before `changes` were looked for; None if it does not count."""

    @property
    def needs_confirmation(self) -> bool:
        """Whether somebody may miss something afterwards."""
        return self.changes is None or self.writes is None or bool(self.changes)


def plan_undo(
    admin: Conninfo,
    database: str,
    to: str | None = None,
    *,
    look: bool = True,
    store: Store | None = None,
    on_progress: OnProgress = unseen,
) -> UndoPlan:
    """Return what swapping back would do; change nothing.

    `to` is any database that was kept of `database`, by default the one that was replaced last.

    Reads the whole of the present database, which is how it knows what was changed: rows, large
    objects, the catalog, sequences; without `look` it does not, for who wants to swap whatever was.
    The reports in `store` tell which facts of the catalog; without, only their kinds are known.

    Raises:
        RefusedError: the server or the connection is not fit for it, such as a pooler's.
        ConfigurationError: there is nothing to swap back to, or `to` was not kept of it.
    """
    watch = Watch(on_progress)
    with connect(admin, purpose="undo restore") as connection:
        server = read_server(connection)
        require_fit(server)
        found = kept_databases(connection, database)
        settings = read_settings(connection, database)
        previous = settings.get(PREVIOUS)
        chosen = (
            kept.choose_kept(found, database, to).name if to else _last(database, previous, found)
        )
        # Before the tables: what is written while they are read counts as written after.
        writes = writes_to(connection, database)
    before = settings.get(kept.CONTENT)
    changes = None
    if look and before is not None:
        with (
            watch.phase("count", "looking for what was written since"),
            connect(
                unbound(admin.replace(dbname=database), major=server.major), purpose="undo restore"
            ) as present,
        ):
            shapes = partial(_reported_shapes, store, database, settings.get(RESTORED))
            changes = tuple(changes_since(before, read_state(present), shapes))
    others = tuple(other.name for other in found if other.name != chosen)
    return UndoPlan(database, chosen, others, previous, settings.get(RESTORED), changes, writes)


def undo_restore(
    admin: Conninfo,
    plan: UndoPlan,
    *,
    confirmed: bool,
    store: Store | None = None,
    pooler: Conninfo | None = None,
    on_progress: OnProgress = unseen,
    on_done: Callable[[Sequence[str]], None] = lambda _left: None,
) -> UndoReport:
    """Do what `plan` says, and leave a report in `store`. Doing it twice is where one began.

    `on_done` is called when the names have changed, with what is left to do by hand: from then on
    nothing makes it a failure.

    Unless `confirmed`, nothing may be written after the plan was made either: that is asked in the
    transaction that changes the names, when nobody can enter any more.

    Raises:
        WrittenMeanwhileError: something was; nothing was changed, and a new plan will tell.
        RefusedError: the present database was changed, and that is not `confirmed`; or what is
            to be swapped has changed since it was planned.
        LockedError: another restore runs, or the sessions could not be made to go.
    """
    if plan.needs_confirmation and not confirmed:
        raise RefusedError(
            f'database "{plan.database}" was changed since it was restored',
            detail="\n".join(plan.changes or ("Nobody can tell what.",)),
            hint="This would be in the kept database only. "
            f"If that is right: --confirm {plan.database}.",
        )
    database, now = plan.database, datetime.now(UTC)
    reports: list[UndoReport] = []
    with (
        standing(reports),
        connect(admin, purpose="undo restore") as connection,
        maintenance_lock(connection),
    ):
        settings = read_settings(connection, database)
        there = {other.name for other in kept_databases(connection, database)}
        if settings.get(PREVIOUS) != plan.previous or plan.kept not in there:
            raise RefusedError(
                f'"{plan.kept}" is not what "{database}" would be swapped with any more',
                detail="Somebody has swapped, or dropped it, meanwhile.",
                hint="Look again before you go on.",
            )
        outgoing = kept.free_name(connection, database, now)
        back = read_settings(connection, plan.kept)
        statements = [
            *kept.keeping(outgoing, of=database, at=now, settings=settings),
            *kept.releasing(database, settings=back),
            kept.set_statement(database, PREVIOUS, outgoing),
        ]
        swap = Swap(
            database, plan.kept, outgoing, statements, writes=None if confirmed else plan.writes
        )
        backup = settings.get(RESTORED) or back.get(RESTORED)
        home, label = report_label(database, backup, now)
        with held() as signals:
            done = swap_names(admin, swap, signals, pooler=pooler)
            on_done(done.left)
            notes, changes = list(done.left), None
            try:
                major = server_major(connection)
                changes = _changes(
                    admin, database, outgoing, settings, signals, major, store, on_progress
                )
            except CasedbError:
                notes.append("what was written to the kept one was not counted")
            if signals.came:
                notes.append(TOO_LATE)
            report = UndoReport(
                label=label,
                at=datetime.now(UTC),
                database=database,
                backup=backup,
                now=plan.kept,
                kept=outgoing,
                unavailable_s=done.unavailable_s,
                attempts=done.attempts,
                ended_sessions=done.ended_sessions,
                changes=changes,
                tool_version=tool_version(),
                notes=tuple(notes),
            )
            reports.append(report)
            if store is not None:
                recipients = recipients_of(store, home, backup)
                reports.append(write_record(store, home, report, recipients))
    return reports[-1]


def _last(database: str, previous: str | None, found: Sequence[KeptDatabase]) -> str:
    """Return the kept database that was replaced last."""
    if previous and previous in {other.name for other in found}:
        return previous
    names = ", ".join(other.name for other in found)
    raise ConfigurationError(
        f'there is nothing to swap "{database}" back to',
        detail=f'"{previous}" is gone.' if previous else "It has not replaced another database.",
        hint=f"These are kept: {names}. Name one: `casedb undo-restore KEPT`."
        if names
        else "Nothing else is kept of it.",
    )


def _changes(
    admin: Conninfo,
    database: str,
    outgoing: str,
    settings: dict[str, str],
    signals: Held,
    major: int,
    store: Store | None,
    on_progress: OnProgress,
) -> tuple[str, ...] | None:
    """Return what was written to the database that went, up to its last moment."""
    with Watch(on_progress).phase("count", "counting what was written"):
        state = kept.read_kept(admin, outgoing, signals, major=major, purpose="undo restore")
    before = settings.get(kept.CONTENT)
    if before is None:
        return None
    shapes = partial(_reported_shapes, store, database, settings.get(RESTORED))
    return tuple(changes_since(before, state, shapes))


def _reported_shapes(store: Store | None, database: str, label: str | None) -> Iterator[Shape]:
    """Yield what reports say of databases restored as `database` from the backup `label`.

    Newest first, as far as the store can be read tonight, and those without a seal.
    """
    if store is None or label is None:
        return
    with suppress(CasedbError):
        home = database_named(label)
        for name in sorted(store.recorded(home, "restore"), reverse=True):
            report = read_record(store, home, name, RestoreReport)
            if report and report.database == database and report.catalog is not None:
                yield Shape(report.catalog, report.sequence_values or ())
