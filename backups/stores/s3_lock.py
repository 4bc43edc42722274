"""One run at a time where there are no file locks: objects that a living run keeps renewing."""

import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from casedb.errors import LockedError, RefusedError
from casedb.s3 import Bucket
from casedb.s3_model import Listing, S3Error, Version

LIFETIME = timedelta(minutes=10)
"""How long a lock or lease holds without being renewed, by the server's clock."""
_RENEW_S = LIFETIME.total_seconds() / 5
_LOCK_NAME = re.compile(r"(\d{10})(\.released)?")


class RunLock:
    """The lock in the folder `folder` of a bucket: FOLDER/NUMBER, and NUMBER.released when done."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self._number = 0
        # Two locks of one process are two holders.
        self._holder = whoami() + f"\n{secrets.token_hex(8)}".encode()
        self._old: tuple[Version, ...] = ()

    def take(self) -> None:
        """Take it.

        Raises:
            LockedError: another run holds it.
            RefusedError: the server does not keep two runs apart.
            S3Error: the server refused or could not be asked.
        """
        self._number = self._take()

    def require(self) -> None:
        """Make sure that it is still this run's, and renew it.

        Raises:
            LockedError: another run has taken it since.
            S3Error: the server refused or could not be asked.
        """
        key = self._key(self._number)
        self._bucket.put(key, self._holder)
        versions = self._bucket.listing(f"{self._folder}/").versions
        taken = [found for v in versions if not v.is_marker and (found := _number_of(v.key))]
        if max(int(found[1]) for found in taken) != self._number:
            raise LockedError(
                f"this run has lost its lock on {self._bucket.location.url}",
                detail=f"It could not renew it for {LIFETIME.total_seconds() / 60:g} minutes, and "
                "another run has taken it since.",
                hint="Run it again; what it had written does not count.",
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Renew it for the length of the block, and let it go at its end."""
        key = self._key(self._number)
        try:
            with renewed(self._bucket, key, self._holder):
                yield
        finally:
            with suppress(S3Error):
                self._bucket.put(f"{key}.released", b"")
            self._tidy()

    def is_taken(self) -> bool:
        """Whether a run holds it that lives, as far as anybody can tell from here.

        Raises:
            S3Error: the server refused or could not be asked.
        """
        return self._look(self._bucket.listing(f"{self._folder}/"))[1]

    def _look(self, listing: Listing) -> tuple[int, bool]:
        """Return the last number that was taken, 0 if none was, and whether it is still held."""
        newest: dict[str, Version] = {v.key: v for v in listing.versions if not v.is_marker}
        last, released, touched = 0, False, None
        for key, version in newest.items():
            found = _number_of(key)
            if not found:
                continue
            number = int(found[1])
            if number > last:
                last, released, touched = number, False, None
            if number == last:
                released = released or bool(found[2])
                touched = touched if found[2] else version.modified
        held = touched is not None and listing.server_time - touched < LIFETIME
        return last, bool(last) and not released and held and not self._is_dead(self._key(last))

    def _key(self, number: int) -> str:
        return f"{self._folder}/{number:010d}"

    def _take(self) -> int:
        listing = self._bucket.listing(f"{self._folder}/")
        # Nobody writes there any more once the next number is taken.
        self._old = tuple(v for v in listing.versions if _number_of(v.key))
        last, held = self._look(listing)
        if held:
            raise self._locked(self._key(last))
        key = self._key(last + 1)
        try:
            mine = self._bucket.create(key, self._holder)
        except S3Error as error:
            if error.is_taken:
                raise self._locked(key) from None
            raise
        if mine == "null":
            self._require_conditional_put(key)
        else:
            self._require_first(key, mine)
        return last + 1

    def _require_first(self, key: str, mine: str) -> None:
        """Where there are versions, the first one of a lock has it, whatever was put later."""
        first = next(v for v in self._bucket.listing(key).versions if v.key == key)
        # Another version may be ours too: a request without an answer is made again.
        if first.version_id != mine and not self._bucket.is_content(first, self._holder):
            with suppress(S3Error):
                self._bucket.delete(key, mine)
            raise self._locked(key)

    def _require_conditional_put(self, key: str) -> None:
        try:
            self._bucket.put(key, self._holder, if_absent=True)
        except S3Error as error:
            if error.is_taken:
                return
            raise
        raise RefusedError(
            "this S3 server cannot keep two runs apart",
            detail="It ignores If-None-Match, and overwrote what it should have left alone.",
            hint="Use AWS, Ceph, MinIO or another server that honours conditional requests.",
        )

    def _is_dead(self, key: str) -> bool:
        """Whether its holder ran on this machine and does not any more."""
        try:
            return is_dead(self._bucket.get(key))
        except S3Error:
            return False

    def _locked(self, key: str) -> LockedError:
        holder = "unknown"
        with suppress(S3Error):
            holder = self._bucket.get(key).decode(errors="replace").partition("\n")[0] or holder
        return LockedError(
            f"another run is at work on {self._bucket.location.url}",
            detail=f"Its lock is held by {holder}.",
            hint=f"Try again when it has ended; a killed run's lock ends by itself after "
            f"{LIFETIME.total_seconds() / 60:g} minutes.",
        )

    def _tidy(self) -> None:
        with suppress(S3Error):
            for version in self._old:
                self._bucket.delete(version.key, version.version_id)


def _number_of(key: str) -> re.Match[str] | None:
    return _LOCK_NAME.fullmatch(key.rpartition("/")[2])


@contextmanager
def renewed(bucket: Bucket, key: str, holder: bytes) -> Iterator[None]:
    """Write `key` anew every now and then for the length of the block."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(_RENEW_S):
            with suppress(S3Error):
                bucket.put(key, holder)

    thread = threading.Thread(target=renew, name="casedb lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def whoami() -> bytes:
    """Return who holds a lock or a lease: a line for people, and one for `is_dead`."""
    pid = os.getpid()
    return f"process {pid} on {socket.gethostname()}\n{pid} {_life(pid)}".encode()


def is_dead(holder: bytes) -> bool:
    """Whether `holder`, which `whoami` wrote, is a process of this machine that has ended.

    Of another machine nobody here can tell, and the answer is no.
    """
    lines = holder.decode(errors="replace").split("\n")
    found = lines[1].split() if len(lines) > 1 else []
    if len(found) != 4 or not found[0].isdigit():
        return False
    here = _life(os.getpid()).split()[:2]
    return found[1:3] == here and _life(int(found[0])).split() != found[1:]


def _life(pid: int) -> str:
    """Return the boot, the namespace of processes and the start of `pid`, which no other has."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
        # After the name, which may have anything in it.
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # A zombie is as dead as one that is gone.
    return f"{boot} {namespace} {status[19]}" if status[0] != "Z" else ""
