"""What killed runs left in a bucket."""

from collections.abc import Collection
from datetime import timedelta

from backups.manifest import MANIFEST
from backups.stores.base import KINDS_OF_A_SET
from backups.stores.s3_errors import writing
from backups.stores.s3_objects import BEGUN, OVER, RECORDS, Objects, is_there, record
from casedb.s3_model import Listing, S3Error

LATE = timedelta(days=1)
"""How long what a run had sent may still come when it is over.

Servers refuse what was signed more than a quarter of an hour ago; what they took, they may carry
out when a disk of theirs is back.
"""


def sweep(objects: Objects, database: str) -> list[str]:
    """Remove what killed runs left, and return what it was. Needs the lock."""
    with writing(objects.location):
        left = _uploads(objects, database)
        listing, removed = objects.listing(database), []
        for label, files in objects.sets(listing, database).items():
            if objects.is_debris(database, label, files):
                _remove(objects, database, label, listing)
                removed.append(label)
        if removed:
            listing = objects.listing(database)
        sets = objects.sets(listing, database)
        whole = {n for n, files in sets.items() if MANIFEST in files and n not in removed}
        left += _tombstones(objects, database, listing, whole)
        left += _reports(objects, database, listing, sets.keys())
        # Where nothing may be deleted, it is still there, and its mark says that it is nothing.
        unfinished = sets.keys() - whole
        left += [f"the unfinished set {label}" for label in removed if label not in unfinished]
        _marks(objects, database, listing, unfinished, whole)
    return left


def _remove(objects: Objects, database: str, label: str, listing: Listing) -> None:
    try:
        objects.remove(database, label, listing)
    except S3Error as error:
        # A manifest that came late, to a host that may only put.
        if not error.is_denied:
            raise


def _marks(
    objects: Objects,
    database: str,
    listing: Listing,
    unfinished: Collection[str],
    whole: Collection[str],
) -> None:
    """Forget the marks of sets that are whole, or gone for so long that nothing can come."""
    folder = objects.key(database, ".begun/")
    for mark in {v.key: v for v in listing.below(folder).versions}.values():
        label = mark.key.removeprefix(folder)
        if label in unfinished:
            continue
        if label not in whole and is_there(listing, mark.key, BEGUN):
            # Its run was killed, maybe a moment ago.
            objects.bucket.put(mark.key, OVER)
        elif label not in whole and is_there(listing, mark.key, OVER):
            if listing.server_time - mark.modified >= LATE:
                objects.forget(mark.key)
        else:
            objects.forget(mark.key)


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
