"""What verifying, drilling, restoring and undoing found. Reports lie beside the sets, which never
change.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ValidationError

from backups.interrupts import too_late
from backups.manifest import Frozen, Link
from backups.sealing import Keys, seal_text
from backups.stores.base import RecordKind, Store
from backups.version import tool_version
from backups.vouching import is_vouched, vouch
from casedb.errors import CasedbError

if TYPE_CHECKING:
    from backups.catalog import Backup

Outcome = Literal["passed", "failed"]

_COUNTS = frozenset({"tables", "rows", "sequences", "catalog_rows", "large_objects"})
UNRECORDED = "the outcome could not be recorded"
_SEALED = "encrypted to the recipients of the backup"


class Sealable(Frozen):
    """What may name rows, tables and roles of a backup, which only its recipients may read."""

    sealed: str = ""
    """All of the report, encrypted as the backup is (age's ASCII form); then the counts here are 0,
    and lines only say so. Empty: this is all of it."""


class VerifyReport(Frozen):
    """Whether the bytes of a backup are those its manifest names."""

    schema_version: Literal[1] = 1
    label: str
    outcome: Outcome
    at: datetime
    duration_s: float
    files: int
    size_bytes: int
    tool_version: str
    client_version: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class DrillReport(Sealable):
    """Whether a backup restores, and into the same content; and how long that takes."""

    schema_version: Literal[1] = 1
    label: str
    outcome: Outcome
    at: datetime
    duration_s: float
    phases_s: Mapping[str, float]
    """Seconds by phase: verify, initdb, roles, restore, analyze, compare, probe, access."""
    tables: int
    rows: int
    sequences: int
    catalog_rows: int
    large_objects: int
    tool_version: str
    server_version: str
    access_probed: bool = True
    """Whether the access matrix was tried; False: it was left out (--without-access). Reports of
    before do not say, and count as those that tried it."""
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What is worth knowing and is no difference, such as a stale materialized view."""

    @property
    def recovery_s(self) -> float:
        """The measured time to recover on an existing server: roles, restore and analyze."""
        return sum(self.phases_s.get(phase, 0.0) for phase in ("roles", "restore", "analyze"))


class SwapFacts(Frozen):
    """How a restored database got the name of a living one."""

    kept: str
    """The name that the old database has now; it is read-only."""
    unavailable_s: float
    """How long nobody could use the name."""
    attempts: int
    ended_sessions: int
    not_restored: tuple[str, ...] | None
    """What the old database holds otherwise than the backup, a line a table; None if nobody
    looked."""


class RestoreReport(Sealable):
    """What a restore brought back, how that was checked, and how long it took."""

    schema_version: Literal[1] = 1
    label: str
    outcome: Outcome = "passed"
    at: datetime
    """When it had ended."""
    database: str
    server: str
    tables: int
    rows: int
    catalog_rows: int
    same_roots: bool | None
    """Whether the heads of the audit trail are the backup's; None if it keeps none."""
    duration_s: float
    phases_s: Mapping[str, float]
    """Seconds by phase: verify, restore, analyze, compare, swap, count."""
    created_roles: tuple[str, ...]
    """They cannot log in before somebody lets them."""
    swap: SwapFacts | None
    """None for a new database."""
    tool_version: str
    server_version: str
    notes: tuple[str, ...] = ()
    record: str = ""
    """The name of this report: the database and when, because a backup can be restored more than
    once. Empty in reports of before, whose name is the backup's label."""
    catalog: tuple[str, ...] | None = None
    """What was in the restored catalog just before the swap, KIND: NAME DIGEST; undo-restore
    compares. None in reports of before, and for a new database."""
    sequence_values: tuple[str, ...] | None = None
    """What each sequence would have given next then, likewise."""


class UndoReport(Sealable):
    """What swapping back did."""

    schema_version: Literal[1] = 1
    label: str
    """The name of this report: the database and when. A restore can be undone more than once."""
    at: datetime
    database: str
    backup: str | None
    """The backup that one of the two databases came from; None if nobody knows."""
    now: str
    """The kept database that has the name now, under the name it had before."""
    kept: str
    """The name under which the other one is kept, read-only."""
    unavailable_s: float
    attempts: int
    ended_sessions: int
    changes: tuple[str, ...] | None
    """What the other one holds that was written to it meanwhile; None if nobody can tell."""
    tool_version: str
    notes: tuple[str, ...] = ()


class DropReport(Frozen):
    """That a kept database was removed, and with it the way back to it."""

    schema_version: Literal[1] = 1
    label: str
    """The name of this report: the database and when."""
    at: datetime
    database: str
    """The name it had once."""
    backup: str | None
    """The backup that it, or what replaced it, came from; None if nobody knows."""
    dropped: str
    since: datetime
    """Since when it had been kept."""
    size_bytes: int
    tool_version: str
    notes: tuple[str, ...] = ()


class Tombstone(Frozen):
    """What stays of a backup that was deleted on purpose."""

    schema_version: Literal[1] = 1
    label: str
    taken_at: datetime
    at: datetime
    """When it was deleted."""
    reason: str
    manifest_sha256: str
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
        """Return the tombstone of a complete backup; with `keys`, one that nobody else can make."""
        assert backup.manifest is not None
        plain = cls(
            label=backup.label,
            taken_at=backup.manifest.started_at,
            at=at,
            reason=reason,
            manifest_sha256=backup.manifest_sha256,
            previous=backup.manifest.previous,
            tool_version=tool_version(),
        )
        code = vouch(plain._without_code(), keys) if keys else ""
        return plain.model_copy(update={"code": code})


Report = TypeVar("Report", VerifyReport, DrillReport, RestoreReport, UndoReport, DropReport)
_KINDS: Mapping[type[Frozen], RecordKind] = {
    VerifyReport: "verify",
    DrillReport: "drill",
    RestoreReport: "restore",
    UndoReport: "undo",
    DropReport: "dropped",
}


def _name(report: Report) -> str:
    return (report.record if isinstance(report, RestoreReport) else "") or report.label


@contextmanager
def standing(reports: list[Report]) -> Iterator[None]:
    """Let nothing out of the block once `reports` has one: what was done is done, and is returned.

    An error after that, such as a lock that could not be given back, becomes a note of its own.
    """
    try:
        with too_late(reports):
            yield
    except CasedbError as error:
        if not reports:
            raise
        note = f"when it was done: {error.message}: {error.detail or ''}".rstrip(": ")
        reports.append(with_notes(reports[-1], note))


def with_notes(report: Report, *notes: str) -> Report:
    """Return `report` with `notes` after its own."""
    return report.model_copy(update={"notes": (*report.notes, *notes)})


def write_record(
    store: Store, database: str, report: Report, recipients: Sequence[str] = ()
) -> Report:
    """Put `report` beside its backup, in place of an earlier one of that name, and return it.

    With the `recipients` of an encrypted backup, only when, how long and how it ended lies there in
    clear, for those who go by it without a key.

    A store that lets nobody write, such as a read-only mount, or one that is not there tonight,
    does not change what was found: then the report comes back with a note that says so.
    """
    kind = _KINDS[type(report)]
    stored: Frozen = report
    if recipients:
        whole = seal_text(report.model_dump_json(indent=1) + "\n", recipients)
        stored = _in_clear(report).model_copy(update={"sealed": whole})
    data = stored.model_dump_json(indent=1).encode() + b"\n"
    try:
        store.write_record(database, _name(report), kind, data)
    except CasedbError as error:
        note = f"{UNRECORDED}: {error.message}: {error.detail or ''}"
        return with_notes(report, " ".join(note.split()))
    return report


def read_record(store: Store, database: str, label: str, model: type[Report]) -> Report | None:
    """Return the report of its kind and of the name `label`; None if none can be read.

    One that cannot be read proves nothing, which is what none means.
    """
    data = store.read_record(database, label, _KINDS[model])
    if data is None:
        return None
    try:
        found = model.model_validate_json(data)
    except ValidationError:
        return None
    return found if _name(found) == label else None


def _in_clear(model: Frozen) -> Frozen:
    return model.model_copy(update={name: _public(name, value) for name, value in model})


def _public(name: str, value: Any) -> Any:
    # By kind and not field by field: a line that is added later is hidden as well.
    if name in _COUNTS:
        return 0
    if isinstance(value, Frozen):
        return _in_clear(value)
    return (_SEALED,) if isinstance(value, tuple) and value else value


def read_tombstones(store: Store, database: str) -> dict[str, Tombstone]:
    """Return what was deleted on purpose, by label; a note that cannot be read is none."""
    found = {}
    for label in store.recorded(database, "expired"):
        data = store.read_record(database, label, "expired")
        try:
            tombstone = Tombstone.model_validate_json(data or b"")
        except ValidationError:
            continue
        if tombstone.label == label:
            found[label] = tombstone
    return found
