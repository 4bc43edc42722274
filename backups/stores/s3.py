"""A store in an S3 bucket, of AWS or compatible.

The objects lie as the files of a local store do, so that a copy of the bucket is a local store;
s3_objects.py tells what differs. A set counts from the moment its manifest is there. What was
written over its files later, and markers of deletion, are ignored: only a pruner with the right to
delete versions can take one away.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from backups.labels import database_of_folder
from backups.manifest import MANIFEST
from backups.stores.base import (
    KINDS_OF_A_SET,
    NewSet,
    RecordKind,
    Resumed,
    RetainedError,
    Safeguards,
)
from backups.stores.s3_errors import deleting, reading, writing
from backups.stores.s3_lease import lease, require_unread
from backups.stores.s3_lock import RunLock
from backups.stores.s3_objects import BEGUN, RECORDS, Objects, record
from backups.stores.s3_set import S3Set
from backups.stores.s3_sweep import sweep
from casedb.errors import CasedbError
from casedb.kept_parts import kept_parts
from casedb.s3 import Bucket
from casedb.s3_model import Location, S3Error


class S3Store:
    """Backups as objects below one prefix."""

    def __init__(self, location: Location, objects: Objects | None = None) -> None:
        self.location = location
        self._objects = objects or Objects(location, Bucket(location))
        self.bucket = self._objects.bucket
        self._locks: dict[str, RunLock] = {}

    @property
    def url(self) -> str:
        """Where it is; of the options the endpoint alone."""
        return self.location.url

    def databases(self) -> list[str]:
        """Return the names of the databases that have something here, sorted."""
        with reading(self.location):
            folders = self.bucket.folders(self.location.prefix)
        return sorted(database_of_folder(name) for name in folders)

    def labels(self, database: str) -> list[str]:
        """Return the labels of the sets of `database`, broken ones too, sorted."""
        found = self._objects.sets(self._objects.listing(database), database)
        return sorted(
            label
            for label, files in found.items()
            if not self._objects.is_debris(database, label, files)
        )

    def files(self, database: str, label: str) -> Mapping[str, int]:
        """Return the files of one set and their sizes in bytes; empty if there is no such set."""
        files = self._objects.files(database, label)
        return {name: version.size_bytes for name, version in files.items()}

    def open(self, database: str, label: str, name: str) -> AbstractContextManager[BinaryIO]:
        """Open one file of a set for reading, in its oldest version."""
        return self._objects.open(database, label, name)

    def at_a_glance(self, database: str) -> "S3Store":
        """Return this store as one listing of `database` shows it."""
        return S3Store(self.location, replace(self._objects, seen=self._objects.listing(database)))

    @contextmanager
    def resuming(self, label: str, folder: Path) -> Iterator[Resumed]:
        """Keep what is downloaded in `folder` until the block ends well, and begin with it."""
        with kept_parts(folder, f"{self.url} {label}") as parts:
            store = S3Store(self.location, replace(self._objects, seen=None, kept=parts))
            yield Resumed(store, parts.size_bytes(), parts.size_bytes) if parts else Resumed(store)

    @contextmanager
    def lock(self, database: str) -> Iterator[None]:
        """Hold the right to add and delete backups of `database`."""
        run = RunLock(self.bucket, self._objects.key(database, ".lock"))
        with writing(self.location):
            run.take()
        with run.held():
            self._locks[database] = run
            try:
                yield
            finally:
                del self._locks[database]

    def lease(self, database: str, label: str) -> AbstractContextManager[tuple[str, ...]]:
        """Keep one set from being deleted; who may not write here is told that nothing does."""
        return lease(self._objects, database, label)

    def sweep(self, database: str) -> list[str]:
        """Remove what killed runs left, and return what it was."""
        return sweep(self._objects, database)

    @contextmanager
    def new_set(self, database: str, label: str) -> Iterator[NewSet]:
        """Begin a backup. Unless committed, it is gone when the block ends."""
        with writing(self.location):
            mark = self.bucket.put(self._objects.key(database, f".begun/{label}"), BEGUN)
        new = S3Set(self._objects, database, label, mark=mark, run=self._locks[database])
        try:
            yield new
        finally:
            if not new.is_committed:
                with suppress(CasedbError, S3Error):
                    new.take_back()

    def delete(self, database: str, label: str, tombstone: bytes) -> None:
        """Delete one set, manifest first, and what verify and drill found."""
        if self.retained_until(database, label):
            raise RetainedError(label)
        require_unread(self._objects, database, label)
        self.write_record(database, label, "expired", tombstone)
        try:
            # Again: whoever takes a lease from now on sees the tombstone.
            require_unread(self._objects, database, label)
            with deleting(self.location, label):
                self._objects.remove(database, label, self._objects.listing(database, f"{label}/"))
        except CasedbError:
            # If nobody can tell, the next sweep does.
            with suppress(CasedbError):
                if MANIFEST in self.files(database, label):
                    self._objects.forget(self._objects.key(database, record(label, "expired")))
            raise
        for kind in KINDS_OF_A_SET:
            self._objects.forget(self._objects.key(database, record(label, kind)))

    def retained_until(self, database: str, label: str) -> datetime | None:
        """Return until when the object lock keeps the set; None if it does not (any more)."""
        manifest = self._objects.files(database, label).get(MANIFEST)
        if manifest is None:
            return None
        with reading(self.location):
            return self.bucket.retained_until(manifest.key, manifest.version_id)

    def recorded(self, database: str, kind: RecordKind) -> list[str]:
        """Return the labels that have a record of that kind, sorted."""
        folder, end = self._objects.key(database, f"{RECORDS}/"), f".{kind}.json"
        names = {
            v.key.removeprefix(folder)
            for v in self._objects.listing(database, f"{RECORDS}/").versions
        }
        return sorted(name.removesuffix(end) for name in names if name.endswith(end))

    def read_record(self, database: str, label: str, kind: RecordKind) -> bytes | None:
        """Return a record, or None if there is none."""
        rest = record(label, kind)
        if self._objects.seen is not None and not self._objects.listing(database, rest).versions:
            return None
        with reading(self.location, is_listed=self._objects.seen is not None):
            try:
                return self.bucket.get(self._objects.key(database, rest))
            except S3Error as error:
                if error.is_missing:
                    return None
                raise

    def write_record(self, database: str, label: str, kind: RecordKind, data: bytes) -> None:
        """Write a record in one step, in place of an earlier one."""
        with writing(self.location):
            self.bucket.put(self._objects.key(database, record(label, kind)), data)

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
