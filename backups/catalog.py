"""What backups a store holds: complete ones with their proofs, and broken ones, not hidden."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from backups.clocks import is_from_the_future
from backups.contents import NOT_NAMED, unnamed
from backups.labels import database_of
from backups.manifest import MANIFEST, Manifest, parse_manifest
from backups.records import read_record
from backups.reports import DrillReport, VerifyReport
from backups.stores.base import NoFileError, Store
from backups.tombstones import read_tombstone
from casedb.errors import BackupDamagedError, CasedbError, ConfigurationError, RefusedError

LATEST = "latest"
LATEST_DRILLED = "latest-drilled"


@dataclass(frozen=True)
class Backup:
    """One backup as the store shows it at a glance; `verify` is what reads its bytes."""

    database: str
    label: str
    size_bytes: int
    manifest: Manifest | None
    damage: str | None
    """Why it cannot be relied on, in words for people; None if nothing is known against it."""
    verified: VerifyReport | None
    drilled: DrillReport | None
    manifest_sha256: str = ""
    """Of manifest.json as it lies in the store; empty without one."""

    @property
    def taken_at(self) -> datetime | None:
        """When its snapshot was taken, as the manifest recorded it; None without a manifest."""
        return self.manifest.started_at if self.manifest else None

    @property
    def is_good(self) -> bool:
        """Whether it is complete, and nothing is known against it."""
        return self.damage is None

    @property
    def passed_drill(self) -> bool:
        """Whether its last drill passed, be it without access."""
        return self.is_good and self.drilled is not None and self.drilled.outcome == "passed"

    @property
    def passed_full_drill(self) -> bool:
        """Whether its last drill passed, and nothing was left out."""
        return self.passed_drill and self.drilled is not None and self.drilled.access_probed

    def age(self, now: datetime) -> timedelta | None:
        """How old it is at `now`; None without a manifest."""
        return now - self.taken_at if self.taken_at else None

    def is_from_the_future(self, now: datetime) -> bool:
        """Whether it was taken after `now`: that clock was ahead, or this one is behind."""
        return is_from_the_future(self.taken_at, now=now)

    def was_drilled_in_the_future(self, now: datetime) -> bool:
        """Whether its last drill ended after `now`."""
        return self.drilled is not None and is_from_the_future(self.drilled.at, now=now)


def catalog(store: Store, database: str) -> list[Backup]:
    """Return the backups of `database`, newest first by recorded time, broken ones included.

    Never by a file's date, and by name only without a manifest: both change when somebody copies a
    backup, but the newest stays the newest when its manifest is destroyed.
    """
    seen = store.at_a_glance(database)
    found = [read_backup(seen, database, label) for label in seen.labels(database)]
    told = [(b.taken_at, b) for b in found if b.taken_at]
    ordered = [b for _, b in sorted(told, key=lambda each: (each[0], each[1].label), reverse=True)]
    for untold in (b for b in found if b.taken_at is None):
        # Labels are to the second, and of when a dump began: only with each other they compare.
        label = untold.label if database_of(untold.label) else ""
        older = (place for place, b in enumerate(ordered) if b.label < label)
        ordered.insert(next(older, len(ordered)), untold)
    return ordered


def without_the_future(backups: Sequence[Backup], *, now: datetime) -> list[Backup]:
    """Return those of `backups` that were taken before `now`, without drills of after it.

    Only of these can an age be told: one that a clock took that was ahead stays new for as long.
    """
    return [
        replace(b, drilled=None) if b.was_drilled_in_the_future(now) else b
        for b in backups
        if not b.is_from_the_future(now)
    ]


def newest_drilled(newest_first: Sequence[Backup]) -> Backup | None:
    """Return the newest that passed a drill: one without access only if none passed a full one."""
    passed = [b for b in newest_first if b.passed_drill]
    return next((b for b in passed if b.passed_full_drill), passed[0] if passed else None)


def read_backup(store: Store, database: str, label: str) -> Backup:
    """Return one backup as the store shows it."""
    sizes = store.files(database, label)
    verified = read_record(store, database, label, VerifyReport)
    manifest, damage, checksum = None, None, ""
    try:
        data = read_manifest_bytes(store, database, label)
        manifest = parse_manifest(data, label=label)
        checksum = hashlib.sha256(data).hexdigest()
        damage = _damage_at_a_glance(manifest, sizes, verified)
    except BackupDamagedError as error:
        damage = error.detail or error.message
    return Backup(
        database=database,
        label=label,
        size_bytes=sum(sizes.values()),
        manifest=manifest,
        damage=damage,
        verified=verified,
        drilled=read_record(store, database, label, DrillReport),
        manifest_sha256=checksum,
    )


def newer_damaged(store: Store, database: str, label: str) -> list[Backup]:
    """Return the damaged backups newer than `label`, newest first, up to the first good one.

    By label: a damaged one may tell no other time. Reads no further than a choice of "latest" does.
    """
    found = []
    for newer in sorted(store.labels(database), reverse=True):
        if newer <= label or (backup := read_backup(store, database, newer)).is_good:
            break
        found.append(backup)
    return found


def _newest_manifest(store: Store, database: str) -> Manifest | None:
    """Return a recent manifest; None if there is none, or none can be read.

    By label, which costs one look.
    """
    try:
        seen = store.at_a_glance(database)
        return read_manifest(seen, database, seen.labels(database)[-1])
    except (CasedbError, IndexError):
        return None


def recipients_of(store: Store, database: str, label: str | None) -> tuple[str, ...]:
    """Return to whom the backup `label` is encrypted; of another or none, to whom a recent one is.

    Empty: to nobody.
    """
    try:
        manifest = read_manifest(store, database, label) if label else None
    except CasedbError:
        manifest = None
    manifest = manifest or _newest_manifest(store, database)
    return manifest.recipients if manifest else ()


def read_manifest(store: Store, database: str, label: str) -> Manifest:
    """Return the manifest of one backup.

    Raises:
        BackupDamagedError: if it has none that can be read, or another backup's.
        UnverifiedError: if the store cannot be read.
    """
    return parse_manifest(read_manifest_bytes(store, database, label), label=label)


def read_manifest_bytes(store: Store, database: str, label: str) -> bytes:
    """Return the file manifest.json of one backup.

    Raises:
        BackupDamagedError: if it has none.
        UnverifiedError: if the store cannot be read.
    """
    try:
        with store.open(database, label, MANIFEST) as file:
            return file.read()
    except NoFileError:
        raise BackupDamagedError(
            f'backup "{label}" has no manifest',
            detail="Its manifest is missing, so it is not a complete backup.",
            hint="Restore another backup, and keep this one for the inquiry.",
        ) from None


def resolve_label(
    store: Store, database: str, wanted: str, *, good_only: bool = True, certain: bool = False
) -> Backup:
    """Return the backup that `wanted` means: "latest", "latest-drilled" or a label.

    The first two never mean a damaged backup unless `good_only` is False, which is for looking
    at damage and not past it; a label may. Nor do they mean one from the future while there is
    another: that clock was ahead, as a rule. With `certain` nothing is guessed then.

    Raises:
        ConfigurationError: if there is no such backup; the hint names the nearest label.
        RefusedError: with `certain`, if it depends on which of two clocks is wrong.
    """
    if wanted not in (LATEST, LATEST_DRILLED):
        labels = store.labels(database)
        if wanted in labels:
            return read_backup(store, database, wanted)
        raise not_found(store, database, wanted, labels)
    backups, now = catalog(store, database), datetime.now(UTC)
    fitting = [
        b
        for b in backups
        if not good_only or (b.passed_drill if wanted == LATEST_DRILLED else b.is_good)
    ]
    if fitting:
        newest = fitting[0]
        found = next((b for b in fitting if not b.is_from_the_future(now)), newest)
        if certain and found is not newest:
            raise _uncertain(wanted, newest, found, now)
        return found
    raise _none_fits(store, database, backups)


def newest_without_drill(store: Store, database: str, *, with_access: bool) -> Backup | None:
    """Return the newest good backup that has not passed a drill; None if each of them has.

    With `with_access`, a drill that left the access matrix out does not count.

    Raises:
        ConfigurationError: if there is no good one at all: then nothing has passed.
    """
    backups = catalog(store, database)
    good = [b for b in backups if b.is_good]
    if not good:
        raise _none_fits(store, database, backups)
    return next(
        (b for b in good if not (b.passed_full_drill if with_access else b.passed_drill)), None
    )


def resolve_before(store: Store, database: str, moment: datetime) -> Backup:
    """Return the newest good backup of `database` that was taken before `moment` (aware).

    Raises:
        ConfigurationError: if there is none.
    """
    backups = [b for b in catalog(store, database) if b.is_good and b.taken_at]
    for backup in backups:
        if backup.taken_at and backup.taken_at < moment:
            return backup
    oldest = backups[-1].label if backups else "none"
    raise ConfigurationError(
        f'there is no good backup of database "{database}" from before {moment:%Y-%m-%d %H:%M} UTC',
        detail=f"{store.url} holds {len(backups)} good ones; the oldest is {oldest}.",
        hint="`casedb backups` lists them, with their age. Times are UTC.",
    )


def not_found(store: Store, database: str, wanted: str, labels: list[str]) -> ConfigurationError:
    """Return the error that says so of `wanted`: it has expired, or which of `labels` is near."""
    if expired := read_tombstone(store, database, wanted):
        return ConfigurationError(
            f'backup "{wanted}" has expired',
            detail=f"It was deleted from {store.url} at {expired.at:%Y-%m-%d %H:%M} UTC: "
            f"{expired.reason}.",
            hint="`casedb backups` lists those that are there.",
        )
    near = difflib.get_close_matches(wanted, labels, n=1, cutoff=0.0)
    return ConfigurationError(
        f'there is no backup "{wanted}"',
        detail=f'{store.url} holds {len(labels)} backups of database "{database}".',
        hint=f'Did you mean "{near[0]}"?' if near else "`casedb dump` makes one.",
    )


def source_of(store: Store, label: str, database: str) -> str:
    """Return the database of which `label` is a backup: the one it names, if the store knows it.

    `database` otherwise: then it is not a label, or one with a typing error.
    """
    named = database_of(label)
    return named if named and named in store.databases() else database


def _none_fits(store: Store, database: str, backups: Sequence[Backup]) -> ConfigurationError:
    good = sum(b.is_good for b in backups)
    return ConfigurationError(
        f'there is no {"drilled" if good else "good"} backup of database "{database}"',
        detail=f"{store.url} holds {len(backups)} of it, {good} of them good, none drilled."
        if good
        else f"{store.url} holds {len(backups)} of it, {len(backups)} of them damaged.",
        hint="`casedb drill latest` proves one." if good else "`casedb dump` makes one.",
    )


def _uncertain(wanted: str, ahead: Backup, newest: Backup, now: datetime) -> RefusedError:
    return RefusedError(
        f'which backup is the {wanted} cannot be told: "{ahead.label}" is from the future',
        detail=f"It was taken at {ahead.taken_at:%Y-%m-%d %H:%M:%S} UTC by the clock of its host, "
        f"and it is now {now:%Y-%m-%d %H:%M:%S} UTC by this one's. "
        f"The newest that is not from the future is {newest.label}.",
        hint=f"Is the clock right here (date -u)? Then name {newest.label}; "
        f"if it is behind, set it, or name {ahead.label}.",
    )


def _damage_at_a_glance(
    manifest: Manifest, sizes: Mapping[str, int], verified: VerifyReport | None
) -> str | None:
    for name in unnamed(manifest):
        return NOT_NAMED.format(name)
    for name, facts in manifest.files.items():
        if name not in sizes:
            return f"{name} is missing."
        if sizes[name] != facts.size_bytes:
            return f"{name} has {sizes[name]} bytes, the manifest says {facts.size_bytes}."
    if verified is not None and verified.outcome == "failed":
        why = next(iter(verified.problems), "it does not say why")
        return f"verify failed on {verified.at:%Y-%m-%d}: {why}"
    return None
