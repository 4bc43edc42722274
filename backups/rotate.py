"""Delete the backups that the retention policy no longer needs."""

from dataclasses import dataclass, replace
from datetime import datetime

from backups.catalog import catalog
from backups.retention import Entry, Retention, decide, from_the_future, unusual
from backups.sealing import Keys
from backups.stores.base import RetainedError, Store
from backups.tombstones import Tombstone
from casedb.errors import CasedbError, LockedError, RefusedError


@dataclass(frozen=True)
class RotationPlan:
    """What is kept, what has expired, and what was deleted of it."""

    database: str
    entries: tuple[Entry, ...]
    """Newest first."""
    warning: str | None = None
    """Why deleting needs to be confirmed; None if it does not."""
    deleted: tuple[str, ...] = ()
    in_use: tuple[str, ...] = ()
    """Expired, but left alone: somebody is reading them."""
    retained: tuple[str, ...] = ()
    """Expired, but the store keeps them for longer: it was told so when they were written."""
    failure: CasedbError | None = None
    """What ended it half-way; what was deleted before that is gone."""

    @property
    def expired(self) -> tuple[Entry, ...]:
        """The entries the policy no longer needs, newest first."""
        return tuple(entry for entry in self.entries if not entry.kept)

    @property
    def kept(self) -> tuple[Entry, ...]:
        """The entries that stay, newest first."""
        return tuple(entry for entry in self.entries if entry.kept)


def rotate(
    store: Store,
    database: str,
    policy: Retention,
    *,
    now: datetime,
    apply: bool,
    confirmed: int | None = None,
    keys: Keys | None = None,
) -> RotationPlan:
    """Decide what has expired at `now` (aware), and delete it if `apply`; oldest first.

    `confirmed` is how many backups the caller expects to go; without it, a deletion that looks
    like an accident is refused. A tombstone of each stays, so that expired is not missing;
    with `keys`, one that nobody without them can forge. An error while deleting ends it and is in
    the plan, for the caller to raise when he has told what was deleted before.

    Raises:
        RefusedError: if the newest backup is from the future, so that no age can be trusted; if
            unusually many would go; or if others than `confirmed` would.
        ConfigurationError: if there is no store.
        LockedError: if another run adds or deletes backups of this database.
    """
    if not apply:
        return _plan(store, database, policy, now)
    # The lock makes a new store where there is none, such as where a disk is not mounted.
    store.databases()
    with store.lock(database):
        plan = _plan(store, database, policy, now)
        _require_confirmed(plan, confirmed)
        store.sweep(database)
        deleted, in_use, retained = [], [], []
        failure = None
        for entry in reversed(plan.expired):
            label = entry.backup.label
            tombstone = Tombstone.of(entry.backup, at=now, reason=entry.reason, keys=keys)
            try:
                store.delete(database, label, tombstone.to_bytes())
                deleted.append(label)
            except LockedError:
                in_use.append(label)
            except RetainedError:
                retained.append(label)
            except CasedbError as error:
                failure = error
                break
    return replace(
        plan,
        deleted=tuple(deleted),
        in_use=tuple(in_use),
        retained=tuple(retained),
        failure=failure,
    )


def _plan(store: Store, database: str, policy: Retention, now: datetime) -> RotationPlan:
    backups = catalog(store, database)
    if ahead := from_the_future(backups, now=now):
        raise RefusedError(
            f'the clock or backup "{ahead.label}" is wrong: it is from the future',
            detail=f"It was taken at {ahead.taken_at:%Y-%m-%d %H:%M:%S} UTC, and it is now "
            f"{now:%Y-%m-%d %H:%M:%S %Z}.",
            hint="Nothing is deleted by an age that cannot be trusted: set the clock right. "
            f"If it is, dump, drill, and delete that one: `casedb expire {ahead.label}`.",
        )
    entries = decide(backups, policy, now=now)
    return RotationPlan(database, tuple(entries), unusual(entries, policy, now=now))


def _require_confirmed(plan: RotationPlan, confirmed: int | None) -> None:
    count = len(plan.expired)
    if confirmed is not None and confirmed != count:
        raise RefusedError(
            f"{count} backups have expired, not {confirmed}; nothing was deleted",
            detail="The list has changed since it was looked at, or another policy was meant.",
            hint="Look again: `casedb rotate` without --apply.",
        )
    if confirmed is None and plan.warning:
        raise RefusedError(
            "this deletes unusually much; nothing was deleted",
            detail=f"{plan.warning[0].upper()}{plan.warning[1:]}.",
            hint=f"Look at `casedb rotate` first; if it is right, --confirm {count} does it.",
        )
