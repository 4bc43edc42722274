"""Delete the backups that the retention policy no longer needs."""

from dataclasses import dataclass
from datetime import datetime

from backups.catalog import catalog
from backups.retention import Entry, Retention, decide, from_the_future
from backups.stores.base import Store
from casedb.errors import LockedError, RefusedError


@dataclass(frozen=True)
class RotationPlan:
    """What is kept, what has expired, and what was deleted of it."""

    database: str
    entries: tuple[Entry, ...]
    """Newest first."""
    deleted: tuple[str, ...] = ()
    in_use: tuple[str, ...] = ()
    """Expired, but left alone: somebody is reading them."""

    @property
    def expired(self) -> tuple[Entry, ...]:
        """The entries the policy no longer needs, newest first."""
        return tuple(entry for entry in self.entries if not entry.kept)

    @property
    def kept(self) -> tuple[Entry, ...]:
        """The entries that stay, newest first."""
        return tuple(entry for entry in self.entries if entry.kept)


def rotate(
    store: Store, database: str, policy: Retention, *, now: datetime, apply: bool
) -> RotationPlan:
    """Decide what has expired at `now` (aware), and delete it if `apply`; oldest first.

    Raises:
        RefusedError: if the newest backup is from the future, so that no age can be trusted.
        LockedError: if another run adds or deletes backups of this database.
    """
    if not apply:
        return _plan(store, database, policy, now)
    with store.lock(database):
        plan = _plan(store, database, policy, now)
        store.sweep(database)
        deleted, in_use = [], []
        for entry in reversed(plan.expired):
            label = entry.backup.label
            try:
                store.delete(database, label)
                deleted.append(label)
            except LockedError:
                in_use.append(label)
    return RotationPlan(database, plan.entries, tuple(deleted), tuple(in_use))


def _plan(store: Store, database: str, policy: Retention, now: datetime) -> RotationPlan:
    backups = catalog(store, database)
    if ahead := from_the_future(backups, now=now):
        raise RefusedError(
            f'the clock or backup "{ahead.label}" is wrong: it is from the future',
            detail=f"It was taken at {ahead.taken_at:%Y-%m-%d %H:%M:%S} UTC, and it is now "
            f"{now:%Y-%m-%d %H:%M:%S %Z}.",
            hint="Set the clock right; nothing is deleted by an age that cannot be trusted.",
        )
    return RotationPlan(database, tuple(decide(backups, policy, now=now)))
