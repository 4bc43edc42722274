"""A store in a folder of this machine."""

import errno
import fcntl
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from backups.labels import database_of_folder, folder_of
from backups.manifest import MANIFEST
from backups.stores.base import KINDS_OF_A_SET, NewSet, RecordKind, Resumed
from casedb.errors import (
    CasedbError,
    ConfigurationError,
    LockedError,
    ToolFailedError,
    UnverifiedError,
)
from casedb.locks import file_lock
from casedb.ownership import create_for_folder_owner, give_to_folder_owner

_PARTIAL = ".partial-"
_DELETING = ".deleting-"
_RECORDS = "records"
_LOCK = ".lock"
_FLUSH_BYTES = 32 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
        with _reading(self.root):
            return sorted(database_of_folder(name) for name in _folders(self.root))

    def labels(self, database: str) -> list[str]:
        """Return the labels of the sets of `database`, broken ones too, sorted."""
        self._require()
        home = self._home(database)
        with _reading(home):
            return sorted(name for name in _folders(home) if name != _RECORDS)

    def files(self, database: str, label: str) -> Mapping[str, int]:
        """Return the files of one set and their sizes in bytes; empty if there is no such set."""
        path = self._set(database, label)
        with _reading(path):
            if not path.is_dir():
                return {}
            with os.scandir(path) as entries:
                return {e.name: e.stat(follow_symlinks=False).st_size for e in entries}

    @contextmanager
    def open(self, database: str, label: str, name: str) -> Iterator[BinaryIO]:
        """Open one file of a set for reading."""
        path = self._set(database, label) / name
        with _reading(path), path.open("rb") as file:
            yield file

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
        with _writing(home):
            missing = [path for path in (self.root, *self.root.parents) if not path.exists()]
            # mkdir(parents=True) gives its mode to the last folder only.
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in missing:
                _sync_folder(path.parent)
            _make_folder(home)
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
        with _writing(home):
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
        with _writing(home):
            _make_folder(partial, exist_ok=False)
        try:
            yield LocalSet(partial, home / label)
        finally:
            # After a commit it has another name.
            shutil.rmtree(partial, ignore_errors=True)

    def delete(self, database: str, label: str, tombstone: bytes) -> None:
        """Delete one set and its records: at once invisible, then gone."""
        home = self._home(database)
        path, going = home / label, home / f"{_DELETING}{label}"
        with _writing(path):
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
            _sync_folder(home)
            shutil.rmtree(going)
            self._forget(home, label, *KINDS_OF_A_SET)

    def retained_until(self, database: str, label: str) -> datetime | None:
        """Return None: a folder keeps nothing from its owner."""
        return None

    def recorded(self, database: str, kind: RecordKind) -> list[str]:
        """Return the labels that have a record of that kind, sorted."""
        folder, end = self._home(database) / _RECORDS, f".{kind}.json"
        with _reading(folder), suppress(FileNotFoundError):
            names = sorted(path.name for path in folder.iterdir())
            return [n.removesuffix(end) for n in names if n.endswith(end) and n[0] != "."]
        return []

    def read_record(self, database: str, label: str, kind: RecordKind) -> bytes | None:
        """Return a record, or None if there is none."""
        path = self._home(database) / _RECORDS / f"{label}.{kind}.json"
        with _reading(path), suppress(FileNotFoundError):
            return path.read_bytes()
        return None

    def write_record(self, database: str, label: str, kind: RecordKind, data: bytes) -> None:
        """Write a record in one step, in place of an earlier one."""
        folder = self._home(database) / _RECORDS
        new = folder / f".{label}.{kind}.{os.getpid()}"
        with _writing(folder):
            _make_folder(folder)
            try:
                with _new_file(new) as file:
                    file.write(data)
                new.rename(folder / f"{label}.{kind}.json")
            finally:
                new.unlink(missing_ok=True)
            _sync_folder(folder)

    def free_bytes(self, database: str) -> int | None:
        """Return how much more the store can take."""
        home = self._home(database)
        with _reading(home):
            return shutil.disk_usage(home if home.exists() else _nearest(home)).free

    def safeguards(self) -> None:
        """Return None: whoever owns a folder deletes what is in it."""

    def _forget(self, home: Path, label: str, *kinds: RecordKind) -> None:
        for kind in kinds:
            (home / _RECORDS / f"{label}.{kind}.json").unlink(missing_ok=True)

    def _require(self) -> None:
        # A store that is not mounted must not look like one without backups.
        with _reading(self.root):
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
            with _writing(self._partial), _new_file(path) as file:
                yield file
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file already written, to read it back."""
        with _reading(self._partial), (self._partial / name).open("rb") as file:
            yield file

    def commit(self) -> None:
        """Make the set visible, in one step and durably."""
        if not (self._partial / MANIFEST).exists():
            raise AssertionError("the manifest is what makes a set complete")
        with _writing(self._final):
            # The files first, then their names, then the folder's own new name: a power cut at
            # any point leaves a complete set or none.
            _sync_folder(self._partial)
            self._partial.rename(self._final)
            _sync_folder(self._final.parent)


def _make_folder(path: Path, *, exist_ok: bool = True) -> None:
    """Make `path` durably: what is in it goes with its name after a power cut."""
    path.mkdir(mode=0o700, exist_ok=exist_ok)
    give_to_folder_owner(path)
    _sync_folder(path.parent)


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    descriptor = create_for_folder_owner(path, os.O_WRONLY, 0o600)
    with io.FileIO(descriptor, "wb") as raw, _EarlyWriter(raw) as file:
        try:
            yield file
            file.flush()
        finally:
            # Before the descriptor is closed, and becomes another file's.
            file.settle()
        os.fsync(descriptor)


class _EarlyWriter(io.BufferedWriter):
    """Lets the disk begin while there is more to come.

    By itself Linux keeps gigabytes in memory, and an fsync at the end of a dump waits for all of
    them.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self._worker = ThreadPoolExecutor(1, "casedb flush")
        self._flushing: Future[None] | None = None
        self._waiting_bytes = 0

    def write(self, data: Any) -> int:
        """Write `data`, and now and then have what was written before put on the disk."""
        written = super().write(data)
        self._waiting_bytes += written
        if self._waiting_bytes >= _FLUSH_BYTES and (not self._flushing or self._flushing.done()):
            self._raise_failed()
            self._waiting_bytes = 0
            self._flushing = self._worker.submit(os.fdatasync, self.fileno())
        return written

    def settle(self) -> None:
        """Wait for the disk; raise what it reported, which no later fsync would report again."""
        self._worker.shutdown()
        self._raise_failed()

    def _raise_failed(self) -> None:
        if self._flushing:
            self._flushing.result()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell "could not read" from "is damaged": only the second is the backup's fault."""
    try:
        yield
    except (FileNotFoundError, CasedbError):
        raise
    except OSError as error:
        raise UnverifiedError(
            f"the store cannot be read at {error.filename or path}",
            detail=f"{error.strerror or error}.",
            hint="Whether the backups are whole is unknown until it can be read.",
        ) from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except CasedbError:
        raise
    except OSError as error:
        full = error.errno in _FULL
        raise ToolFailedError(
            "the store is full" if full else "the store cannot be written",
            detail=f"{error.filename or path}: {error.strerror or error}.",
            hint="Make room (`casedb rotate` lists what has expired) and run it again; what was "
            "begun has been removed."
            if full
            else "Check the folder's owner, mode and file system.",
        ) from error
