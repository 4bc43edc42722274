"""The files of a backup as they were before encryption, if there was any."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from backups.manifest import (
    CATALOG,
    DUMP,
    GLOBALS,
    PROOF,
    SEALED_SUFFIX,
    FileFacts,
    Manifest,
    parse_manifest,
)
from backups.sealing import Keys, unsealed
from backups.stores.base import Store
from casedb.errors import BackupDamagedError, UnverifiedError

NOT_NAMED = "{} is not in the manifest, and no backup is without it."


def stored_name(manifest: Manifest, name: str) -> str:
    """Return what the file `name` is called in the store."""
    return f"{name}{SEALED_SUFFIX}" if manifest.recipients else name


def stored_facts(manifest: Manifest, name: str) -> FileFacts:
    """Return the size and checksum of the file `name` as it lies in the store."""
    return manifest.files[stored_name(manifest, name)]


def unnamed(manifest: Manifest) -> list[str]:
    """Return the files that no backup is without, and that its manifest does not name."""
    needed = (DUMP, GLOBALS, CATALOG, *((PROOF,) if manifest.recipients else ()))
    names = (stored_name(manifest, name) for name in needed)
    return [name for name in names if name not in manifest.files]


@contextmanager
def open_content(
    store: Store, manifest: Manifest, name: str, keys: Keys | None
) -> Iterator[BinaryIO]:
    """Open a file of a backup in clear.

    Raises:
        UnverifiedError: it is encrypted and there is no key, or none that opens it.
        NoFileError: the set has no such file.
    """
    with store.open(manifest.database, manifest.label, stored_name(manifest, name)) as file:
        if not manifest.recipients:
            yield file
            return
        with unsealed(file, require_keys(manifest, keys)) as clear:
            yield clear


def require_keys(manifest: Manifest, keys: Keys | None) -> Keys:
    """Return `keys`; raise UnverifiedError if there are none."""
    if keys is None:
        raise UnverifiedError(
            f'backup "{manifest.label}" is encrypted, and there is no key',
            detail=f"It was encrypted to {', '.join(manifest.recipients)}.",
            hint="Name the file of one of their secret keys with --key or CASEDB_KEY_FILE.",
        )
    return keys


def full_manifest(store: Store, manifest: Manifest, keys: Keys | None) -> Manifest:
    """Return the manifest with its proof, which an encrypted set keeps apart and encrypted.

    Raises:
        UnverifiedError: there is no key that opens it.
        BackupDamagedError: it is another backup's.
    """
    if not manifest.recipients:
        return manifest
    with open_content(store, manifest, PROOF, keys) as file:
        found = parse_manifest(file.read(), label=manifest.label)
    if found.snapshot != manifest.snapshot or found.started_at != manifest.started_at:
        raise BackupDamagedError(
            f'backup "{manifest.label}" has the proof of another backup',
            detail=f"{stored_name(manifest, PROOF)} is of another moment than the manifest.",
            hint="Restore another backup, and keep this one for the inquiry.",
        )
    return found.model_copy(update={"files": manifest.files, "recipients": manifest.recipients})
