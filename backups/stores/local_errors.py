"""What a file system answers, in the words of a store."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from backups.stores.base import NoFileError
from backups.streams import NO_ROOM
from casedb.errors import CasedbError, ToolFailedError, UnverifiedError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell "could not read" from "is damaged": only the second is the backup's fault."""
    try:
        yield
    except CasedbError:
        raise
    except OSError as error:
        raise UnverifiedError(
            f"the store cannot be read at {error.filename or path}",
            detail=f"{error.strerror or error}.",
            hint="Whether the backups are whole is unknown until it can be read.",
        ) from error


@contextmanager
def opened(path: Path, home: Path) -> Iterator[BinaryIO]:
    """Open a set's file; only what fails at reading it is the store's failure.

    What the block does with what it has read, it answers for itself. Without `home`, the folder of
    the set's database, it is the store that is missing: it was moved or unmounted.

    Raises:
        NoFileError: the set has no such file.
        UnverifiedError: it cannot be read.
    """
    with reading(path):
        try:
            raw = _StoreFile(path)
        except FileNotFoundError:
            if not home.is_dir():
                raise
            raise NoFileError(path.parent.name, path.name) from None
        except _NotRegularError:
            raise NoFileError(path.parent.name, path.name, "is not a file") from None
    with io.BufferedReader(raw) as file:
        yield file


class _NotRegularError(Exception):
    """What lies there is a folder, a pipe or the like."""


class _StoreFile(io.FileIO):
    """A file of a store, whose failures are told as the store's."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb", opener=_open_regular)
        self._path = path

    def readinto(self, buffer: Any, /) -> int | None:
        with reading(self._path):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with reading(self._path):
            return super().readall()


def _open_regular(path: str, flags: int) -> int:
    try:
        # A pipe would have us wait until somebody writes to it.
        descriptor = os.open(path, flags | os.O_NONBLOCK)
    except OSError as error:
        # A socket.
        if error.errno == errno.ENXIO:
            raise _NotRegularError from None
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise _NotRegularError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say that the store cannot be written, and whether it is full."""
    try:
        yield
    except CasedbError:
        raise
    except OSError as error:
        full = error.errno in NO_ROOM
        raise ToolFailedError(
            "the store is full" if full else "the store cannot be written",
            detail=f"{error.filename or path}: {error.strerror or error}.",
            hint="Make room (`casedb rotate` lists what has expired) and run it again; what was "
            "begun has been removed."
            if full
            else "Check the folder's owner, mode and file system.",
        ) from error
