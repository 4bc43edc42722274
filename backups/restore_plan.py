"""What a restore would do, and why it would be refused. Pure: facts come in, a plan comes out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql

from backups.catalog import Backup
from backups.manifest import Manifest
from backups.records import DrillReport
from backups.restore_facts import LiveState, ServerState
from backups.restore_refusals import NAME_MAX_BYTES, Refusal, refusals

RANDOM_CHARS = 6
"""At the end of the name of an unfinished restore."""
_SUFFIX = "_restoring_"
# A restored database is rarely larger than its source; sorting for its indexes takes more.
_ROOM = 1.1


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
    missing_roles: tuple[str, ...]
    roles_to_let_in: tuple[str, ...]
    """Login roles of the backup that could not log in afterwards: no role, or no right to."""
    steps: tuple[str, ...]
    estimate: Estimate | None
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...]

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
    create_roles: bool,
    tools_major: int,
    tools_version: str,
    drills: Sequence[Backup],
    now: datetime,
    debris_bytes: int = 0,
) -> RestorePlan:
    """Return the plan of restoring `backup`, whose `manifest` is in clear, as `database`.

    `replace` allows to take the name of a living database, which is kept. `drills` are backups
    with drill reports to estimate from, newest first. `now` is aware. `debris_bytes` is what
    unfinished restores take, which are removed first.
    """
    wanted = {role.name for role in manifest.roles}
    missing = tuple(sorted(wanted - server.roles))
    can_login = {role.name for role in manifest.roles if role.can_login}
    let_in = tuple(sorted(can_login & (set(missing) | server.roles_without_login)))
    need = int(manifest.database_size_bytes * _ROOM)
    if server.wal_on_same_disk:
        need += min(server.max_wal_size_bytes, 2 * manifest.database_size_bytes)
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
        missing_roles=missing,
        roles_to_let_in=let_in,
        steps=tuple(_steps(backup.label, database, live, missing, freeze=freeze, replace=replace)),
        estimate=estimate(backup, drills),
        refusals=refusals(
            server,
            live,
            manifest,
            database=database,
            replace=replace,
            missing_roles=missing,
            create_roles=create_roles,
            need_bytes=need,
            debris_bytes=debris_bytes,
            tools_major=tools_major,
            tools_version=tools_version,
        ),
        notes=tuple(
            _notes(backup, manifest, server, live, database, freeze=freeze, replace=replace)
        ),
    )


def estimate(backup: Backup, drills: Sequence[Backup]) -> Estimate | None:
    """Return how long restoring and comparing `backup` takes, by its own drill or the nearest.

    >>> estimate(Backup("db", "l", 1, None, None, None, None), []) is None
    True
    """
    phases = ("verify", "restore", "analyze", "compare")
    for other in (backup, *drills):
        if not other.passed_drill or other.drilled is None or not other.size_bytes:
            continue
        measured = sum(other.drilled.phases_s.get(phase, 0.0) for phase in phases)
        return Estimate(
            round(measured * max(1.0, backup.size_bytes / other.size_bytes), 1), other.label
        )
    return None


def temporary_head(database: str) -> str:
    """Return how the name of an unfinished restore of `database` begins.

    >>> temporary_head("cases")
    'cases_restoring_'
    """
    room = NAME_MAX_BYTES - len(_SUFFIX) - RANDOM_CHARS
    return database.encode()[:room].decode(errors="ignore") + _SUFFIX


def debris(databases: Iterable[str], database: str) -> list[str]:
    """Return which of `databases` are unfinished restores of `database`.

    >>> debris(["cases", "cases_restoring_0a1b2c", "cases_restoring_house"], "cases")
    ['cases_restoring_0a1b2c']
    """
    head = re.escape(temporary_head(database))
    pattern = re.compile(rf"{head}[0-9a-f]{{{RANDOM_CHARS}}}")
    return sorted(name for name in databases if pattern.fullmatch(name))


def drop_statement(name: str) -> sql.Composed:
    """Return the statement that removes an unfinished restore, whoever is connected to it."""
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))


def _steps(
    label: str,
    database: str,
    live: LiveState | None,
    missing: Sequence[str],
    *,
    freeze: bool,
    replace: bool,
) -> list[str]:
    steps = []
    if live and replace and freeze:
        steps.append(f'"{database}" becomes read-only, its sessions end (they can come back)')
    if missing:
        steps.append(f"{len(missing)} roles are created, without login")
    steps.append(f"{label} is loaded into a new database beside the others, and compared with it")
    if live and replace:
        steps.append(
            f'"{database}" is renamed and the new database gets its name, in one transaction; '
            "grants, settings, comment and mark stay with the name"
        )
        steps.append("the old database is kept, read-only; `casedb undo-restore` swaps back")
    else:
        steps.append(f'the new database is named "{database}"; nothing else is touched')
    return steps


def _notes(
    backup: Backup,
    manifest: Manifest,
    server: ServerState,
    live: LiveState | None,
    database: str,
    *,
    freeze: bool,
    replace: bool,
) -> list[str]:
    notes = [
        f'"{name}" was left by a restore that was killed: it is removed, unless one is running; '
        f"by hand: {drop_statement(name).as_string(None)}"
        for name in debris(server.databases, database)
    ]
    if live and live.is_frozen:
        notes.append(
            f'"{database}" is read-only since a restore that was killed; the next one ends that, '
            f"and so does: {live.thaw_command}"
        )
    if not backup.passed_drill:
        notes.append("this backup has not passed a drill: that it restores is only hoped")
    if server.version != manifest.server_version:
        notes.append(f"the backup is of PostgreSQL {manifest.server_version}, not {server.version}")
    for extension in manifest.extensions:
        here = server.extensions.get(extension.name)
        if here and here != extension.version:
            notes.append(f"extension {extension.name} was {extension.version}, here it is {here}")
    was = manifest.properties.collation_version
    if manifest.properties.locale_provider == "libc" and was != server.collation_version:
        notes.append(f"the collation's version was {was}, here it is {server.collation_version}")
    if server.free_bytes is None:
        notes.append("the server does not tell how much disk is free")
    if live and replace and live.session_count and not freeze:
        notes.append(
            "what is written while this runs is not in the restored database; it stays in the "
            "kept one and is counted. --freeze makes the live one read-only first"
        )
    return notes
