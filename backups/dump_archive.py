"""The archive, and the proof of what is in it, of one exported snapshot.

pg_dump and the readers of large tables write one stream (archive_stream.py), which zstd compresses
with all cores while this session hashes the tables. With pg_dump's own --jobs a set would be one
file a table instead of one that any pg_restore reads, and its largest table still be read by one.
"""

from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import psycopg

from backups import anchors, content, dump_checks, extensions, facts, fingerprint, snapshot
from backups.archive_stream import archive_stream
from backups.dump_job import Job
from backups.dump_progress import LARGE_OBJECTS, Gauge, read_sizes
from backups.manifest import (
    DUMP,
    HEADS,
    CollationFacts,
    DatabaseProperties,
    ExtensionFacts,
    FileFacts,
    LargeObjects,
    RoleFacts,
    SequenceFacts,
    TableFacts,
)
from backups.meanwhile import meanwhile
from backups.progress import Progress, seldom
from backups.readers import EndedEarly
from backups.sealing import compress_for
from backups.stores.base import NewSet
from backups.watchdog import Watchdog
from casedb import tools as programs
from casedb.conninfo import redact
from casedb.database import scalar

_POLL_S = 0.5
# The setting that the server's hint names, in whatever language, when its table of locks is full.
_LOCKS = "max_locks_per_transaction"
_LOCK_NOT_AVAILABLE, _DEADLOCK = "55P03", "40P01"
# How the lines that belong to the one before begin: the program's own, and the server's.
_EXPLAINS = ("detail:", "hint:", "DETAIL:", "HINT:", "CONTEXT:")


@dataclass(frozen=True)
class Proof:
    """What the snapshot held, and the archive that was written of it."""

    taken_at: datetime
    snapshot: str
    properties: DatabaseProperties
    roles: tuple[RoleFacts, ...]
    extensions: tuple[ExtensionFacts, ...]
    collations: tuple[CollationFacts, ...]
    migration_head: str | None
    migration_checksums: dict[str, str]
    sequences: tuple[SequenceFacts, ...]
    catalog: tuple[fingerprint.Fact, ...]
    tables: tuple[TableFacts, ...]
    large_objects: LargeObjects
    archive: FileFacts
    heads: FileFacts | None
    warnings: tuple[str, ...]
    """What pg_dump said although it went well, and what it leaves out without a word."""


def proven_archive(job: Job, new: NewSet, earlier_roles: Sequence[RoleFacts]) -> Proof:
    """Put the archive and the heads into the set, and return what their snapshot held.

    The archive is written while what its snapshot holds is proven, on the second core.
    `earlier_roles` are as they were before the script of the roles was written.

    Raises:
        Overtaken: somebody queued for a table, or has changed roles; to be tried anew, with another
            set.
        ToolFailedError: pg_dump, the server or the store failed.
    """
    try:
        return _proven(job, new, earlier_roles)
    except psycopg.errors.OutOfMemory as error:
        if _LOCKS not in (error.diag.message_hint or ""):
            raise
        raise dump_checks.lock_table_full(
            job.connection, error.diag.message_primary or str(error)
        ) from error


def _proven(job: Job, new: NewSet, earlier_roles: Sequence[RoleFacts]) -> Proof:
    with snapshot.hold(job.connection, lock_wait_s=job.lock_wait_s) as held:
        taken_at = datetime.now(UTC)
        # Before pg_dump reads them: sequences know no snapshot, and only go forward.
        sequences = facts.read_sequences(job.connection)
        properties, roles = facts.read_properties(job.connection), facts.read_roles(job.connection)
        if roles != earlier_roles:
            # The archive grants to roles that the script may not have.
            raise snapshot.Overtaken("roles of this database were changed")
        installed = facts.read_extensions(job.connection)
        collations = facts.read_collations(job.connection)
        migration_head = facts.read_migration_head(job.connection)
        migration_checksums = facts.read_migration_checksums(job.connection)
        target = job.session("dump")
        watchdog = Watchdog(
            job.connection, str(target.get("application_name")), patience_s=job.lock_wait_s
        )
        sizes = read_sizes(job.connection, held.relations)
        # Left in the opposite order: the programs end, then the thread that reads, then the file.
        with (
            new.create(job.stored_name(DUMP)) as file,
            futures.ThreadPoolExecutor(2) as pool,
            _explained(job),
            archive_stream(
                job.connection,
                target,
                tools=job.tools,
                snapshot=held.identifier,
                form=job.form,
                lock_wait_ms=job.lock_wait_ms,
                tables_bytes=sum(sizes.values()),
            ) as stream,
        ):
            writing = pool.submit(
                compress_for,
                stream,
                file,
                job.recipients,
                job.form.compress_level,
                stream.is_accelerated,
            )
            catalog = fingerprint.read_fingerprint(job.connection, roles)
            gauge = Gauge(job.on_progress, stream.meter, sizes)
            tables, large_objects = _prove(job, held, gauge, pool, writing, watchdog)
            left_out = extensions.left_out(job.connection)
            heads = _anchor(job, new, gauge, writing)
            gauge.tell("writing the archive")
            while not futures.wait([writing], timeout=_POLL_S).done:
                gauge.tell("writing the archive")
                watchdog.look()
            archive = writing.result()
            warnings = (*warnings_in(redact(stream.pg_dump.printed), "pg_dump"), *left_out)
    return Proof(
        taken_at,
        held.identifier,
        properties,
        roles,
        installed,
        collations,
        migration_head,
        migration_checksums,
        sequences,
        catalog,
        tables,
        large_objects,
        archive,
        heads,
        warnings,
    )


def _prove(
    job: Job,
    held: snapshot.Snapshot,
    gauge: Gauge,
    pool: futures.Executor,
    writing: "futures.Future[FileFacts]",
    watchdog: Watchdog,
) -> tuple[tuple[TableFacts, ...], LargeObjects]:
    relations = [relation for relation in held.relations if relation.has_rows]
    columns = content.read_columns(job.connection, relations)

    def look() -> None:
        # A full disk is worth knowing before the last table has been read.
        _require_no_failure(writing)
        gauge.tell("proving the tables")

    found = []
    for relation in relations:
        look()
        watchdog.look()
        gauge.begin_proof(relation.oid)
        read = partial(content.read_content, job.connection, relation, columns[relation.oid])
        found.append(meanwhile(pool, job.connection, read, look))
    gauge.begin_proof(LARGE_OBJECTS)
    read_all = partial(content.read_large_objects, job.connection)
    return tuple(found), meanwhile(pool, job.connection, read_all, look)


def _anchor(
    job: Job, new: NewSet, gauge: Gauge, writing: "futures.Future[FileFacts]"
) -> FileFacts | None:
    phase = "anchoring the audit trail"
    tell = seldom(job.on_progress)

    def look() -> None:
        _require_no_failure(writing)
        if writing.done():
            # How many chains there are, nobody has counted.
            tell(Progress(phase))
        else:
            gauge.tell(phase)

    look()
    return anchors.write_heads(
        job.connection, new, job.stored_name(HEADS), job.recipients, look=look
    )


def _require_no_failure(writing: "futures.Future[FileFacts]") -> None:
    if writing.done():
        writing.result()


@contextmanager
def _explained(job: Job) -> Iterator[None]:
    """Raise why a program has ended early, inside the block, in words for people."""
    try:
        yield
    except EndedEarly as error:
        # Where the server is gone, that is the reason, whoever has seen it first.
        with suppress(psycopg.errors.InFailedSqlTransaction):
            scalar(job.connection, "SELECT 1")
        raise _reason(job, error.argv, error.returncode, error.printed) from error


def _reason(job: Job, argv: Sequence[str], returncode: int, stderr: str) -> Exception:
    """Return why a pg_dump or a reader that did not go well has failed."""
    if _LOCKS in stderr:
        first = programs.from_first_error(redact(stderr)).splitlines()[0]
        return dump_checks.lock_table_full(job.connection, first)
    # pg_dump prints the statement itself in English, whatever language the server speaks.
    in_vain = "LOCK TABLE" in stderr and "permission denied" not in stderr
    if in_vain or f" {_LOCK_NOT_AVAILABLE}: " in stderr:
        return snapshot.Overtaken(
            f"{programs.program_name(argv)} waited for a table in vain",
            snapshot.find_blocker(job.connection),
        )
    if "deadlock detected" in stderr or f" {_DEADLOCK}: " in stderr:
        return snapshot.Overtaken(
            "the server ended a deadlock", snapshot.find_blocker(job.connection)
        )
    return programs.failed(argv, returncode, redact(stderr))


def warnings_in(stderr: str, program: str) -> tuple[str, ...]:
    """Return what `program` printed, a sentence each with what explains it.

    >>> warnings_in("pg_dump: warning: one\\npg_dump: hint: why\\nWARNING:  two\\n", "pg_dump")
    ('pg_dump: warning: one; hint: why', 'pg_dump: WARNING: two')
    """
    found: list[str] = []
    for line in stderr.splitlines():
        words = " ".join(line.removeprefix(f"{program}:").split())
        if found and words.startswith(_EXPLAINS):
            found[-1] += f"; {words}"
        elif words:
            found.append(f"{program}: {words}")
    return tuple(found)
