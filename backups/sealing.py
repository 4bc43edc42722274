"""Encryption to public keys, in the format of age (https://age-encryption.org/v1).

Whoever writes a backup needs the recipients' public keys only, so that a database host can make
backups that it cannot read. Any program that knows the format opens them.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyrage

from backups.manifest import FileFacts
from backups.streams import Compressed, HashingWriter, Readable, Source, compress, never
from casedb.errors import CasedbError, ConfigurationError, UnverifiedError

_CHUNK_BYTES = 1 << 20
_PUBLIC = "age1"
_SECRET = "AGE-SECRET-KEY-"
_SSH_SECRET = "PRIVATE KEY-----"


class UnsealError(Exception):
    """The encrypted data are not what was written; says why."""


@dataclass(frozen=True)
class Keys:
    """Secret keys; never shown."""

    identities: tuple[Any, ...] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """Each of them as text."""


def new_key(path: Path) -> str:
    """Write a new secret key into `path`, which must not exist, and return its public half.

    Raises:
        ConfigurationError: if the file cannot be made, or is there.
    """
    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"no key can be written to {path}",
            detail=f"{error.strerror}.",
            hint="A key is never overwritten: what it can open, nothing else can.",
        ) from error
    with os.fdopen(descriptor, "w") as file:
        file.write(f"# public key: {public}\n{identity}\n")
        file.flush()
        os.fsync(file.fileno())
    return public


def read_keys(path: Path) -> Keys:
    """Return the secret keys in `path`, as age-keygen writes them, or one for SSH.

    Raises:
        ConfigurationError: no such file, no key in it, a passphrase on it, or others may read it.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigurationError(f"the key {path} cannot be read", detail=f"{reason}.") from error
    if mode & 0o077:
        raise ConfigurationError(
            f"the key {path} can be read by others",
            detail=f"Its mode is {mode & 0o777:o}.",
            hint=f"chmod 600 {path}, and think about who may have read it.",
        )
    try:
        if _SSH_SECRET in text:
            return Keys((pyrage.ssh.Identity.from_buffer(text.encode()),), (text.strip(),))
        found = [
            pyrage.x25519.Identity.from_str(line) for line in text.splitlines() if _SECRET in line
        ]
    except pyrage.IdentityError as error:
        raise ConfigurationError(
            f"the key in {path} cannot be used",
            detail=f"{error}.",
            hint="Nobody is there to type a passphrase: `ssh-keygen -p` on a copy takes it off."
            if "decrypted first" in str(error)
            else None,
        ) from None
    if not found:
        raise ConfigurationError(
            f"there is no key in {path}",
            detail=f"No line begins with {_SECRET}, and it is no SSH key either.",
            hint="`casedb key new FILE` makes one.",
        )
    return Keys(tuple(found), tuple(str(identity) for identity in found))


def require_recipients(recipients: Sequence[str]) -> None:
    """Refuse what is no public key, before anything is dumped.

    Raises:
        ConfigurationError: names the one that cannot be used, unless it is a secret key.
    """
    for text in recipients:
        if text.upper().startswith(_SECRET) or _SSH_SECRET in text:
            raise ConfigurationError(
                "a secret key is among the recipients",
                hint="Recipients are public keys (age1...). Make a new pair: it has been shown.",
            )
        try:
            _recipient(text)
        except pyrage.RecipientError as error:
            raise ConfigurationError(
                f'"{text}" is no public key',
                detail=f"{error}.",
                hint="It begins with age1, or with ssh-ed25519 or ssh-rsa.",
            ) from None


def seal_bytes(data: bytes, recipients: Sequence[str]) -> bytes:
    """Return `data` encrypted to `recipients`."""
    return bytes(pyrage.encrypt(data, [_recipient(text) for text in recipients]))


def seal_text(text: str, recipients: Sequence[str]) -> str:
    """Return `text` encrypted to `recipients`, as text that a JSON file can hold."""
    keys = [_recipient(recipient) for recipient in recipients]
    return bytes(pyrage.encrypt(text.encode(), keys, armored=True)).decode()


def compress_for(
    source: Source,
    sink: BinaryIO,
    recipients: Sequence[str],
    level: int | None = None,
    is_accelerated: Callable[[], bool] = never,
) -> FileFacts:
    """Copy `source` to `sink` compressed and, if there are recipients, encrypted to them.

    `level` and `is_accelerated` are those of `Compressed`.
    """
    if not recipients:
        return compress(source, sink, level, is_accelerated)
    reader, written = Compressed(source, level, is_accelerated), HashingWriter(sink)
    seal(reader, written, recipients)
    return written.facts(raw_size_bytes=reader.raw_size_bytes)


def seal(source: Readable, sink: HashingWriter, recipients: Sequence[str]) -> None:
    """Copy `source` to `sink`, encrypted to `recipients`.

    Raises:
        whatever reading or writing raises.
    """
    guarded = _Guarded(source, sink)
    try:
        pyrage.encrypt_io(guarded, guarded, [_recipient(text) for text in recipients])
    except BaseException:
        # pyrage tells that something failed, not what.
        if guarded.error:
            raise guarded.error from None
        raise


@contextmanager
def unsealed(source: Readable, keys: Keys) -> Iterator[BinaryIO]:
    """Yield the clear content of `source`; nothing of it touches a disk.

    Raises:
        UnverifiedError: none of the keys opens it.
        UnsealError: when read to where it was changed or cut off.
    """
    read_end, write_end = os.pipe()
    failed: list[BaseException] = []

    def work() -> None:
        # Closing tries once more to write what whoever stopped reading did not take.
        with suppress(BrokenPipeError), os.fdopen(write_end, "wb") as sink:
            guarded = _Guarded(source, sink)
            try:
                pyrage.decrypt_io(guarded, guarded, list(keys.identities))
                sink.flush()
            except BaseException as error:
                failed.append(guarded.error or error)

    thread = threading.Thread(target=work, name="casedb unseal", daemon=True)
    with os.fdopen(read_end, "rb") as clear:
        thread.start()
        try:
            yield _Clear(clear, failed)  # type: ignore[misc]
        finally:
            clear.close()
            thread.join()


class _Clear:
    """The end of a pipe; what failed at the other end is raised where the data end."""

    def __init__(self, pipe: BinaryIO, failed: list[BaseException]) -> None:
        self._pipe, self._failed = pipe, failed

    def read(self, size: int = -1) -> bytes:
        data = self._pipe.read(size)
        if (not data or size < 0) and self._failed:
            error = self._failed[0]
            if isinstance(error, CasedbError):
                raise error
            if isinstance(error, pyrage.DecryptError) and "No matching keys" in str(error):
                raise UnverifiedError(
                    "the key does not open this backup",
                    detail="It was encrypted to other recipients.",
                    hint="Name the key of one of them with --key; `casedb backups --json` lists "
                    "the recipients.",
                )
            raise UnsealError(" ".join(str(error).split()) or type(error).__name__)
        return data


class _Guarded:
    """Reads and writes, and remembers what went wrong."""

    def __init__(self, source: Readable, sink: Any) -> None:
        self._source, self._sink = source, sink
        self._ahead = b""
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes:
        try:
            # pyrage asks for 8 KiB at a time.
            if not self._ahead:
                self._ahead = self._source.read(_CHUNK_BYTES)
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        except BaseException as error:
            self.error = error
            raise
        return data

    def write(self, data: bytes) -> int:
        try:
            self._sink.write(data)
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Do nothing: whoever opened the sink closes it."""


def _recipient(text: str) -> Any:
    kind = pyrage.x25519 if text.startswith(_PUBLIC) else pyrage.ssh
    return kind.Recipient.from_str(text)
