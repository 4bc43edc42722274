"""Why a restore is refused before it begins, and the way out of each. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from backups.manifest import Manifest
from backups.restore_facts import LiveState, Obstacle, ServerState
from casedb.database import POOLED, POOLED_DETAIL, POOLED_HINT
from casedb.errors import CasedbError, ConfigurationError, RefusedError

NAME_MAX_BYTES = 63
"""PostgreSQL cuts a longer name, without an error."""


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


def refusals(
    server: ServerState,
    live: LiveState | None,
    manifest: Manifest,
    *,
    database: str,
    replace: bool,
    missing_roles: Sequence[str],
    again: bool,
    create_roles: bool,
    need_bytes: int,
    debris_bytes: int,
    tools_major: int,
    tools_version: str,
) -> tuple[Refusal, ...]:
    """Return everything that stands against a restore; see `make_plan` for the parameters."""
    return (
        *server_refusals(server),
        *_version_refusals(server, manifest, tools_major, tools_version),
        *_name_refusals(database, live, replace=replace),
        *_done_refusals(live, manifest, again=again or not replace),
        *_role_refusals(missing_roles, create_roles=create_roles),
        *_extension_refusals(server, manifest),
        *_disk_refusals(server, need_bytes, debris_bytes),
    )


def already_exists(database: str) -> Refusal:
    """Return the refusal of a name that is taken."""
    return Refusal(
        f'database "{database}" exists already',
        "What exists is never overwritten.",
        f"Choose another name for --into, or replace it, keeping the old one: "
        f"casedb restore --database {database}.",
    )


def require_fit(server: ServerState) -> None:
    """Raise the first of `server_refusals`, if there is any."""
    for refusal in server_refusals(server):
        raise refusal.as_error()


def server_refusals(server: ServerState) -> list[Refusal]:
    """Return why no databases are made, renamed or dropped there, and by this connection."""
    found = []
    if server.is_pooled:
        found.append(Refusal(POOLED, POOLED_DETAIL, POOLED_HINT))
    if server.is_standby:
        found.append(
            Refusal(
                "the server is a standby",
                "It replays another server's changes and takes none of its own.",
                "Go to the primary; the standby follows.",
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
                "only a superuser can restore, swap or drop whole databases",
                f'"{server.role}" is none.',
                "Connect as postgres.",
            )
        )
    return found


def _version_refusals(
    server: ServerState, manifest: Manifest, tools_major: int, tools_version: str
) -> list[Refusal]:
    found = []
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
    return obstacle_refusals(database, live.obstacles)


def obstacle_refusals(database: str, obstacles: Sequence[Obstacle]) -> list[Refusal]:
    """Return the refusal to change the name of `database` while it has `obstacles`."""
    if not obstacles:
        return []
    names = "\n".join(f'{found.kind} "{found.name}"' for found in obstacles)
    return [
        Refusal(
            f'database "{database}" has what would hold its name or follow the old database',
            names,
            "Settle each first (COMMIT PREPARED or ROLLBACK PREPARED, pg_drop_replication_slot, "
            "DROP SUBSCRIPTION), or restore beside it: `casedb restore --into NAME`.",
        )
    ]


def _done_refusals(live: LiveState | None, manifest: Manifest, *, again: bool) -> list[Refusal]:
    """Refuse to do once more what is done, such as by a run that was killed behind its swap."""
    if again or live is None or live.restored != manifest.label:
        return []
    since = f"since {live.swapped_at:%Y-%m-%d %H:%M:%S} UTC" if live.swapped_at else "already"
    before = f'the one before it is kept: "{live.previous}"' if live.swapped_at else "none is kept"
    return [
        Refusal(
            f'database "{live.name}" is {manifest.label} already',
            f"It was restored and has the name {since}; {before}. "
            "What was written to it meanwhile would be lost from it.",
            "If a run was killed or lost its connection, it had come that far: nothing is left "
            "to do. Back: `casedb undo-restore`. Once more from the backup, and keep this one "
            "too: add --again.",
        )
    ]


def _role_refusals(missing: Sequence[str], *, create_roles: bool) -> list[Refusal]:
    if not missing or create_roles:
        return []
    return [
        Refusal(
            "the server lacks roles that own or may use what is in the backup",
            f"Missing: {', '.join(missing)}.",
            "`casedb host apply` makes the application's, with their passwords, on a host it looks "
            "after; --create-roles makes them all here, without login.",
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


def _disk_refusals(server: ServerState, need: int, debris: int) -> list[Refusal]:
    # A restore removes first what a killed one has left, which may be what fills the disk.
    if server.free_bytes is None or server.free_bytes + debris >= need:
        return []
    left = f", {debris / 2**20:.0f} MiB more are what a killed restore left" if debris else ""
    return [
        Refusal(
            "there is too little disk on the server",
            f"The restore needs about {need / 2**20:.0f} MiB besides what is there, "
            f"{server.free_bytes / 2**20:.0f} MiB are free{left}.",
            "Make room: `casedb drop-kept` removes databases kept by earlier restores.",
        )
    ]
