"""What verifying, drilling, restoring, undoing and dropping found or did: one report each."""

from collections.abc import Mapping
from typing import Literal

from pydantic import AwareDatetime

from backups.manifest import Frozen
from casedb.ages import Seconds

Outcome = Literal["passed", "failed"]


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
    at: AwareDatetime
    duration_s: Seconds
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
    at: AwareDatetime
    duration_s: Seconds
    phases_s: Mapping[str, Seconds]
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
    unavailable_s: Seconds
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
    at: AwareDatetime
    """When it had ended."""
    database: str
    server: str
    tables: int
    rows: int
    catalog_rows: int
    same_roots: bool | None
    """Whether the heads of the audit trail are the backup's; None if it keeps none."""
    duration_s: Seconds
    phases_s: Mapping[str, Seconds]
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
    at: AwareDatetime
    database: str
    backup: str | None
    """The backup that one of the two databases came from; None if nobody knows."""
    now: str
    """The kept database that has the name now, under the name it had before."""
    kept: str
    """The name under which the other one is kept, read-only."""
    unavailable_s: Seconds
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
    at: AwareDatetime
    database: str
    """The name it had once."""
    backup: str | None
    """The backup that it, or what replaced it, came from; None if nobody knows."""
    dropped: str
    since: AwareDatetime
    """Since when it had been kept."""
    size_bytes: int
    tool_version: str
    notes: tuple[str, ...] = ()
