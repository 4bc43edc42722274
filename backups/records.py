"""Where reports lie: in a store, beside the sets, which never change."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import ValidationError

from backups.interrupts import too_late
from backups.manifest import Frozen
from backups.reports import DrillReport, DropReport, RestoreReport, UndoReport, VerifyReport
from backups.sealing import seal_text
from backups.stores.base import RecordKind, Store
from casedb.errors import CasedbError

_COUNTS = frozenset({"tables", "rows", "sequences", "catalog_rows", "large_objects"})
UNRECORDED = "the outcome could not be recorded"
_SEALED = "encrypted to the recipients of the backup"

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
