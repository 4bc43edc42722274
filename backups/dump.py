"""One backup: archive, roles, catalog and proof, all of the same moment.

Nothing appears under its label before it is complete, read back, and on the disk.
"""

import hashlib
import tempfile
import time
from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.conninfo import make_conninfo

from backups import anchors, content, facts, fingerprint, snapshot
from backups import dump_checks as checks
from backups.archive import UnreadableArchiveError, hash_of, read_back
from backups.chain import read_head, write_head
from backups.instructions import instructions, property_script
from backups.labels import label_of
from backups.manifest import (
    CATALOG,
    DUMP,
    GLOBALS,
    HEADS,
    INSTRUCTIONS,
    MANIFEST,
    PROOF,
    PROPERTIES,
    SEALED_SUFFIX,
    FileFacts,
    LargeObjects,
    Link,
    Manifest,
    RoleFacts,
    SequenceFacts,
    TableFacts,
)
from backups.progress import OnProgress, Progress, unseen
from backups.sealing import compress_for, require_recipients, seal_bytes
from backups.stores.base import NewSet, Store, WriteOnlyError
from backups.stores.several import SeveralStores
from backups.streams import HashingWriter
from backups.version import tool_version
from backups.watchdog import Watchdog
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import LockedError, ToolFailedError
from casedb.locks import maintenance_lock
from casedb.tools import PostgresTools

SPACE_RATIO = 0.5
"""A dump of case data takes a quarter of its database's size; uncompressible documents more."""
LOCK_WAIT_S = 5.0
ATTEMPTS = 5
_POLL_S = 0.5


@dataclass(frozen=True)
class _Job:
    """What all steps of one dump need."""

    target: Conninfo
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

    def stored_name(self, name: str) -> str:
        """What the file `name` is called in the store."""
        return f"{name}{SEALED_SUFFIX}" if self.recipients else name


@dataclass(frozen=True)
class _Proof:
    """What the snapshot held, and the archive that was written of it."""

    taken_at: datetime
    snapshot: str
    sequences: tuple[SequenceFacts, ...]
    catalog: tuple[fingerprint.Fact, ...]
    tables: tuple[TableFacts, ...]
    large_objects: LargeObjects
    archive: FileFacts
    heads: FileFacts | None


def dump(
    target: Conninfo,
    store: Store | SeveralStores,
    *,
    tools: PostgresTools,
    on_progress: OnProgress = unseen,
    space_ratio: float = SPACE_RATIO,
    lock_wait_s: float = LOCK_WAIT_S,
    attempts: int = ATTEMPTS,
    recipients: Sequence[str] = (),
    chain: Path | None = None,
) -> Manifest:
    """Put a backup of `target`'s database into `store` and return its manifest.

    `space_ratio` is how much free space the store must have, as a part of the database's size.
    A table that somebody locks exclusively is waited for `lock_wait_s` at a time, `attempts` times.
    With `recipients`, public keys of age, everything but when and how much is encrypted to them,
    and the roles' password verifiers are part of it. `chain` is the folder where this host
    remembers its newest backup, so that the next one can name it.

    Raises:
        RefusedError: the role does not see all rows, or the store has too little room.
        ConfigurationError: the programs are of another major version than the server.
        LockedError: another dump, rotation or migration is at work, or somebody keeps a table.
        ToolFailedError: pg_dump or the server failed, the store is full, or what was written
            cannot be read back. The store is then as it was before.
    """
    require_recipients(recipients)
    with connect(target, purpose="dump") as connection:
        snapshot.prepare_session(connection, content.SETTINGS)
        job = _Job(
            target=target,
            connection=connection,
            tools=tools,
            server=facts.read_server(connection),
            database=str(scalar(connection, "SELECT current_database()")),
            size_bytes=int(scalar(connection, "SELECT pg_database_size(current_database())")),
            on_progress=on_progress,
            lock_wait_s=lock_wait_s,
            attempts=attempts,
            recipients=tuple(recipients),
            chain=chain,
        )
        checks.require_all_rows(connection)
        checks.require_same_major(tools, job.server)
        with store.lock(job.database):
            for left in store.sweep(job.database):
                on_progress(Progress(f"removed {left}, which an interrupted run had left"))
            checks.require_room(store, job.database, job.size_bytes, space_ratio)
            label = _free_label(store, job.database)
            with maintenance_lock(connection), store.new_set(job.database, label) as new:
                manifest, checksum = _write_set(job, new)
            if chain:
                where = store.urls if isinstance(store, SeveralStores) else (store.url,)
                link = Link(label=label, manifest_sha256=checksum, stores=where)
                write_head(chain, job.database, link)
            return manifest


def _write_set(job: _Job, new: NewSet) -> tuple[Manifest, str]:
    """Write and commit everything; return the manifest and its checksum as it lies there."""
    properties = facts.read_properties(job.connection)
    roles = facts.read_roles(job.connection)
    files: dict[str, FileFacts] = {}
    job.on_progress(Progress("writing the roles"))
    _write(job, new, files, GLOBALS, _globals(job).encode())
    proof = _proven_archive(job, new, roles)
    files[job.stored_name(DUMP)] = proof.archive
    if proof.heads:
        files[job.stored_name(HEADS)] = proof.heads
    _write(job, new, files, CATALOG, fingerprint.to_bytes(proof.catalog))
    if job.recipients:
        _write(job, new, files, PROPERTIES, property_script(properties, job.database).encode())
    text = instructions(
        label=new.label,
        database=job.database,
        server_version=job.server.version,
        started_at=f"{proof.taken_at:%Y-%m-%d %H:%M:%S}",
        properties=properties,
        files=files,
        sealed=bool(job.recipients),
    )
    _write_clear(new, files, INSTRUCTIONS, text.encode())
    job.on_progress(Progress("reading the archive back"))
    new.check(lambda copy: _require_readable(job, copy, proof.archive))
    manifest = Manifest(
        tool_version=tool_version(),
        server_version=job.server.version,
        server_major=job.server.major,
        client_version=job.tools.version,
        bootstrap_superuser=job.server.bootstrap_superuser,
        database=job.database,
        label=new.label,
        started_at=proof.taken_at,
        ended_at=datetime.now(UTC),
        snapshot=proof.snapshot,
        properties=properties,
        roles=roles,
        extensions=facts.read_extensions(job.connection),
        collations=facts.read_collations(job.connection),
        migration_head=facts.read_migration_head(job.connection),
        database_size_bytes=job.size_bytes,
        files=files,
        tables=proof.tables,
        sequences=proof.sequences,
        large_objects=proof.large_objects,
        catalog_sha256=fingerprint.sha256(proof.catalog),
        recipients=job.recipients,
        previous=read_head(job.chain, job.database) if job.chain else None,
    )
    if job.recipients:
        _write(job, new, files, PROOF, manifest.to_bytes())
        manifest = manifest.model_copy(update={"files": files})
    # Last: a set with a manifest is complete.
    public = manifest.without_proof() if job.recipients else manifest
    data = public.to_bytes()
    _write_clear(new, {}, MANIFEST, data)
    new.commit()
    return manifest, hashlib.sha256(data).hexdigest()


def _proven_archive(job: _Job, new: NewSet, roles: Sequence[RoleFacts]) -> _Proof:
    blocker, reason = None, ""
    for _ in range(job.attempts):
        try:
            return _attempt(job, new, roles)
        except snapshot.Overtaken as overtaken:
            blocker, reason = overtaken.blocker or blocker, overtaken.reason
            job.on_progress(Progress(f"letting another session go first ({reason})"))
    raise LockedError(
        "another session keeps the dump from reading a table",
        detail=f"Tried {job.attempts} times. "
        + (f"In the way is {blocker}." if blocker else f"The last reason was: {reason}."),
        hint="Let it finish, or end it with pg_terminate_backend(), and dump again.",
    )


def _attempt(job: _Job, new: NewSet, roles: Sequence[RoleFacts]) -> _Proof:
    """Write the archive, and prove meanwhile what its snapshot holds, on the second core."""
    with snapshot.hold(job.connection, lock_wait_s=job.lock_wait_s) as held:
        taken_at = datetime.now(UTC)
        # Before pg_dump reads them: sequences know no snapshot, and only go forward.
        sequences = facts.read_sequences(job.connection)
        argv = programs.pg_dump_argv(
            job.tools, snapshot=held.identifier, lock_wait_ms=int(job.lock_wait_s * 1000)
        )
        target = _named(job)
        watchdog = Watchdog(
            job.connection, str(target.get("application_name")), patience_s=job.lock_wait_s
        )
        # Left in the opposite order: pg_dump ends, then the thread that reads it, then the file.
        with (
            new.create(job.stored_name(DUMP)) as file,
            tempfile.TemporaryFile() as errors,
            futures.ThreadPoolExecutor(1) as pool,
            programs.start(argv, target=target, stderr=errors) as process,
        ):
            assert process.stdout is not None
            writing = pool.submit(compress_for, process.stdout, file, job.recipients)
            catalog = fingerprint.read_fingerprint(job.connection, roles)
            tables = _read_tables(job, held, writing, watchdog)
            large_objects = content.read_large_objects(job.connection)
            job.on_progress(Progress("anchoring the audit trail"))
            heads = anchors.write_heads(job.connection, new, job.stored_name(HEADS), job.recipients)
            while not futures.wait([writing], timeout=_POLL_S).done:
                job.on_progress(Progress("writing the archive"))
                watchdog.look()
            archive = writing.result()
            returncode = process.wait()
            errors.seek(0)
            _check_dump(job, argv, returncode, errors.read().decode(errors="replace"))
    return _Proof(
        taken_at, held.identifier, sequences, catalog, tables, large_objects, archive, heads
    )


def _read_tables(
    job: _Job,
    held: snapshot.Snapshot,
    writing: "futures.Future[FileFacts]",
    watchdog: Watchdog,
) -> tuple[TableFacts, ...]:
    relations = [relation for relation in held.relations if relation.has_rows]
    columns = content.read_columns(job.connection, relations)
    found = []
    for done, relation in enumerate(relations):
        if writing.done():
            # A full disk is worth knowing before the last table has been read.
            writing.result()
        watchdog.look()
        job.on_progress(Progress("proving the tables", done, len(relations), "tables"))
        found.append(content.read_content(job.connection, relation, columns[relation.oid]))
    return tuple(found)


def _check_dump(job: _Job, argv: Sequence[str], returncode: int, stderr: str) -> None:
    # pg_dump prints the statement itself in English, whatever language the server speaks.
    if returncode and "LOCK TABLE" in stderr and "permission denied" not in stderr:
        raise snapshot.Overtaken(
            "pg_dump waited for a table in vain", snapshot.find_blocker(job.connection)
        )
    if returncode and "deadlock detected" in stderr:
        raise snapshot.Overtaken(
            "the server ended a deadlock", snapshot.find_blocker(job.connection)
        )
    programs.check(argv, returncode, stderr)


def _globals(job: _Job) -> str:
    argv = [
        *programs.pg_dumpall_globals_argv(job.tools, with_passwords=bool(job.recipients)),
        # Where this role may connect; pg_dumpall's own choice is the database "postgres".
        f"--database={make_conninfo('', dbname=job.database)}",
    ]
    written = programs.run(argv, target=job.target)
    # On another server the first superuser has another name, and since PostgreSQL 16 only the
    # first superuser may grant in his own name without being an admin of the role.
    quoted = scalar(job.connection, "SELECT quote_ident(%s)", job.server.bootstrap_superuser)
    return written.replace(f" GRANTED BY {quoted};", ";")


def _require_readable(job: _Job, new: NewSet, archive: FileFacts) -> None:
    try:
        with new.open(job.stored_name(DUMP)) as file:
            # What only the recipients can open is compared by its checksum.
            found = hash_of(file) if job.recipients else read_back(file, job.tools)
        reason = None if found.agrees_with(archive) else "it has another checksum than was written"
    except UnreadableArchiveError as error:
        reason = str(error)
    except WriteOnlyError as error:
        # The server has checked each part's MD5; the rest is for `verify`, by somebody who may.
        job.on_progress(Progress(f"not read back: only writing is allowed at {error}"))
        return
    if reason:
        raise ToolFailedError(
            "what was written to the store cannot be read back",
            detail=f"{DUMP}: {reason}.",
            hint="Check the disk and the memory of this machine; nothing was kept.",
        )


def _free_label(store: Store | SeveralStores, database: str) -> str:
    """Return a label nobody has: two dumps within a second would have the same."""
    taken = set(store.labels(database))
    while (label := label_of(database, datetime.now(UTC))) in taken:
        time.sleep(0.05)
    return label


def _write(job: _Job, new: NewSet, files: dict[str, FileFacts], name: str, data: bytes) -> None:
    if job.recipients:
        data = seal_bytes(data, job.recipients)
    _write_clear(new, files, job.stored_name(name), data)


def _write_clear(new: NewSet, files: dict[str, FileFacts], name: str, data: bytes) -> None:
    with new.create(name) as file:
        written = HashingWriter(file)
        written.write(data)
    files[name] = written.facts()


def _named(job: _Job) -> Conninfo:
    # By our own session's number, so that the watchdog finds pg_dump's session and nobody else's.
    # A name of more than 63 bytes would be cut, so the label is not in it.
    return job.target.replace(application_name=f"casedb dump for {job.connection.info.backend_pid}")
