"""What is recorded of migrations in the database, and whether the files still agree with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg import Connection

from casedb.database import scalar
from casedb.migrations.files import MigrationFile
from casedb.migrations.outside import Unfinished, read_unfinished
from casedb.sqlfiles import read_sql


class ChecksumState(StrEnum):
    """Whether a file is still the one that was applied."""

    SAME = "same"
    EDITED = "edited"
    MISSING = "missing"
    UNRECORDED = "unrecorded"
    """yoyo applied it by itself; the next `apply` records it as it is."""


@dataclass(frozen=True)
class Record:
    """One migration that is in the database."""

    id: str
    applied_at: datetime
    """Aware, UTC."""
    by: str
    """Who ran it where: USER@HOST of the operating system."""


@dataclass(frozen=True)
class Records:
    """Everything that is recorded."""

    applied: tuple[Record, ...]
    checksums: Mapping[str, str]
    """By migration; those that yoyo applied by itself have none."""
    unfinished: Mapping[str, Unfinished]
    """Statements outside of a transaction that were begun and never recorded, by migration."""

    @property
    def ids(self) -> list[str]:
        """The applied migrations, in the order they were applied."""
        return [record.id for record in self.applied]


def read_records(connection: Connection[Any]) -> Records:
    """Return yoyo's list of what was applied, and what we keep beside it; changes nothing."""
    if not scalar(connection, "SELECT to_regclass('ops._yoyo_migration')"):
        return Records((), {}, {})
    rows = connection.execute(read_sql("catalog/applied-migrations.sql")).fetchall()
    applied = tuple(Record(id_, when, by or "unknown") for id_, when, by in rows)
    if not scalar(connection, "SELECT to_regclass('ops.casedb_migration')"):
        return Records(applied, {}, {})
    checksums = connection.execute("SELECT migration_id, checksum FROM ops.casedb_migration")
    return Records(applied, dict(checksums.fetchall()), read_unfinished(connection))


def checksum_state(
    name: str, files: Mapping[str, MigrationFile], checksums: Mapping[str, str]
) -> ChecksumState:
    """Return whether the file of the applied migration `name` is still what was applied."""
    if name not in files:
        return ChecksumState.MISSING
    if name not in checksums:
        return ChecksumState.UNRECORDED
    same = checksums[name] == files[name].checksum
    return ChecksumState.SAME if same else ChecksumState.EDITED


def find_problems(
    files: Sequence[MigrationFile], applied: Sequence[str], checksums: Mapping[str, str]
) -> list[str]:
    """Return why these files do not fit what was applied, a sentence each.

    `checksums` are those recorded when they were applied. One that yoyo applied without us has
    none, and is taken as it is.
    """
    by_id = {file.id: file for file in files}
    new = {file.checksum: file.id for file in files if file.id not in applied}
    problems, renamed_to = [], set()
    for name in applied:
        state = checksum_state(name, by_id, checksums)
        if state is ChecksumState.EDITED:
            problems.append(f"{name} was applied and has been edited since.")
        if state is ChecksumState.MISSING:
            renamed = new.get(checksums.get(name, ""))
            if renamed:
                renamed_to.add(renamed)
                problems.append(f"{name} was applied and has been renamed to {renamed}.")
            else:
                problems.append(f"{name} was applied and its file is missing.")
    last_applied = max((i for i, file in enumerate(files) if file.id in applied), default=-1)
    for file in files[: last_applied + 1]:
        if file.id not in applied and file.id not in renamed_to:
            problems.append(
                f"{file.id} was not applied, but {files[last_applied].id}, which comes after it, "
                "was."
            )
    return problems
