"""Parts of long downloads, kept in a folder until all is done: a killed run is gone on with.

FOLDER/casedb-download-NAME/OBJECT/OFFSET-SHA256

A part's name has the checksum of what it was when it arrived, and it is used again only if it still
is that: half a part, which a killed run leaves, is no part.
"""

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from casedb.errors import BackupDamagedError

_PREFIX = "casedb-download-"
Fetch = Callable[[int, int], bytes]
"""Gets an offset and a size in bytes, and returns them from where they come from."""


class KeptParts:
    """The parts in one folder, which nobody else uses meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def size_bytes(self) -> int:
        """How much is kept."""
        return sum(part.stat().st_size for part in self.folder.glob("*/*-*"))

    def fetching(self, identity: str, fetch: Fetch) -> Fetch:
        """Return a `fetch` that asks the folder first, and keeps what it had to fetch.

        `identity` says which object it is, in which version. Safe in several threads at once.
        """
        home = self.folder / hashlib.sha256(identity.encode()).hexdigest()[:16]

        def kept_or_fetched(first: int, size_bytes: int) -> bytes:
            for path in home.glob(f"{first:015d}-*"):
                with suppress(OSError):
                    data = path.read_bytes()
                    if len(data) == size_bytes and path.name == _name(first, data):
                        return data
                    path.unlink()
            data = fetch(first, size_bytes)
            # What cannot be kept, on a full disk say, is only fetched again.
            with suppress(OSError):
                _keep(home, first, data)
            return data

        return kept_or_fetched


@contextmanager
def kept_parts(folder: Path, name: str) -> Iterator[KeptParts | None]:
    """Yield the parts that are kept for `name` below `folder`; None if they cannot be ours alone.

    They are removed when the block ends well, or with BackupDamagedError: what is damaged has to be
    fetched anew. Otherwise they stay for the next run. What killed runs left here for other names
    is removed at the beginning.
    """
    home = folder / f"{_PREFIX}{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    with suppress(OSError):
        _sweep(folder, but=home)
    held = _take(home)
    if held is None:
        yield None
        return
    parts = KeptParts(home)
    try:
        yield parts
    except BaseException as error:
        if isinstance(error, BackupDamagedError) or not parts.size_bytes():
            shutil.rmtree(home, ignore_errors=True)
        raise
    else:
        shutil.rmtree(home, ignore_errors=True)
    finally:
        os.close(held)


def _name(first: int, data: bytes) -> str:
    return f"{first:015d}-{hashlib.sha256(data).hexdigest()}"


def _keep(home: Path, first: int, data: bytes) -> None:
    home.mkdir(mode=0o700, exist_ok=True)
    new = home / f".{first:015d}"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        new.rename(home / _name(first, data))
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _take(home: Path) -> int | None:
    """Make the folder if need be and hold it; None if another run does, or it is not ours."""
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        found = home.lstat()
        # In a folder where everybody may write, somebody else may have been first.
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or stat.S_IMODE(found.st_mode) & 0o077:
            return None
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep(folder: Path, *, but: Path) -> None:
    for left in folder.glob(f"{_PREFIX}*"):
        held = None if left == but else _take(left)
        if held is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(held)
