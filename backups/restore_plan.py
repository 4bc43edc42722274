"""What a restore would do, and why it would be refused. Pure: facts come in, a plan comes out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backups.catalog import Backup
from backups.manifest import Manifest
from backups.records import DrillReport
from backups.restore_facts import LiveState, ServerState
from casedb.errors import CasedbError, ConfigurationError, RefusedError

NAME_MAX_BYTES = 63
"""PostgreSQL cuts a longer name, without an error."""
RANDOM_CHARS = 6
"""At the end of the name of an unfinished restore."""
_SUFFIX = "_restoring_"
# A restored database is rarely larger than its source; sorting for its indexes takes more.
_ROOM = 1.1


@dataclass(frozen=True)
class Refusal:
    """Why a restore would not begin."""

    message: str
    detail: str
    hint: str
    is_configuration: bool = False
    """Whether it is a matter of settings (exit code 3) and not of safety (7)."""

    def as_error(self) -> CasedbError:
        """Return it as the error that a restore ends with."""
        kind = ConfigurationError if self.is_configuration else RefusedError
        return kind(self.message, detail=self.detail, hint=self.hint)


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
) -> RestorePlan:
    """Return the plan of restoring `backup`, whose `manifest` is in clear, as `database`.

    `replace` allows to take the name of a living database, which is kept. `drills` are backups
    with drill reports to estimate from, newest first. `now` is aware.
    """
    wanted = {role.name for role in manifest.roles}
    missing = tuple(sorted(wanted - server.roles))
    can_login = {role.name for role in manifest.roles if role.can_login}
    let_in = tuple(sorted(can_login & (set(missing) | server.roles_without_login)))
    need = int(manifest.database_size_bytes * _ROOM)
    if server.wal_on_same_disk:
        need += min(server.max_wal_size_bytes, 2 * manifest.database_size_bytes)
    refusals = [
        *_server_refusals(server, manifest, tools_major, tools_version),
        *_name_refusals(database, live, replace=replace),
        *_role_refusals(missing, create_roles=create_roles),
        *_extension_refusals(server, manifest),
        *_disk_refusals(server, need),
    ]
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
        refusals=tuple(refusals),
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


def already_exists(database: str) -> Refusal:
    """Return the refusal of a name that is taken."""
    return Refusal(
        f'database "{database}" exists already',
        "What exists is never overwritten.",
        f"Choose another name for --into, or replace it, keeping the old one: "
        f"casedb restore --database {database}.",
    )


def _server_refusals(
    server: ServerState, manifest: Manifest, tools_major: int, tools_version: str
) -> list[Refusal]:
    found = []
    if server.is_pooled:
        found.append(
            Refusal(
                "the connection leads through a pooler",
                "The server's process is another one than the connection was told of.",
                "Name the server's own address and port with --conninfo.",
            )
        )
    if server.is_standby:
        found.append(
            Refusal(
                "the server is a standby",
                "It replays another server's changes and takes none of its own.",
                "Restore on the primary; the standby follows.",
            )
        )
    elif server.is_read_only:
        found.append(
            Refusal(
                "the server is read-only",
                "Its default_transaction_read_only is on.",
                "Find out who set it and why; turn it off in postgresql.conf or for this role.",
            )
        )
    if not server.is_superuser:
        found.append(
            Refusal(
                "only a superuser can restore a database with all its owners and policies",
                f'"{server.role}" is none.',
                "Connect as postgres.",
            )
        )
    if tools_major != server.major:
        found.append(
            Refusal(
                f"pg_restore {tools_version} does not fit a server of PostgreSQL {server.major}",
                "A newer pg_restore sends settings that an older server does not know.",
                f"Name a folder of PostgreSQL {server.major}'s programs in PG_BIN.",
                is_configuration=True,
            )
        )
    if manifest.server_major > server.major:
        found.append(
            Refusal(
                f'backup "{manifest.label}" is of a newer PostgreSQL than this server',
                f"It is of {manifest.server_version}, the server is {server.major}.",
                f"Restore it into a server of PostgreSQL {manifest.server_major} or newer.",
            )
        )
    return found


def _name_refusals(database: str, live: LiveState | None, *, replace: bool) -> list[Refusal]:
    if len(database.encode()) > NAME_MAX_BYTES:
        return [
            Refusal(
                f"a database's name has at most {NAME_MAX_BYTES} bytes",
                f'"{database}" has {len(database.encode())}; PostgreSQL would cut it.',
                "Choose a shorter name.",
                is_configuration=True,
            )
        ]
    if live is None:
        return []
    if not replace:
        return [already_exists(database)]
    if database in ("postgres", "template0", "template1"):
        return [
            Refusal(
                f'database "{database}" belongs to the server itself',
                "A restore is connected to it, and other tools expect it.",
                "Restore into a database of its own: --into NAME.",
            )
        ]
    if not live.obstacles:
        return []
    names = "\n".join(f'{found.kind} "{found.name}"' for found in live.obstacles)
    return [
        Refusal(
            f'database "{database}" has what would hold its name or follow the old database',
            names,
            "Settle each first (COMMIT PREPARED or ROLLBACK PREPARED, pg_drop_replication_slot, "
            "DROP SUBSCRIPTION), or restore beside it: --into NAME.",
        )
    ]


def _role_refusals(missing: Sequence[str], *, create_roles: bool) -> list[Refusal]:
    if not missing or create_roles:
        return []
    return [
        Refusal(
            "the server lacks roles that own or may use what is in the backup",
            f"Missing: {', '.join(missing)}.",
            "Apply the roles first, or let them be made without login: --create-roles.",
        )
    ]


def _extension_refusals(server: ServerState, manifest: Manifest) -> list[Refusal]:
    missing = sorted({e.name for e in manifest.extensions} - server.extensions.keys())
    if not missing:
        return []
    return [
        Refusal(
            "the server lacks extensions that the backup needs",
            f"Missing: {', '.join(missing)}.",
            "Install them on the server (Debian: postgresql-contrib has the usual ones).",
        )
    ]


def _disk_refusals(server: ServerState, need: int) -> list[Refusal]:
    if server.free_bytes is None or server.free_bytes >= need:
        return []
    return [
        Refusal(
            "there is too little disk on the server",
            f"The restore needs about {need / 2**20:.0f} MiB besides what is there, "
            f"{server.free_bytes / 2**20:.0f} MiB are free.",
            "Make room: `casedb drop-kept` removes databases kept by earlier restores.",
        )
    ]


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
        f'"{name}" was left by a restore that was killed: it is removed, unless one is running'
        for name in debris(server.databases, database)
    ]
    if live and live.is_frozen:
        notes.append(
            f'"{database}" is read-only since a restore that was killed; the next one ends that, '
            f"and so does: ALTER DATABASE {database} RESET default_transaction_read_only"
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
