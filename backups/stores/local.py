"""A store in a folder of this machine."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from backups.labels import database_of_folder, folder_of
from backups.manifest import MANIFEST, FileFacts
from backups.stores.base import KINDS_OF_A_SET, NewSet, NoFileError, RecordKind, Resumed
from backups.stores.durable import make_folder, new_file, sync_folder
from backups.stores.local_errors import opened, reading, writing
from casedb.errors import (
    ConfigurationError,
    LockedError,
)
from casedb.locks import file_lock
from casedb.ownership import give_to_folder_owner

_PARTIAL = ".partial-"
_DELETING = ".deleting-"
_RECORDS = "records"
_LOCK = ".lock"


class LocalStore:
    """Backups in folders of mode 0700, files of mode 0600."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def url(self) -> str:
        """Where it is."""
        return self.root.as_uri()

    def databases(self) -> list[str]:
        """Return the names of the databases that have a folder here, sorted."""
        self._require()
        with reading(self.root):
            return sorted(database_of_folder(name) for name in _folders(self.root))

    def labels(self, database: str) -> list[str]:
        """Return the labels of the sets of `database`, broken ones too, sorted."""
        self._require()
        home = self._home(database)
        with reading(home):
            return sorted(name for name in _folders(home) if name != _RECORDS)

    def files(self, database: str, label: str) -> Mapping[str, int]:
        """Return the files of one set and their sizes in bytes; empty if there is no such set."""
        path = self._set(database, label)
        with reading(path):
            if not path.is_dir():
                return {}
            with os.scandir(path) as entries:
                return {e.name: e.stat(follow_symlinks=False).st_size for e in entries}

    def open(self, database: str, label: str, name: str) -> AbstractContextManager[BinaryIO]:
        """Open one file of a set for reading."""
        return opened(self._set(database, label) / name, self._home(database))

    def at_a_glance(self, database: str) -> "LocalStore":
        """Return this store: looking again costs nothing."""
        return self

    @contextmanager
    def resuming(self, label: str, folder: Path) -> Iterator[Resumed]:
        """Yield this store: what lies here is not downloaded."""
        yield Resumed(self)

    @contextmanager
    def lock(self, database: str) -> Iterator[None]:
        """Hold the right to add and delete backups of `database`."""
        home = self._home(database)
        with writing(home):
            missing = [path for path in (self.root, *self.root.parents) if not path.exists()]
            # mkdir(parents=True) gives its mode to the last folder only.
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in missing:
                sync_folder(path.parent)
            make_folder(home)
            (home / _LOCK).touch(mode=0o600)
            give_to_folder_owner(home / _LOCK)
        with file_lock(home / _LOCK, what=f'the backups of "{database}" in {self.root}'):
            yield

    @contextmanager
    def lease(self, database: str, label: str) -> Iterator[tuple[str, ...]]:
        """Keep one set from being deleted.

        The lock is on the folder itself, which is read only: nothing in a set ever changes, and a
        store mounted read-only can be restored from.
        """
        path = self._set(database, label)
        # If there is no such set, whoever reads it says so better.
        with _locked_folder(path, fcntl.LOCK_SH) if path.is_dir() else nullcontext():
            yield ()

    def sweep(self, database: str) -> list[str]:
        """Remove what killed runs left, and return what it was."""
        home = self._home(database)
        left = [n for n in _folders(home, hidden=True) if n.startswith((_PARTIAL, _DELETING))]
        with writing(home):
            for name in left:
                shutil.rmtree(home / name)
            found = {kind: self.recorded(database, kind) for kind in KINDS_OF_A_SET}
            for label in self.recorded(database, "expired"):
                if (home / label).is_dir():
                    self._forget(home, label, "expired")
                    left.append(f"the tombstone of {label}")
                elif any(label in labels for labels in found.values()):
                    self._forget(home, label, *KINDS_OF_A_SET)
                    left.append(f"the reports of {label}")
        return sorted(left)

    @contextmanager
    def new_set(self, database: str, label: str) -> Iterator[NewSet]:
        """Begin a backup. Unless committed, it is gone when the block ends."""
        home = self._home(database)
        partial = home / f"{_PARTIAL}{label}"
        try:
            # Within: it is there before its name is on the disk, and a signal may come in between.
            with writing(home):
                make_folder(partial, exist_ok=False)
            yield LocalSet(partial, home / label)
        finally:
            # After a commit it has another name.
            shutil.rmtree(partial, ignore_errors=True)

    def delete(self, database: str, label: str, tombstone: bytes) -> None:
        """Delete one set and its records: at once invisible, then gone."""
        home = self._home(database)
        path, going = home / label, home / f"{_DELETING}{label}"
        with writing(path):
            try:
                # A reader who comes later finds the folder gone, never half of it.
                with _locked_folder(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    self.write_record(database, label, "expired", tombstone)
                    try:
                        path.rename(going)
                    except OSError:
                        self._forget(home, label, "expired")
                        raise
            except BlockingIOError:
                raise LockedError(
                    f'backup "{label}" is in use',
                    detail="A verify, a drill or a restore is reading it.",
                    hint="Try again when it has ended.",
                ) from None
            sync_folder(home)
            shutil.rmtree(going)
            self._forget(home, label, *KINDS_OF_A_SET)

    def retained_until(self, database: str, label: str) -> datetime | None:
        """Return None: a folder keeps nothing from its owner."""
        return None

    def recorded(self, database: str, kind: RecordKind) -> list[str]:
        """Return the labels that have a record of that kind, sorted."""
        folder, end = self._home(database) / _RECORDS, f".{kind}.json"
        with reading(folder), suppress(FileNotFoundError):
            names = sorted(path.name for path in folder.iterdir())
            return [n.removesuffix(end) for n in names if n.endswith(end) and n[0] != "."]
        return []

    def read_record(self, database: str, label: str, kind: RecordKind) -> bytes | None:
        """Return a record, or None if there is none."""
        home = self._home(database)
        path = home / _RECORDS / f"{label}.{kind}.json"
        with reading(path):
            if not path.exists():
                return None
        with suppress(NoFileError), opened(path, home) as file:
            return file.read()
        return None

    def write_record(self, database: str, label: str, kind: RecordKind, data: bytes) -> None:
        """Write a record in one step, in place of an earlier one."""
        folder = self._home(database) / _RECORDS
        new = folder / f".{label}.{kind}.{os.getpid()}"
        with writing(folder):
            make_folder(folder)
            try:
                with new_file(new) as file:
                    file.write(data)
                new.rename(folder / f"{label}.{kind}.json")
            finally:
                new.unlink(missing_ok=True)
            sync_folder(folder)

    def free_bytes(self, database: str) -> int | None:
        """Return how much more the store can take."""
        home = self._home(database)
        with reading(home):
            return shutil.disk_usage(home if home.exists() else _nearest(home)).free

    def safeguards(self) -> None:
        """Return None: whoever owns a folder deletes what is in it."""

    def _forget(self, home: Path, label: str, *kinds: RecordKind) -> None:
        for kind in kinds:
            (home / _RECORDS / f"{label}.{kind}.json").unlink(missing_ok=True)

    def _require(self) -> None:
        # A store that is not mounted must not look like one without backups.
        with reading(self.root):
            there = self.root.is_dir()
        if not there:
            raise ConfigurationError(
                f"there is no store at {self.root}",
                detail="The folder does not exist.",
                hint="Is its disk mounted? `casedb dump` makes a new store.",
            )

    def _home(self, database: str) -> Path:
        return self.root / folder_of(database)

    def _set(self, database: str, label: str) -> Path:
        return self._home(database) / label


class LocalSet:
    """A backup being written, in a hidden folder beside its later place."""

    def __init__(self, partial: Path, final: Path) -> None:
        self._partial = partial
        self._final = final
        self._found: dict[str, FileFacts] = {}

    @property
    def label(self) -> str:
        """The label it will have."""
        return self._final.name

    def check(self, action: Callable[[NewSet], None]) -> None:
        """Do `action` with this set."""
        action(self)

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open `name` for writing; durable when the block ends, gone when the block fails."""
        path = self._partial / name
        try:
            with writing(self._partial), new_file(path) as file:
                yield file
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._found[name] = file.found

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file already written, to read it back."""
        return opened(self._partial / name, self._partial.parent)

    def read_back(self, name: str) -> FileFacts | None:
        """Return what was read in a file behind its writing."""
        return self._found.get(name)

    def commit(self) -> None:
        """Make the set visible, in one step and durably."""
        if not (self._partial / MANIFEST).exists():
            raise AssertionError("the manifest is what makes a set complete")
        with writing(self._final):
            # The files first, then their names, then the folder's own new name: a power cut at
            # any point leaves a complete set or none.
            sync_folder(self._partial)
            self._partial.rename(self._final)
            sync_folder(self._final.parent)


@contextmanager
def _locked_folder(path: Path, how: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _folders(path: Path, *, hidden: bool = False) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [e.name for e in entries if e.is_dir() and e.name.startswith(".") == hidden]
    except FileNotFoundError:
        return []


def _nearest(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.exists())
