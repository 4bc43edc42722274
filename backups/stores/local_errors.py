"""What a file system answers, in the words of a store."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from casedb.errors import CasedbError, ToolFailedError, UnverifiedError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def reading(path: Path) -> Iterator[None]:
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
def writing(path: Path) -> Iterator[None]:
    """Say that the store cannot be written, and whether it is full."""
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
