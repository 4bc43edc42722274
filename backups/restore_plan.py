"""What a restore would do, and why it would be refused. Pure: facts come in, a plan comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backups import part as parts
from backups.catalog import Backup
from backups.contents import stored_facts
from backups.manifest import DUMP, Manifest, TableFacts
from backups.reports import DrillReport
from backups.restore_facts import LiveState, ServerState
from backups.restore_refusals import Refusal, refusals
from backups.restore_words import clock_notes, damage_notes, plan_notes, plan_steps, scratch_notes

# A restored database is rarely larger than its source; sorting for its indexes takes more.
_ROOM = 1.1
_COMPARING = ("analyze", "compare")
_ALL = ("verify", "restore", *_COMPARING)


@dataclass(frozen=True)
class Estimate:
    """How long it will take, from what was measured."""

    seconds: float
    drilled_label: str
    """Whose drill it comes from; scaled by size if it is not the same backup."""


@dataclass(frozen=True)
class RestorePlan:
    """Everything that somebody should know before saying yes."""

    label: str
    store: str
    database: str
    """The name that the restored database will have."""
    replaces: bool
    """Whether a living database has that name now, and is kept under another one."""
    freeze: bool
    taken_at: datetime
    age: timedelta
    """What was written in this time is not in the backup."""
    drilled: DrillReport | None
    server: ServerState
    live: LiveState | None
    need_bytes: int
    """On the server's disk, for the database and what loading it writes besides."""
    archive_bytes: int
    """Of the archive in clear, which several jobs can read; it is read as it comes without room."""
    missing_roles: tuple[str, ...]
    roles_to_let_in: tuple[str, ...]
    """Login roles of the backup that could not log in afterwards: no role, or no right to."""
    steps: tuple[str, ...]
    estimate: Estimate | None
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...]
    roles_without_password: tuple[str, ...] = ()
    """Login roles of the backup that can log in here, though not by a password."""
    part: tuple[str, ...] | None = None
    """The only tables that are restored, none for the schema alone; None if it is everything."""
    pooler: str | None = None
    """The console of the PgBouncer that is paused for the swap; None if there is none."""
    waiting: str | None = None
    """The database that an earlier run restored and verified, and that is only swapped in."""

    @property
    def spare_bytes(self) -> int:
        """What has to stay free on the disk of the unpacked archive: the database may go there."""
        return self.need_bytes if self.server.scratch_on_same_disk else 0

    def require(self) -> None:
        """Raise the first refusal, with the others named in its detail, if there is any."""
        if not self.refusals:
            return
        error = self.refusals[0].as_error()
        others = [f"Besides: {refusal.message}." for refusal in self.refusals[1:]]
        error.detail = "\n".join([error.detail or "", *others])
        raise error


def make_plan(
    backup: Backup,
    manifest: Manifest,
    server: ServerState,
    live: LiveState | None,
    *,
    store: str,
    database: str,
    replace: bool,
    freeze: bool,
    again: bool = False,
    create_roles: bool,
    tools_major: int,
    tools_version: str,
    drills: Sequence[Backup],
    now: datetime,
    part: Sequence[TableFacts] | None = None,
    debris_bytes: int = 0,
    waiting: str | None = None,
    damaged: Sequence[Backup] = (),
) -> RestorePlan:
    """Return the plan of restoring `backup`, whose `manifest` is in clear, as `database`.

    `replace` allows to take the name of a living database, which is kept, and `again` also if that
    one was restored from this very backup. `drills` are backups with drill reports to estimate
    from, newest first. `now` is aware. `part` is what alone is restored of it; see backups/part.py.
    `debris_bytes` is what unfinished restores take, which are removed first. `waiting` is one that
    is not: it was verified, and only its swap did not come off. `damaged` are newer backups that
    were passed over.
    """
    wanted = {role.name for role in manifest.roles}
    missing = tuple(sorted(wanted - server.roles))
    can_login = {role.name for role in manifest.roles if role.can_login}
    let_in = tuple(sorted(can_login & (set(missing) | server.roles_without_login)))
    size = manifest.database_size_bytes if part is None else parts.size_bytes(manifest, part)
    need = int(size * _ROOM)
    if server.wal_on_same_disk:
        need += min(server.max_wal_size_bytes, 2 * size)
    if waiting:
        # It is there already, and nothing is unpacked.
        need = 0
    names = None if part is None else tuple(table.full_name for table in part)
    in_clear = (
        0 if manifest.recipients or waiting else stored_facts(manifest, DUMP).raw_size_bytes or 0
    )
    return RestorePlan(
        label=backup.label,
        store=store,
        database=database,
        replaces=live is not None and replace,
        freeze=freeze,
        taken_at=manifest.started_at,
        age=now - manifest.started_at,
        drilled=backup.drilled,
        server=server,
        live=live,
        need_bytes=need,
        archive_bytes=in_clear,
        missing_roles=missing,
        roles_to_let_in=let_in,
        steps=tuple(
            plan_steps(
                backup.label,
                database,
                live,
                missing,
                names,
                freeze=freeze,
                replace=replace,
                waiting=waiting,
            )
        ),
        estimate=estimate(backup, drills, _COMPARING if waiting else _ALL),
        refusals=refusals(
            server,
            live,
            manifest,
            database=database,
            replace=replace,
            again=again,
            missing_roles=missing,
            create_roles=create_roles,
            need_bytes=need,
            debris_bytes=debris_bytes,
            tools_major=tools_major,
            tools_version=tools_version,
        ),
        notes=(
            *plan_notes(
                backup,
                manifest,
                server,
                live,
                database,
                drills,
                freeze=freeze,
                replace=replace,
                waiting=waiting,
            ),
            *damage_notes(damaged),
            *clock_notes(manifest.started_at, now),
            *scratch_notes(server, need, in_clear),
        ),
        roles_without_password=tuple(
            sorted((can_login - set(let_in)) & server.roles_without_password)
        ),
        part=names,
        waiting=waiting,
    )


def estimate(
    backup: Backup, drills: Sequence[Backup], phases: Sequence[str] = _ALL
) -> Estimate | None:
    """Return how long `phases` of restoring `backup` take, by its own drill or the nearest.

    >>> estimate(Backup("db", "l", 1, None, None, None, None), []) is None
    True
    """
    for other in (backup, *drills):
        if not other.passed_drill or other.drilled is None or not other.size_bytes:
            continue
        measured = sum(other.drilled.phases_s.get(phase, 0.0) for phase in phases)
        return Estimate(
            round(measured * max(1.0, backup.size_bytes / other.size_bytes), 1), other.label
        )
    return None
