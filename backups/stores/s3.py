"""A store in an S3 bucket, of AWS or compatible.

The objects lie as the files of a local store do, so that a copy of the bucket is a local store.
A set counts from the moment its manifest is there. What differs is what files cannot do:

DATABASE/.begun/LABEL     a set being written; without it, a set without a manifest is damaged
DATABASE/.lock/NUMBER     held by one run while it renews it; NUMBER.released when it is done
DATABASE/.leases/LABEL/…  held by whoever reads a set

A set's files are read in their oldest version: what was written over them later, and markers of
deletion, are ignored. Only a pruner with the right to delete versions can take one away.
"""

import io
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from backups.labels import database_of_folder, folder_of
from backups.manifest import MANIFEST
from backups.stores.base import (
    NewSet,
    RecordKind,
    Resumed,
    RetainedError,
    Safeguards,
    WriteOnlyError,
)
from backups.stores.s3_errors import deleting, reading, writing
from backups.stores.s3_lock import LIFETIME, RunLock, renewed, whoami
from casedb.errors import CasedbError, LockedError, UnverifiedError
from casedb.kept_parts import KeptParts, kept_parts
from casedb.s3 import Bucket
from casedb.s3_model import Listing, Location, S3Error, Version

_RECORDS = "records"
_KINDS_OF_A_SET: tuple[RecordKind, ...] = ("verify", "drill")


class S3Store:
    """Backups as objects below one prefix."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.bucket = Bucket(location)
        self._kept: KeptParts | None = None
        self._seen: Listing | None = None
        self._locks: dict[str, RunLock] = {}

    @property
    def url(self) -> str:
        """Where it is, without options."""
        return self.location.url

    def databases(self) -> list[str]:
        """Return the names of the databases that have something here, sorted."""
        with reading(self.location):
            folders = self.bucket.folders(self.location.prefix)
        return sorted(database_of_folder(name) for name in folders)

    def labels(self, database: str) -> list[str]:
        """Return the labels of the sets of `database`, broken ones too, sorted."""
        found = self._sets(self._list(database), database)
        whole = [label for label, files in found.items() if MANIFEST in files]
        rest = [label for label in found if label not in whole]
        return sorted([*whole, *(label for label in rest if not self._is_debris(database, label))])

    def files(self, database: str, label: str) -> Mapping[str, int]:
        """Return the files of one set and their sizes in bytes; empty if there is no such set."""
        listing = self._list(database, f"{label}/")
        files = self._sets(listing, database).get(label, {})
        return {name: version.size_bytes for name, version in files.items()}

    @contextmanager
    def open(self, database: str, label: str, name: str) -> Iterator[BinaryIO]:
        """Open one file of a set for reading, in its oldest version."""
        listing = self._list(database, f"{label}/{name}")
        version = self._sets(listing, database).get(label, {}).get(name)
        if version is None:
            raise FileNotFoundError(name)
        with (
            reading(self.location),
            self.bucket.reading(version, kept=self._kept) as file,
        ):
            yield file

    def at_a_glance(self, database: str) -> "S3Store":
        """Return this store as one listing of `database` shows it."""
        seen = S3Store(self.location)
        seen.bucket, seen._kept = self.bucket, self._kept
        seen._seen = self._list(database)
        return seen

    @contextmanager
    def resuming(self, label: str, folder: Path) -> Iterator[Resumed]:
        """Keep what is downloaded in `folder` until the block ends well, and begin with it."""
        with kept_parts(folder, f"{self.url} {label}") as parts:
            store = S3Store(self.location)
            store.bucket, store._kept = self.bucket, parts
            yield Resumed(store, parts.size_bytes(), parts.size_bytes) if parts else Resumed(store)

    @contextmanager
    def lock(self, database: str) -> Iterator[None]:
        """Hold the right to add and delete backups of `database`."""
        run = RunLock(self.bucket, self._key(database, ".lock"))
        with writing(self.location):
            run.take()
        with run.held():
            self._locks[database] = run
            try:
                yield
            finally:
                del self._locks[database]

    @contextmanager
    def lease(self, database: str, label: str) -> Iterator[tuple[str, ...]]:
        """Keep one set from being deleted.

        Whoever may not write here cannot keep anything either, and reads without.
        """
        key = self._key(database, f".leases/{label}/{secrets.token_hex(8)}")
        holder = whoami()
        try:
            self.bucket.put(key, holder)
        except S3Error as error:
            if not error.is_denied:
                with reading(self.location):
                    raise
            yield (f"nothing kept rotation off the backup: no right to write to {self.url}",)
            return
        try:
            # In this order; `delete` does it the other way round, so that one of the two sees
            # the other.
            self._require_not_going(database, label)
            with renewed(self.bucket, key, holder):
                yield ()
        finally:
            self._forget(key)

    def sweep(self, database: str) -> list[str]:
        """Remove what killed runs left, and return what it was."""
        left = []
        with writing(self.location):
            try:
                for key in self.bucket.abort_uploads(self._key(database)):
                    left.append(f"an unfinished upload of {key.rpartition('/')[2]}")
            except S3Error as error:
                # A host that may only put leaves that to the pruner.
                if not error.is_denied:
                    raise
            listing, removed = self._list(database), []
            for label, files in self._sets(listing, database).items():
                if MANIFEST not in files and self._is_debris(database, label):
                    self._remove(database, label, listing)
                    removed.append(label)
            if removed:
                listing = self._list(database)
            sets = self._sets(listing, database)
            for label, files in sets.items():
                tombstone = self._key(database, _record(label, "expired"))
                if MANIFEST in files and _is_there(listing, tombstone):
                    self._forget(tombstone)
                    left.append(f"the tombstone of {label}")
            # Where nothing may be deleted, it is still there, and its mark says that it is nothing.
            unfinished = {label for label, files in sets.items() if MANIFEST not in files}
            left += [f"the unfinished set {label}" for label in removed if label not in unfinished]
            for version in listing.versions:
                label = version.key.removeprefix(self._key(database, ".begun/"))
                if label not in (version.key, *unfinished) and not version.is_marker:
                    self._forget(version.key)
        return left

    @contextmanager
    def new_set(self, database: str, label: str) -> Iterator[NewSet]:
        """Begin a backup. Unless committed, it is gone when the block ends."""
        with writing(self.location):
            mark = self.bucket.put(self._key(database, f".begun/{label}"), b"begun")
        new = S3Set(self, database, label, mark)
        try:
            yield new
        finally:
            if not new.is_committed:
                with suppress(CasedbError, S3Error):
                    self._remove(database, label, self._list(database, f"{label}/"))
                    # As long as something is left, the mark says that it is nothing.
                    if not self._list(database, f"{label}/").versions:
                        self._forget(self._key(database, f".begun/{label}"))

    def delete(self, database: str, label: str, tombstone: bytes) -> None:
        """Delete one set, manifest first, and what verify and drill found."""
        if self.retained_until(database, label):
            raise RetainedError(label)
        self._require_unread(database, label)
        self.write_record(database, label, "expired", tombstone)
        try:
            # Again: whoever takes a lease from now on sees the tombstone.
            self._require_unread(database, label)
            with deleting(self.location, label):
                self._remove(database, label, self._list(database, f"{label}/"))
        except CasedbError:
            # If nobody can tell, the next sweep does.
            with suppress(CasedbError):
                if MANIFEST in self.files(database, label):
                    self._forget(self._key(database, _record(label, "expired")))
            raise
        for kind in _KINDS_OF_A_SET:
            self._forget(self._key(database, _record(label, kind)))

    def _require_unread(self, database: str, label: str) -> None:
        leases = self._list(database, f".leases/{label}/")
        for version in {v.key: v for v in leases.versions}.values():
            # An empty one has ended, where it could not be deleted.
            lives = version.size_bytes > 0 and not version.is_marker
            if lives and leases.server_time - version.modified < LIFETIME:
                raise LockedError(
                    f'backup "{label}" is in use',
                    detail="A verify, a drill or a restore is reading it, here or elsewhere.",
                    hint="Try again when it has ended.",
                )

    def _require_not_going(self, database: str, label: str) -> None:
        """Refuse a set whose tombstone was written, if whoever deletes is still at it."""
        with reading(self.location):
            tombstone = self._key(database, _record(label, "expired"))
            if not _is_there(self.bucket.listing(tombstone), tombstone):
                return
            # A killed run's tombstone, which the next run takes back, keeps nobody from reading.
            if RunLock(self.bucket, self._key(database, ".lock")).is_taken():
                raise LockedError(
                    f'backup "{label}" is being deleted',
                    detail=f"It has expired, and a rotation is at work on {self.url}.",
                    hint="Take another one, or try again: when the rotation has ended, it is gone, "
                    "or free.",
                )

    def retained_until(self, database: str, label: str) -> datetime | None:
        """Return until when the object lock keeps the set; None if it does not (any more)."""
        files = self._sets(self._list(database, f"{label}/"), database).get(label, {})
        manifest = files.get(MANIFEST)
        if manifest is None:
            return None
        with reading(self.location):
            return self.bucket.retained_until(manifest.key, manifest.version_id)

    def recorded(self, database: str, kind: RecordKind) -> list[str]:
        """Return the labels that have a record of that kind, sorted."""
        folder, end = self._key(database, f"{_RECORDS}/"), f".{kind}.json"
        names = {v.key.removeprefix(folder) for v in self._list(database, f"{_RECORDS}/").versions}
        return sorted(name.removesuffix(end) for name in names if name.endswith(end))

    def read_record(self, database: str, label: str, kind: RecordKind) -> bytes | None:
        """Return a record, or None if there is none."""
        rest = _record(label, kind)
        if self._seen is not None and not self._list(database, rest).versions:
            return None
        with reading(self.location):
            try:
                return self.bucket.get(self._key(database, rest))
            except S3Error as error:
                if error.is_missing:
                    return None
                raise

    def write_record(self, database: str, label: str, kind: RecordKind, data: bytes) -> None:
        """Write a record in one step, in place of an earlier one."""
        with writing(self.location):
            self.bucket.put(self._key(database, _record(label, kind)), data)

    def safeguards(self) -> Safeguards:
        """Return whether deleted versions are kept, and for how long."""
        with reading(self.location):
            forgets, expires = self.bucket.lifecycle_days()
            return Safeguards(
                keeps_versions=self.bucket.keeps_versions(),
                forgets_after_days=forgets,
                expires_after_days=expires,
                lock_days=self.location.lock_days,
            )

    def free_bytes(self, database: str) -> int | None:
        """Return None: a bucket has no end."""
        return None

    def _key(self, database: str, rest: str = "") -> str:
        return f"{self.location.prefix}{folder_of(database)}/{rest}"

    def _list(self, database: str, rest: str = "") -> Listing:
        if self._seen is not None:
            return self._seen.below(self._key(database, rest))
        with reading(self.location):
            return self.bucket.listing(self._key(database, rest))

    def _sets(self, listing: Listing, database: str) -> dict[str, dict[str, Version]]:
        """Return the oldest version of each file, by label and name."""
        found: dict[str, dict[str, Version]] = {}
        for version in listing.versions:
            label, _, name = version.key.removeprefix(self._key(database)).partition("/")
            if name and label != _RECORDS and label[0] != "." and not version.is_marker:
                found.setdefault(label, {}).setdefault(name, version)
        return found

    def _is_debris(self, database: str, label: str) -> bool:
        """Whether a set without a manifest was never finished, or is half deleted on purpose."""
        begun, expired = f".begun/{label}", _record(label, "expired")
        return any(
            # By what is listed: who may only put cannot read either of them.
            _is_there(self._list(database, rest), self._key(database, rest))
            for rest in (begun, expired)
        )

    def _remove(self, database: str, label: str, listing: Listing) -> None:
        folder = self._key(database, f"{label}/")
        versions = [v for v in listing.versions if v.key.startswith(folder)]
        # Without its manifest it is no backup any more, wherever this ends.
        for version in sorted(versions, key=lambda v: v.key != folder + MANIFEST):
            try:
                self.bucket.delete(version.key, version.version_id)
            except S3Error as error:
                is_manifest = version.key == folder + MANIFEST and not version.is_marker
                if is_manifest or not error.is_denied:
                    raise

    def _forget(self, key: str, version_id: str | None = None) -> None:
        """Remove a small object of ours, or, where nothing may be deleted, empty it.

        With `version_id`, that of its only version, which whoever has written it knows.
        """
        try:
            if version_id is not None:
                self.bucket.delete(key, version_id)
                return
            for version in self.bucket.listing(key).versions:
                if version.key == key:
                    self.bucket.delete(key, version.version_id)
        except S3Error:
            with suppress(S3Error):
                self.bucket.put(key, b"")


def _record(label: str, kind: RecordKind) -> str:
    return f"{_RECORDS}/{label}.{kind}.json"


def _is_there(listing: Listing, key: str) -> bool:
    """Whether there is such an object, and not emptied where it could not be deleted."""
    newest = [v for v in listing.versions if v.key == key][-1:]
    return any(not v.is_marker and v.size_bytes > 0 for v in newest)


class S3Set:
    """A backup being written."""

    def __init__(self, store: S3Store, database: str, label: str, mark: str) -> None:
        self._store, self._database, self._label = store, database, label
        self._mark = mark
        self._manifest: io.BytesIO | None = None
        self.is_committed = False

    @property
    def label(self) -> str:
        """The label it will have."""
        return self._label

    def check(self, action: Callable[[NewSet], None]) -> None:
        """Do `action` with this set."""
        action(self)

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open `name` for writing; there when the block ends, gone when the block fails."""
        if name == MANIFEST:
            # It makes the set count, so it is sent by `commit` alone.
            buffer = io.BytesIO()
            yield buffer
            self._manifest = buffer
            return
        with (
            writing(self._store.location),
            self._store.bucket.writing(self._path(name), locked=True) as upload,
        ):
            yield cast("BinaryIO", upload)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file already written, to read it back."""
        try:
            with self._store.open(self._database, self._label, name) as file:
                yield file
        except UnverifiedError as error:
            if isinstance(error.__cause__, S3Error) and error.__cause__.is_denied:
                raise WriteOnlyError(self._store.url) from error
            raise

    def commit(self) -> None:
        """Make the set visible.

        Raises:
            LockedError: if another run has taken the lock meanwhile.
        """
        if self._manifest is None:
            raise AssertionError("the manifest is what makes a set complete")
        with writing(self._store.location):
            # A run that stood still for long may have been swept by another.
            self._store._locks[self._database].require()
            begun = self._store._key(self._database, f".begun/{self._label}")
            if not _is_there(self._store.bucket.listing(begun), begun):
                raise LockedError(
                    f'"{self._label}" was swept by another run while it was written',
                    detail=f"Its mark in {self._store.url} is gone.",
                    hint="Run it again; what it had written does not count.",
                )
            data = self._manifest.getvalue()
            self._store.bucket.create(self._path(MANIFEST), data, locked=True)
        self.is_committed = True
        # A second version of it, which a repeated request makes, goes with the next sweep.
        self._store._forget(begun, self._mark)

    def _path(self, name: str) -> str:
        return self._store._key(self._database, f"{self._label}/{name}")
