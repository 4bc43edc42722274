"""What stays of a backup that was deleted on purpose: so it is told from one that is missing."""

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import AwareDatetime, ValidationError

from backups.labels import taken_at_of
from backups.manifest import Frozen, Link
from backups.sealing import Keys
from backups.stores.base import Store
from backups.version import tool_version
from backups.vouching import is_vouched, vouch

if TYPE_CHECKING:
    from backups.catalog import Backup


class Tombstone(Frozen):
    """What stays of a backup that was deleted on purpose."""

    schema_version: Literal[1] = 1
    label: str
    taken_at: AwareDatetime
    at: AwareDatetime
    """When it was deleted."""
    reason: str
    manifest_sha256: str
    """Empty if it had no manifest that could be read."""
    previous: Link | None
    """Its predecessor, so that the chain of manifests goes on across the gap."""
    tool_version: str
    code: str = ""
    """By which whoever has the secret key knows that he wrote it; empty: it was written without."""

    def is_vouched(self, keys: Keys) -> bool:
        """Whether it was written with one of `keys`, and says what it said then."""
        return is_vouched(self._without_code(), self.code, keys)

    def _without_code(self) -> bytes:
        return self.model_copy(update={"code": ""}).model_dump_json().encode()

    def to_bytes(self) -> bytes:
        """Return it as it lies in a store."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    @classmethod
    def of(
        cls, backup: "Backup", *, at: datetime, reason: str, keys: Keys | None = None
    ) -> "Tombstone":
        """Return the tombstone of a backup; with `keys`, one that nobody else can make.

        Without a manifest that can be read, it says of the chain only that the backup was in it.
        """
        manifest = backup.manifest
        plain = cls(
            label=backup.label,
            taken_at=manifest.started_at if manifest else taken_at_of(backup.label) or at,
            at=at,
            reason=reason,
            manifest_sha256=backup.manifest_sha256 if manifest else "",
            previous=manifest.previous if manifest else None,
            tool_version=tool_version(),
        )
        code = vouch(plain._without_code(), keys) if keys else ""
        return plain.model_copy(update={"code": code})


def read_tombstones(store: Store, database: str) -> dict[str, Tombstone]:
    """Return what was deleted on purpose, by label; a note that cannot be read is none."""
    found = {label: _read(store, database, label) for label in store.recorded(database, "expired")}
    return {label: tombstone for label, tombstone in found.items() if tombstone}


def read_tombstone(store: Store, database: str, label: str) -> Tombstone | None:
    """Return that of `label`, which may be any text; None if there is none that can be read."""
    known = label in store.recorded(database, "expired")
    return _read(store, database, label) if known else None


def _read(store: Store, database: str, label: str) -> Tombstone | None:
    data = store.read_record(database, label, "expired")
    with suppress(ValidationError):
        tombstone = Tombstone.model_validate_json(data or b"")
        return tombstone if tombstone.label == label else None
    return None
