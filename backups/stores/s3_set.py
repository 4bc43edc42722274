"""A backup being written to a bucket."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from backups.manifest import MANIFEST
from backups.stores.base import NewSet, ReadingDeniedError, WriteOnlyError
from backups.stores.s3_errors import writing
from backups.stores.s3_lock import RunLock
from backups.stores.s3_objects import BEGUN, OVER, Objects, is_there
from casedb.errors import LockedError


class S3Set:
    """A backup being written; `mark` is the version that says so, `run` the lock of the run."""

    def __init__(
        self, objects: Objects, database: str, label: str, *, mark: str, run: RunLock
    ) -> None:
        self._objects, self._database, self._label = objects, database, label
        self._mark, self._run = mark, run
        self._manifest: io.BytesIO | None = None
        self._begun: set[str] = set()
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
        if name in self._begun:
            raise AssertionError(f"{name} again: of two versions, readers take the first")
        self._begun.add(name)
        with (
            writing(self._objects.location),
            self._objects.bucket.writing(self._path(name), locked=True) as upload,
        ):
            yield cast("BinaryIO", upload)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file already written, to read it back."""
        try:
            with self._objects.open(self._database, self._label, name) as file:
                yield file
        except ReadingDeniedError as error:
            raise WriteOnlyError(self._objects.location.url) from error

    def read_back(self, name: str) -> None:
        """Return None: an object is not there to be read before it is whole."""

    def commit(self) -> None:
        """Make the set visible.

        Raises:
            LockedError: if another run has taken the lock meanwhile.
        """
        if self._manifest is None:
            raise AssertionError("the manifest is what makes a set complete")
        with writing(self._objects.location):
            # A run that stood still for long may have been swept by another.
            self._run.require()
            begun = self._mark_key
            if not is_there(self._objects.bucket.listing(begun), begun, BEGUN):
                raise LockedError(
                    f'"{self._label}" was swept by another run while it was written',
                    detail=f"Its mark in {self._objects.location.url} is gone, or says that its "
                    "run is over.",
                    hint="Run it again; what it had written does not count.",
                )
            data = self._manifest.getvalue()
            self._objects.bucket.create(self._path(MANIFEST), data, locked=True)
        self.is_committed = True
        # A second version of it, which a repeated request makes, goes with the next sweep.
        self._objects.forget(begun, self._mark)

    def take_back(self) -> None:
        """Remove what was written, and the mark if nothing is left and nothing can come."""
        rest, bucket = f"{self._label}/", self._objects.bucket
        listing = self._objects.listing(self._database, rest)
        self._objects.remove(self._database, self._label, listing)
        if self._objects.listing(self._database, rest).versions:
            return
        if any(key.startswith(self._path("")) for key in bucket.in_doubt):
            # Whoever sweeps counts the time from here.
            bucket.put(self._mark_key, OVER)
        else:
            self._objects.forget(self._mark_key)

    @property
    def _mark_key(self) -> str:
        return self._objects.key(self._database, f".begun/{self._label}")

    def _path(self, name: str) -> str:
        return self._objects.key(self._database, f"{self._label}/{name}")
