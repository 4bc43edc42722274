"""The heads of the audit trail's chains, taken with each backup and kept beside it.

Whoever can change the log and compute every hash after it anew leaves a chain that looks whole; so
does whoever cuts off its end, or removes a case with all of its log. Not so against the heads as
they were in an earlier backup, in a store that he cannot write to.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, cast

from psycopg import Connection

from backups.archive import UnreadableArchiveError, raw_archive
from backups.contents import require_keys, stored_name
from backups.manifest import HEADS, FileFacts, Manifest
from backups.progress import OnProgress, Progress, unseen
from backups.sealing import Keys, compress_for
from backups.stores.base import NewSet, Store
from backups.streams import HashingReader
from casedb import audit, audit_heads
from casedb.audit_blocks import Block
from casedb.errors import BackupDamagedError, ConfigurationError, first_few


class _Pieces(io.RawIOBase):
    """Pieces of bytes, to be read like a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = bytearray()

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; none at the end."""
        while len(self._rest) < size and (piece := next(self._pieces, None)) is not None:
            self._rest += piece
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken


def write_heads(
    connection: Connection[Any],
    new: NewSet,
    name: str,
    recipients: Sequence[str] = (),
    *,
    look: Callable[[], object] = lambda: None,
) -> FileFacts | None:
    """Put the heads in the connection's snapshot into the set, under `name`; `look` now and then.

    Returns None if there is no audit trail.
    """
    if not audit.has_audit(connection):
        return None
    with new.create(name) as file:
        return compressed_heads(connection, file, recipients, look=look)


def compressed_heads(
    connection: Connection[Any],
    file: BinaryIO,
    recipients: Sequence[str] = (),
    *,
    look: Callable[[], object] = lambda: None,
) -> FileFacts:
    """Write the heads in the connection's snapshot into `file`, as a backup keeps them.

    Before each batch of them, `look` is called.
    """
    pieces = _looking(audit_heads.read_heads(connection), look)
    return compress_for(cast(BinaryIO, _Pieces(pieces)), file, recipients)


def _looking(pieces: Iterator[bytes], look: Callable[[], object]) -> Iterator[bytes]:
    for piece in pieces:
        look()
        yield piece


def read_heads(store: Store, manifest: Manifest, keys: Keys | None = None) -> Iterator[Block]:
    """Yield the heads that a backup keeps, a block at a time: there can be a million.

    Raises:
        ConfigurationError: the backup keeps none.
        UnverifiedError: it is encrypted, and none of the keys opens it.
        BackupDamagedError: the file is not the one that the manifest names.
    """
    facts = manifest.files.get(stored_name(manifest, HEADS))
    if facts is None:
        raise ConfigurationError(
            f'backup "{manifest.label}" keeps no heads of an audit trail',
            detail="It is of a database without one, or was made by an earlier version.",
            hint="Name a later backup; `casedb backups` lists them.",
        )
    try:
        name = stored_name(manifest, HEADS)
        opening = require_keys(manifest, keys) if manifest.recipients else None
        with store.open(manifest.database, manifest.label, name) as file:
            reader = HashingReader(file)
            with raw_archive(reader, opening) as chunks:
                yield from audit_heads.parse_heads(_lines(chunks))
            if (reader.sha256, reader.size_bytes) != (facts.sha256, facts.size_bytes):
                raise ValueError("it does not match the manifest")
    except (ValueError, UnreadableArchiveError) as error:
        raise BackupDamagedError(
            f'the heads in backup "{manifest.label}" cannot be trusted',
            detail=f"{HEADS}: {error}.",
            hint="Name another backup as the anchor, and keep this one for the inquiry.",
        ) from error


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in lines)
    if rest:
        raise ValueError("it ends in the middle of a line")


def same_roots(
    connection: Connection[Any], store: Store, manifest: Manifest, keys: Keys | None = None
) -> bool | None:
    """Whether the heads of all chains are those of the backup; None if it keeps none.

    For a database just restored from that backup, whose rows have been compared: with equal rows
    and equal heads a chain is what it was. Walking it (`check`) tells more: whether it was whole.

    Raises:
        UnverifiedError: the backup is encrypted, and none of the keys opens it.
        BackupDamagedError: its heads are not what the manifest names.
    """
    if not _has_heads(manifest) or not audit.has_audit(connection):
        return None
    return _same_text(connection, store, manifest, keys) or audit_heads.are_all_heads(
        connection, read_heads(store, manifest, keys)
    )


def _same_text(
    connection: Connection[Any], store: Store, manifest: Manifest, keys: Keys | None
) -> bool:
    """Whether the backup's heads are as this version would write them now.

    Which takes Python a sixth of reading what they say, and is so but for what has changed,
    or was written by another version.
    """
    wanted, found = hashlib.sha256(), hashlib.sha256()
    opening = require_keys(manifest, keys) if manifest.recipients else None
    name = stored_name(manifest, HEADS)
    with (
        store.open(manifest.database, manifest.label, name) as file,
        raw_archive(HashingReader(file), opening) as chunks,
    ):
        for chunk in chunks:
            wanted.update(chunk)
    for piece in audit_heads.read_heads(connection):
        found.update(piece)
    return wanted.digest() == found.digest()


def is_unanchored(connection: Connection[Any], manifest: Manifest) -> bool:
    """Whether the connected database has an audit trail, and the backup no heads to hold it to."""
    return not _has_heads(manifest) and audit.has_audit(connection)


def check(
    connection: Connection[Any],
    store: Store,
    manifest: Manifest,
    *,
    keys: Keys | None = None,
    on_progress: OnProgress = unseen,
) -> list[str]:
    """Return how the connected database's audit trail differs from the backup's, a line each.

    For a database just restored from that backup. Without heads (`is_unanchored`) the chains are
    walked all the same, which finds what was not rehashed.
    """
    if not audit.has_audit(connection):
        return ["audit trail: there is none any more"] if _has_heads(manifest) else []

    def tell(phase: str, done: int, total: int | None) -> None:
        on_progress(Progress(phase, done, total, "cases"))

    report = audit.verify(
        connection,
        heads=read_heads(store, manifest, keys) if _has_heads(manifest) else None,
        anchor=manifest.label,
        on_checked=tell,
    )
    return first_few([f"audit trail: {problem}" for problem in report.problems])


def _has_heads(manifest: Manifest) -> bool:
    return stored_name(manifest, HEADS) in manifest.files
