"""What all steps of one dump share, and how its small files are written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection

from backups import facts
from backups.archive_form import ArchiveForm
from backups.manifest import PRINTED_MONEY, SEALED_SUFFIX, FileFacts
from backups.progress import OnProgress
from backups.sealing import seal_bytes
from backups.stores.base import NewSet
from backups.streams import HashingWriter
from casedb.conninfo import Conninfo
from casedb.database import session_words
from casedb.tools import PostgresTools


@dataclass(frozen=True)
class Job:
    """What all steps of one dump need."""

    target: Conninfo
    """Where pg_dump connects to; `connection` is ours, and holds the snapshot."""
    connection: Connection[Any]
    tools: PostgresTools
    server: facts.ServerFacts
    database: str
    size_bytes: int
    on_progress: OnProgress
    lock_wait_s: float
    attempts: int
    recipients: tuple[str, ...]
    chain: Path | None
    form: ArchiveForm

    @property
    def lock_wait_ms(self) -> int:
        """How long a program of ours waits for a table."""
        return int(self.lock_wait_s * 1000)

    def stored_name(self, name: str) -> str:
        """What the file `name` is called in the store."""
        return f"{name}{SEALED_SUFFIX}" if self.recipients else name

    def session(self, what: str) -> Conninfo:
        """Return how a program of ours connects, under a name that nobody else's session has."""
        # By our own session's number. A name of more than 63 bytes would be cut, so the label is
        # not in it.
        return session_words(
            self.target,
            purpose=f"{what} for {self.connection.info.backend_pid}",
            # What its role, its database or its server has is not what a restore has.
            settings={"lc_monetary": PRINTED_MONEY},
        )


def write(job: Job, new: NewSet, files: dict[str, FileFacts], name: str, data: bytes) -> None:
    """Put a small file into the set, encrypted if the set is, and its facts into `files`."""
    if job.recipients:
        data = seal_bytes(data, job.recipients)
    write_clear(new, files, job.stored_name(name), data)


def write_clear(new: NewSet, files: dict[str, FileFacts], name: str, data: bytes) -> None:
    """Put a small file into the set as it is, and its facts into `files`."""
    with new.create(name) as file:
        written = HashingWriter(file)
        written.write(data)
    files[name] = written.facts()
