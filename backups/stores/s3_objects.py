"""Which objects of a bucket are what: the sets, records, marks and leases of a store's databases.

DATABASE/LABEL/FILE       a set's files, read in their oldest version
DATABASE/records/…        what was found of sets
DATABASE/.begun/LABEL     a set being written, or what was sent of one whose run is over may still
                          come; without it, a set without a manifest is damaged
DATABASE/.lock/NUMBER     held by one run while it renews it; NUMBER.released when it is done
DATABASE/.leases/LABEL/…  held by whoever reads a set
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from backups.labels import folder_of
from backups.manifest import MANIFEST
from backups.stores.base import NoFileError, RecordKind
from backups.stores.s3_errors import reading
from casedb.kept_parts import KeptParts
from casedb.s3 import Bucket
from casedb.s3_model import Listing, Location, S3Error, Version

RECORDS = "records"
BEGUN = b"begun"
OVER = b"over; what was sent may still come"
"""What marks say. Who may not read them tells them apart by their size."""


@dataclass(frozen=True)
class Objects:
    """The objects below one prefix."""

    location: Location
    bucket: Bucket
    seen: Listing | None = None
    """What was listed of one database, instead of looking again."""
    kept: KeptParts | None = None
    """Where what is downloaded stays for the next run."""

    def key(self, database: str, rest: str = "") -> str:
        """Return the key of what lies at `rest` among the objects of `database`."""
        return f"{self.location.prefix}{folder_of(database)}/{rest}"

    def listing(self, database: str, rest: str = "") -> Listing:
        """Return what lies below `rest`."""
        if self.seen is not None:
            return self.seen.below(self.key(database, rest))
        with reading(self.location):
            return self.bucket.listing(self.key(database, rest))

    def sets(self, listing: Listing, database: str) -> dict[str, dict[str, Version]]:
        """Return the oldest version of each file, by label and name."""
        found: dict[str, dict[str, Version]] = {}
        for version in listing.versions:
            label, _, name = version.key.removeprefix(self.key(database)).partition("/")
            if name and label != RECORDS and label[0] != "." and not version.is_marker:
                found.setdefault(label, {}).setdefault(name, version)
        return found

    def files(self, database: str, label: str) -> dict[str, Version]:
        """Return the files of one set."""
        return self.sets(self.listing(database, f"{label}/"), database).get(label, {})

    @contextmanager
    def open(self, database: str, label: str, name: str) -> Iterator[BinaryIO]:
        """Open one file of a set for reading, in its oldest version."""
        listing = self.listing(database, f"{label}/{name}")
        version = self.sets(listing, database).get(label, {}).get(name)
        if version is None:
            raise NoFileError(label, name)
        with (
            reading(self.location, is_listed=True),
            self.bucket.reading(version, kept=self.kept) as file,
        ):
            yield file

    def is_debris(self, database: str, label: str, names: Collection[str]) -> bool:
        """Whether a set of the files `names` was never finished, or is half deleted on purpose.

        A manifest that is alone may be one that came late, when the rest had been taken back.
        """
        witnesses = [f".begun/{label}"]
        if MANIFEST not in names:
            witnesses.append(record(label, "expired"))
        elif len(names) > 1:
            # Whatever marks there are: who may only put could hide any backup with one.
            return False
        return any(
            # By what is listed: who may only put cannot read either of them.
            is_there(self.listing(database, rest), self.key(database, rest))
            for rest in witnesses
        )

    def remove(self, database: str, label: str, listing: Listing) -> None:
        """Remove every version of a set's files that `listing` has, manifest first."""
        folder = self.key(database, f"{label}/")
        versions = [v for v in listing.versions if v.key.startswith(folder)]
        # Without its manifest it is no backup any more, wherever this ends.
        for version in sorted(versions, key=lambda v: v.key != folder + MANIFEST):
            try:
                self.bucket.delete(version.key, version.version_id)
            except S3Error as error:
                is_manifest = version.key == folder + MANIFEST and not version.is_marker
                if is_manifest or not error.is_denied:
                    raise

    def forget(self, key: str, version_id: str | None = None) -> None:
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
                # Where there are versions, each would stay.
                if is_there(self.bucket.listing(key), key):
                    self.bucket.put(key, b"")


def record(label: str, kind: RecordKind) -> str:
    """Return where a record lies among the objects of a database."""
    return f"{RECORDS}/{label}.{kind}.json"


def is_there(listing: Listing, key: str, content: bytes | None = None) -> bool:
    """Whether there is such an object, and not emptied where it could not be deleted.

    With `content`, a mark's: whether it says that.
    """
    newest = [v for v in listing.versions if v.key == key][-1:]
    sizes = [v.size_bytes for v in newest if not v.is_marker]
    return any(size == len(content) if content else size > 0 for size in sizes)
