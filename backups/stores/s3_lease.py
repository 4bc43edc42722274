"""Readers of a bucket's sets, whom rotation leaves theirs: objects that a living reader renews."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from backups.stores.s3_errors import reading
from backups.stores.s3_lock import LIFETIME, RunLock, renewed, whoami
from backups.stores.s3_objects import Objects, is_there, record
from casedb.errors import LockedError
from casedb.s3_model import S3Error


@contextmanager
def lease(objects: Objects, database: str, label: str) -> Iterator[tuple[str, ...]]:
    """Keep one set from being deleted.

    Whoever may not write here cannot keep anything either, and reads without.
    """
    key = objects.key(database, f".leases/{label}/{secrets.token_hex(8)}")
    holder = whoami()
    try:
        objects.bucket.put(key, holder)
    except S3Error as error:
        if not error.is_denied:
            with reading(objects.location):
                raise
        url = objects.location.url
        yield (f"nothing kept rotation off the backup: no right to write to {url}",)
        return
    try:
        # In this order; who deletes does it the other way round, so that one of the two sees the
        # other.
        _require_not_going(objects, database, label)
        with renewed(objects.bucket, key, holder):
            yield ()
    finally:
        objects.forget(key)


def require_unread(objects: Objects, database: str, label: str) -> None:
    """Refuse to delete what somebody reads."""
    leases = objects.listing(database, f".leases/{label}/")
    for version in {v.key: v for v in leases.versions}.values():
        # An empty one has ended, where it could not be deleted.
        lives = version.size_bytes > 0 and not version.is_marker
        if lives and leases.server_time - version.modified < LIFETIME:
            raise LockedError(
                f'backup "{label}" is in use',
                detail="A verify, a drill or a restore is reading it, here or elsewhere.",
                hint="Try again when it has ended.",
            )


def _require_not_going(objects: Objects, database: str, label: str) -> None:
    """Refuse a set whose tombstone was written, if whoever deletes is still at it."""
    with reading(objects.location):
        tombstone = objects.key(database, record(label, "expired"))
        if not is_there(objects.bucket.listing(tombstone), tombstone):
            return
        # A killed run's tombstone, which the next run takes back, keeps nobody from reading.
        if RunLock(objects.bucket, objects.key(database, ".lock")).is_taken():
            raise LockedError(
                f'backup "{label}" is being deleted',
                detail=f"It has expired, and a rotation is at work on {objects.location.url}.",
                hint="Take another one, or try again: when the rotation has ended, it is gone, "
                "or free.",
            )
