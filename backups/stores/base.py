"""What every store can do, wherever it lies. Streams only: no caller needs a path.

STORE/DATABASE/LABEL/            one backup, never changed once it is there
STORE/DATABASE/records/          LABEL.verify.json, LABEL.drill.json, LABEL.expired.json and so on
STORE/DATABASE/.partial-LABEL/   a backup being written
STORE/DATABASE/.deleting-LABEL/  a backup being deleted
STORE/DATABASE/.lock             held by the one run that adds or deletes
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from backups.manifest import FileFacts
from casedb.errors import BackupDamagedError, UnverifiedError

RecordKind = Literal["verify", "drill", "restore", "undo", "dropped", "expired"]
"""What verify, drill or restore found last; that a restore was undone or a kept database dropped;
or that a backup was deleted, and why."""
KINDS_OF_A_SET: tuple[RecordKind, ...] = ("verify", "drill")
"""What goes with its set."""


class RetainedError(Exception):
    """The store keeps a set until a time it was told when the set was written (an object lock)."""


class WriteOnlyError(Exception):
    """These credentials may write to the store and not read from it: no failure of a new set."""


class ReadingDeniedError(UnverifiedError):
    """These credentials may list what the store has, and not read it.

    So they are right and the store is there; whether the backups are well, others can tell.
    """


class NoFileError(BackupDamagedError):
    """A set that is there has no such file; the detail is a sentence about the file alone."""

    def __init__(self, label: str, name: str, why: str = "is missing") -> None:
        super().__init__(
            f'backup "{label}" is not complete',
            detail=f"{name} {why}.",
            hint="Restore another backup, and keep this one for the inquiry.",
        )


@dataclass(frozen=True)
class Safeguards:
    """What a bucket does against somebody who deletes."""

    keeps_versions: bool
    forgets_after_days: int | None
    """When a deleted version goes for good; None: never."""
    expires_after_days: int | None
    """When the bucket deletes what nobody has deleted; None: never."""
    lock_days: int
    """How long nobody can delete a backup; 0: no lock."""


class NewSet(Protocol):
    """A backup being written; nobody sees it before `commit`."""

    @property
    def label(self) -> str:
        """The label it will have."""
        ...

    def check(self, action: "Callable[[NewSet], None]") -> None:
        """Do `action` with each place it is written to: this one, unless there are several."""
        ...

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open `name` for writing; durable when the block ends, gone when the block fails."""
        ...

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file already written, to read it back.

        Raises:
            WriteOnlyError: if that is not allowed here.
        """
        ...

    def read_back(self, name: str) -> FileFacts | None:
        """Return what was read in a file behind its writing; None: nobody has read it yet."""
        ...

    def commit(self) -> None:
        """Make the set visible, in one step and durably. The manifest must be in it."""
        ...


class Store(Protocol):
    """Where backups are kept.

    Every method raises UnverifiedError when the store cannot be read, ToolFailedError when it
    cannot be written, ConfigurationError when it is not there at all. Of the first kind is
    ReadingDeniedError: what is listed may not be read.
    """

    @property
    def url(self) -> str:
        """Where it is, without secrets."""
        ...

    def databases(self) -> list[str]:
        """Return the names of the databases that have a folder here, sorted."""
        ...

    def labels(self, database: str) -> list[str]:
        """Return the labels of the sets of `database`, broken ones too, sorted."""
        ...

    def files(self, database: str, label: str) -> Mapping[str, int]:
        """Return the files of one set and their sizes in bytes; empty if there is no such set."""
        ...

    def open(self, database: str, label: str, name: str) -> AbstractContextManager[BinaryIO]:
        """Open one file of a set for reading.

        Raises:
            NoFileError: if the set has no such file. A store that has gone has not lost one.
        """
        ...

    def at_a_glance(self, database: str) -> "Store":
        """Return this store as it is now: one look at the names instead of one for each answer.

        For reading what lies below `database`. What is read is read when it is asked for.
        """
        ...

    def resuming(self, label: str, folder: Path) -> "AbstractContextManager[Resumed]":
        """Yield this store so that an interrupted download of `label` is gone on with.

        What comes from afar is kept below `folder`, as it lies in the store, until the block ends
        well; a part is used again only if its checksum is right.
        """
        ...

    def lock(self, database: str) -> AbstractContextManager[None]:
        """Hold the right to add and delete backups of `database` for the length of the block.

        Raises:
            LockedError: if another run holds it.
        """
        ...

    def lease(self, database: str, label: str) -> AbstractContextManager[tuple[str, ...]]:
        """Keep one set from being deleted for the length of the block; many may do so at once.

        Yields notes for people: that nothing keeps it, where these credentials may not write.

        Raises:
            LockedError: if it is being deleted.
        """
        ...

    def sweep(self, database: str) -> list[str]:
        """Remove what killed runs left, and return what it was. Needs the lock.

        That is also the tombstone of a set that is still there, and what was found of one that is
        gone.
        """
        ...

    def new_set(self, database: str, label: str) -> AbstractContextManager[NewSet]:
        """Begin a backup. Unless committed, it is gone when the block ends. Needs the lock."""
        ...

    def delete(self, database: str, label: str, tombstone: bytes) -> None:
        """Delete one set and what verify and drill found: at once invisible, then gone.

        `tombstone` becomes its record "expired" before it is invisible, and is taken back if it
        stays: whenever this is killed, what is gone is told from what is missing. Needs the lock.

        Raises:
            LockedError: if somebody has a lease on it.
            RetainedError: if the store does not let it go yet.
            ToolFailedError: if it cannot be deleted, for want of the right to, say.
        """
        ...

    def retained_until(self, database: str, label: str) -> datetime | None:
        """Return until when the store itself keeps a set from being deleted; None if it does not.

        A time that has passed counts as None.
        """
        ...

    def recorded(self, database: str, kind: RecordKind) -> list[str]:
        """Return the labels that have a record of that kind, sorted; their sets may be gone."""
        ...

    def read_record(self, database: str, label: str, kind: RecordKind) -> bytes | None:
        """Return a record, or None if there is none."""
        ...

    def write_record(self, database: str, label: str, kind: RecordKind, data: bytes) -> None:
        """Write a record in one step, in place of an earlier one."""
        ...

    def free_bytes(self, database: str) -> int | None:
        """Return how much more the store can take; None if there is no such limit."""
        ...

    def safeguards(self) -> Safeguards | None:
        """Return what the store does against somebody who deletes; None: it is a folder."""
        ...


@dataclass(frozen=True)
class Resumed:
    """A store that keeps what it downloads for a while."""

    store: Store
    found_bytes: int = 0
    """How much an interrupted run had left."""
    kept_bytes: Callable[[], int] = lambda: 0
    """How much is kept by now."""
