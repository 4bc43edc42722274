"""What killed runs left in a bucket."""

from collections.abc import Collection

from backups.manifest import MANIFEST
from backups.stores.base import KINDS_OF_A_SET
from backups.stores.s3_errors import writing
from backups.stores.s3_objects import RECORDS, Objects, is_there, record
from casedb.s3_model import Listing, S3Error


def sweep(objects: Objects, database: str) -> list[str]:
    """Remove what killed runs left, and return what it was. Needs the lock."""
    with writing(objects.location):
        left = _uploads(objects, database)
        listing, removed = objects.listing(database), []
        for label, files in objects.sets(listing, database).items():
            if MANIFEST not in files and objects.is_debris(database, label):
                objects.remove(database, label, listing)
                removed.append(label)
        if removed:
            listing = objects.listing(database)
        sets = objects.sets(listing, database)
        whole = {label for label, files in sets.items() if MANIFEST in files}
        left += _tombstones(objects, database, listing, whole)
        left += _reports(objects, database, listing, sets.keys())
        # Where nothing may be deleted, it is still there, and its mark says that it is nothing.
        unfinished = sets.keys() - whole
        left += [f"the unfinished set {label}" for label in removed if label not in unfinished]
        for version in listing.versions:
            label = version.key.removeprefix(objects.key(database, ".begun/"))
            if label not in (version.key, *unfinished) and not version.is_marker:
                objects.forget(version.key)
    return left


def _uploads(objects: Objects, database: str) -> list[str]:
    try:
        keys = objects.bucket.abort_uploads(objects.key(database))
    except S3Error as error:
        # A host that may only put leaves that to the pruner.
        if not error.is_denied:
            raise
        return []
    return [f"an unfinished upload of {key.rpartition('/')[2]}" for key in keys]


def _tombstones(objects: Objects, database: str, listing: Listing, whole: set[str]) -> list[str]:
    """Take back the tombstones of sets that are still there."""
    left = []
    for label in sorted(whole):
        tombstone = objects.key(database, record(label, "expired"))
        if is_there(listing, tombstone):
            objects.forget(tombstone)
            left.append(f"the tombstone of {label}")
    return left


def _reports(
    objects: Objects, database: str, listing: Listing, labels: Collection[str]
) -> list[str]:
    """Remove what was found of sets that have expired and are gone."""
    left = []
    folder, end = objects.key(database, f"{RECORDS}/"), ".expired.json"
    names = {v.key.removeprefix(folder) for v in listing.versions if v.key.startswith(folder)}
    for label in sorted(n.removesuffix(end) for n in names if n.endswith(end)):
        keys = [objects.key(database, record(label, kind)) for kind in KINDS_OF_A_SET]
        found = [key for key in keys if is_there(listing, key)]
        if label not in labels and found:
            for key in found:
                objects.forget(key)
            left.append(f"the reports of {label}")
    return left
