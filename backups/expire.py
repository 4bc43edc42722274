"""Delete one backup by its label, whatever the rules of retention keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backups.catalog import Backup, catalog, newest_drilled, not_found
from backups.sealing import Keys
from backups.stores.base import RetainedError, Store
from backups.tombstones import Tombstone, read_tombstone
from casedb.errors import RefusedError


@dataclass(frozen=True)
class Expiry:
    """A backup that may go, and what is left without it."""

    backup: Backup
    newest_left: Backup | None
    """The newest good one of those left whose age can be told; None if there is none."""


def plan_expiry(store: Store, database: str, label: str, *, now: datetime) -> Expiry:
    """Return what deleting the backup `label` would mean at `now` (aware); deletes nothing.

    Raises:
        ConfigurationError: if there is no such backup.
        RefusedError: if it cannot be spared, or the store does not let it go yet.
    """
    backups = catalog(store, database)
    labels = {b.label: b for b in backups}
    if label not in labels:
        raise not_found(store, database, label, [*labels])
    backup = labels[label]
    if why := indispensable(backup, backups, now=now):
        raise RefusedError(
            f'backup "{label}" cannot be spared: it is {why}',
            detail=f"{store.url} holds {len(backups)} backups of it.",
            hint="Take another first: `casedb dump`, then `casedb drill`.",
        )
    if until := store.retained_until(database, label):
        raise _retained(store, label, f"until {until:%Y-%m-%d %H:%M} UTC")
    left = (b for b in backups if b.label != label and b.is_good and not b.is_from_the_future(now))
    return Expiry(backup, next(left, None))


def expire(
    store: Store, database: str, label: str, *, now: datetime, reason: str, keys: Keys | None = None
) -> None:
    """Delete the backup `label`, and leave a tombstone that says `reason`.

    With `keys` it is one that nobody without them can forge.

    Raises:
        ConfigurationError: if there is no such backup.
        RefusedError: if it cannot be spared, or the store does not let it go yet.
        LockedError: if somebody reads it, or adds or deletes backups of this database.
        ToolFailedError: if it cannot be deleted.
    """
    # Once more: another run may have deleted what the first look relied on.
    with store.lock(database):
        backup = plan_expiry(store, database, label, now=now).backup
        tombstone = Tombstone.of(backup, at=now, reason=reason, keys=keys)
        try:
            store.delete(database, label, tombstone.to_bytes())
        except RetainedError as error:
            raise _retained(store, label, "for now") from error


def finish(store: Store, database: str, label: str) -> Tombstone | None:
    """Remove what a run that was killed left of `label`, which has expired; return its tombstone.

    None, and nothing is done, where it is still a backup or there is no tombstone.

    Raises:
        LockedError: if another run adds or deletes backups of this database.
        ToolFailedError: if it cannot be deleted.
    """

    def expired() -> Tombstone | None:
        there = label in store.labels(database)
        return None if there else read_tombstone(store, database, label)

    # Where there is none, no lock makes a store of the folder.
    if expired():
        with store.lock(database):
            store.sweep(database)
            return expired()
    return None


def indispensable(backup: Backup, backups: Sequence[Backup], *, now: datetime) -> str | None:
    """Return as what `backup` is needed among all `backups`, newest first; None if it is not.

    The last good one is, and so is the newest that passed a drill. One from the future is the
    newest only by a clock that was wrong: another that passed is enough for it to go.
    """
    if not backup.is_good:
        return None
    others = [b for b in backups if b.label != backup.label]
    if not any(b.is_good for b in others):
        return "the only good one"
    proven = newest_drilled([b for b in backups if not b.is_from_the_future(now)])
    if backup.passed_drill and (proven is None or proven.label == backup.label):
        return "the newest that passed a drill"
    return None


def _retained(store: Store, label: str, until: str) -> RefusedError:
    return RefusedError(
        f'backup "{label}" is locked {until}',
        detail=f"{store.url} was told to keep it for so long when it was written.",
        hint="It can be expired after that.",
    )
