"""What a plan says in sentences: the steps of a restore, and what is worth a note. Pure."""

from collections.abc import Sequence
from datetime import datetime

from backups.catalog import Backup
from backups.clocks import is_from_the_future
from backups.collations import needed, order_notes
from backups.manifest import Manifest
from backups.restore_facts import LiveState, ServerState
from backups.unfinished import debris, drop_statement


def plan_steps(
    label: str,
    database: str,
    live: LiveState | None,
    missing: Sequence[str],
    part: Sequence[str] | None,
    *,
    freeze: bool,
    replace: bool,
    waiting: str | None = None,
) -> list[str]:
    """Return what would be done, in order; see `make_plan` for the parameters."""
    steps = []
    if live and replace and freeze:
        steps.append(f'"{database}" becomes read-only, its sessions end (they can come back)')
    if missing:
        steps.append(f"{len(missing)} roles are created, without login")
    what = label if part is None else f"the schema of {label}"
    if part:
        what += f", with the rows of {', '.join(part)},"
    steps.append(
        f'"{waiting}", which an earlier run restored and verified, is compared again with {label}; '
        "nothing is loaded"
        if waiting
        else f"{what} is loaded into a new database beside the others, and compared with it"
    )
    if live and replace:
        incoming = f'"{waiting}"' if waiting else "the new database"
        steps.append(
            f'"{database}" is renamed and {incoming} gets its name, in one transaction; '
            "grants, settings, comment and mark stay with the name"
        )
        steps.append("the old database is kept, read-only; `casedb undo-restore` swaps back")
    else:
        steps.append(f'the new database is named "{database}"; nothing else is touched')
    if part is not None:
        steps.append("how the live database differs from it is shown")
    return steps


def _proof_notes(backup: Backup, drills: Sequence[Backup]) -> list[str]:
    if backup.passed_drill:
        return []
    proven = f"; {drills[0].label} is the newest that passed one" if drills else ""
    if backup.drilled is None:
        return [f"this backup was never drilled: that it restores is only hoped{proven}"]
    why = backup.drilled.differences[0] if backup.drilled.differences else "it does not say why"
    return [f"WARNING: this backup's drill failed: {why}{proven}"]


def damage_notes(damaged: Sequence[Backup]) -> list[str]:
    """Return a note for each of the newer backups `damaged`."""
    return [
        f"WARNING: {backup.label} is newer, and damaged: {backup.damage or 'it does not say how'}"
        for backup in damaged
    ]


def clock_notes(taken_at: datetime, now: datetime) -> list[str]:
    """Return a note where nobody can tell how old the backup is, taken at `taken_at`."""
    if not is_from_the_future(taken_at, now=now):
        return []
    return [
        "WARNING: this backup is from the future: the clock of the host that took it was ahead, or "
        "this one is behind; how old it is, nobody can tell"
    ]


def scratch_notes(server: ServerState, need: int, in_clear: int) -> list[str]:
    """Return what is worth a note where the archive in clear has no room beside the database."""
    if not server.scratch_on_same_disk or server.free_bytes is None or not in_clear:
        return []
    if server.free_bytes - need > 2 * in_clear:
        return []
    return [
        f"the archive in clear ({in_clear / 2**20:.0f} MiB) has no room on the server's disk "
        "besides the database: its rows are read as they come, by one job, which takes longer. "
        "--scratch names a folder on another disk"
    ]


def plan_notes(
    backup: Backup,
    manifest: Manifest,
    server: ServerState,
    live: LiveState | None,
    database: str,
    drills: Sequence[Backup],
    *,
    freeze: bool,
    replace: bool,
    waiting: str | None = None,
) -> list[str]:
    """Return what somebody should know besides; see `make_plan` for the parameters."""
    notes = [
        f'"{name}" was left by an unfinished restore: it is removed, unless one is running; '
        f"by hand: {drop_statement(name).as_string(None)}"
        for name in debris(server.databases, database)
        if name != waiting
    ]
    if live and live.is_frozen:
        notes.append(
            f'"{database}" is read-only since a restore that was killed; the next one ends that, '
            f"and so does: {live.thaw_command}"
        )
    notes += _proof_notes(backup, drills)
    if server.version != manifest.server_version:
        notes.append(f"the backup is of PostgreSQL {manifest.server_version}, not {server.version}")
    for extension in manifest.extensions:
        here = server.extensions.get(extension.name)
        if here and here != extension.version:
            notes.append(f"extension {extension.name} was {extension.version}, here it is {here}")
    notes += order_notes(needed(manifest), server.collations)
    if server.free_bytes is None:
        notes.append("the server does not tell how much disk is free")
    if live and replace and live.session_count and not freeze:
        notes.append(
            "what is written while this runs is not in the restored database; it stays in the "
            "kept one and is counted. --freeze makes the live one read-only first"
        )
    return notes
