"""One backup: archive, roles, catalog and proof, all of the same moment.

Nothing appears under its label before it is complete, read back, and on the disk.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from psycopg.conninfo import make_conninfo

from backups import content, facts, fingerprint, snapshot
from backups import dump_checks as checks
from backups.archive import UnreadableArchiveError, require_listed
from backups.archive_form import USUAL, ArchiveForm
from backups.chain import announce, read_head, settle
from backups.client_holes import warnings_of
from backups.dump_archive import expected_bytes, proven_archive
from backups.dump_job import Job, write, write_clear
from backups.instructions import creation_script, instructions, property_script
from backups.interrupts import held, too_late
from backups.labels import label_of
from backups.manifest import (
    CATALOG,
    CREATION,
    DUMP,
    GLOBALS,
    HEADS,
    INSTRUCTIONS,
    MANIFEST,
    PRINTED_MONEY,
    PROOF,
    PROPERTIES,
    FileFacts,
    Link,
    Manifest,
)
from backups.progress import OnProgress, Progress, unseen
from backups.sealing import require_recipients
from backups.stores.base import NewSet, Store, WriteOnlyError
from backups.stores.several import SeveralStores
from backups.streams import HashingReader
from backups.version import tool_version
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import ConfigurationError, ToolFailedError
from casedb.locks import maintenance_lock
from casedb.tools import PostgresTools

_SESSION = {
    **content.SETTINGS,
    # The proof is done long before pg_dump: workers of its own would only take the processor from
    # the one process that everything waits for, which turns rows into text (8 % on two cores).
    "max_parallel_workers_per_gather": "0",
}
SPACE_RATIO = 0.5
"""A dump of case data takes a quarter of its database's size; uncompressible documents more."""
LOCK_WAIT_S = 5.0
ATTEMPTS = 5


def dump(
    target: Conninfo,
    store: Store | SeveralStores,
    *,
    tools: PostgresTools,
    on_progress: OnProgress = unseen,
    space_ratio: float = SPACE_RATIO,
    lock_wait_s: float = LOCK_WAIT_S,
    attempts: int = ATTEMPTS,
    form: ArchiveForm = USUAL,
    recipients: Sequence[str] = (),
    chain: Path | None = None,
    earlier: Manifest | None = None,
) -> Manifest:
    """Put a backup of `target`'s database into `store` and return its manifest.

    `space_ratio` is how much free space the store must have, as a part of the database's size.
    A table that somebody locks exclusively is waited for `lock_wait_s` at a time, `attempts` times.
    `form` is how the archive is written.
    With `recipients`, public keys of age, everything but when and how much is encrypted to them,
    and the roles' password verifiers are part of it. `chain` is the folder where this host
    remembers its newest backup, so that the next one can name it. `earlier` is any earlier backup
    of the same database, by which the time left is estimated better.

    Raises:
        RefusedError: the role does not see everything, the store has too little room, or the
            catalog has bytes that are not UTF-8.
        ConfigurationError: the programs are of another major version than the server, or what this
            host remembers cannot be read; or, as it says then, the backup is complete, but this
            host cannot remember it.
        LockedError: another dump, rotation or migration is at work, or somebody keeps a table.
        ToolFailedError: pg_dump or the server failed, the store is full, or what was written
            cannot be read back. The store is then as it was before.
        KeyboardInterrupt: before the backup was complete; what comes later stops nothing.
    """
    require_recipients(recipients)
    complete: list[Manifest] = []
    with (
        too_late(complete),
        connect(target, purpose="dump") as connection,
        checks.refusing_other_bytes(),
    ):
        snapshot.prepare_session(connection, _SESSION)
        size_bytes = int(scalar(connection, "SELECT pg_database_size(current_database())"))
        job = Job(
            target=target,
            connection=connection,
            tools=tools,
            server=facts.read_server(connection),
            database=str(scalar(connection, "SELECT current_database()")),
            size_bytes=size_bytes,
            on_progress=on_progress,
            lock_wait_s=lock_wait_s,
            attempts=attempts,
            recipients=tuple(recipients),
            chain=chain,
            form=form,
            expected_bytes=expected_bytes(size_bytes, earlier),
        )
        checks.require_all_rows(connection)
        checks.require_whole_catalog(connection)
        checks.require_large_objects(connection)
        checks.require_same_major(tools, job.server)
        with store.lock(job.database):
            for left in store.sweep(job.database):
                on_progress(Progress(f"removed {left}, which an interrupted run had left"))
            checks.require_room(store, job.database, job.size_bytes, space_ratio)
            label = _free_label(store, job.database)
            previous = _predecessor(job, store)
            with maintenance_lock(connection), store.new_set(job.database, label) as new:
                manifest, checksum = _write_set(job, new, previous)
                # From here on it is a backup, and this host has to know of it.
                with held():
                    _commit(job, store, new, manifest, checksum, complete)
    return complete[0]


def _commit(
    job: Job,
    store: Store | SeveralStores,
    new: NewSet,
    manifest: Manifest,
    checksum: str,
    complete: list[Manifest],
) -> None:
    def link() -> Link:
        where = store.urls if isinstance(store, SeveralStores) else (store.url,)
        return Link(label=manifest.label, manifest_sha256=checksum, stores=where)

    if job.chain:
        # What stands in the way is told below: a backup that nobody remembers is better than none.
        with suppress(ConfigurationError):
            announce(job.chain, job.database, link())
    new.commit()
    complete.append(manifest)
    if job.chain:
        try:
            # Anew, because a store that failed meanwhile does not hold it.
            announce(job.chain, job.database, link())
            settle(job.chain, job.database, [manifest.label])
        except ConfigurationError as error:
            raise ConfigurationError(
                f'backup "{manifest.label}" is complete, but this host cannot remember it',
                detail=error.detail,
                hint="Make the folder writable and dump again: until then `casedb verify --chain` "
                "would not miss this backup.",
            ) from error


def _predecessor(job: Job, store: Store | SeveralStores) -> Link | None:
    """Return the newest backup of this host; before hours of work, because it can be unreadable."""
    if job.chain is None:
        return None
    settle(job.chain, job.database, store.labels(job.database))
    return read_head(job.chain, job.database)


def _write_set(job: Job, new: NewSet, previous: Link | None) -> tuple[Manifest, str]:
    """Write everything, to be committed; return the manifest and its checksum as it lies there."""
    files: dict[str, FileFacts] = {}
    job.on_progress(Progress("writing the roles"))
    write(job, new, files, GLOBALS, _globals(job).encode())
    proof = proven_archive(job, new)
    files[job.stored_name(DUMP)] = proof.archive
    if proof.heads:
        files[job.stored_name(HEADS)] = proof.heads
    write(job, new, files, CATALOG, fingerprint.to_bytes(proof.catalog))
    for name, script in ((CREATION, creation_script), (PROPERTIES, property_script)):
        write(job, new, files, name, script(proof.properties, job.database).encode())
    text = instructions(
        label=new.label,
        database=job.database,
        server_version=job.server.version,
        started_at=f"{proof.taken_at:%Y-%m-%d %H:%M:%S}",
        files=files,
        sealed=bool(job.recipients),
    )
    write_clear(new, files, INSTRUCTIONS, text.encode())
    job.on_progress(Progress("reading the archive back"))
    new.check(lambda copy: _require_readable(job, copy, files))
    holes = warnings_of(job.tools.version)
    manifest = Manifest(
        tool_version=tool_version(),
        server_version=job.server.version,
        server_major=job.server.major,
        client_version=job.tools.version,
        warnings=(*holes, *proof.warnings),
        bootstrap_superuser=job.server.bootstrap_superuser,
        database=job.database,
        label=new.label,
        started_at=proof.taken_at,
        ended_at=datetime.now(UTC),
        snapshot=proof.snapshot,
        properties=proof.properties,
        roles=proof.roles,
        extensions=proof.extensions,
        collations=proof.collations,
        migration_head=proof.migration_head,
        migration_checksums=proof.migration_checksums,
        database_size_bytes=job.size_bytes,
        files=files,
        tables=proof.tables,
        sequences=proof.sequences,
        large_objects=proof.large_objects,
        lc_monetary=PRINTED_MONEY,
        catalog_sha256=fingerprint.sha256(proof.catalog),
        recipients=job.recipients,
        previous=previous,
    )
    if job.recipients:
        write(job, new, files, PROOF, manifest.to_bytes())
        manifest = manifest.model_copy(update={"files": files})
    # Last: a set with a manifest is complete. What pg_dump warned of can have names in it.
    public = (
        manifest.without_proof().model_copy(update={"warnings": holes})
        if job.recipients
        else manifest
    )
    data = public.to_bytes()
    write_clear(new, {}, MANIFEST, data)
    return manifest, hashlib.sha256(data).hexdigest()


def _globals(job: Job) -> str:
    argv = [
        *programs.pg_dumpall_globals_argv(job.tools, with_passwords=bool(job.recipients)),
        # Where this role may connect; pg_dumpall's own choice is the database "postgres".
        f"--database={make_conninfo('', dbname=job.database)}",
    ]
    try:
        written = programs.run(argv, target=job.target)
    except ToolFailedError:
        # pg_dumpall does not tell why it could not connect; the server tells us, if we cannot.
        with connect(job.target, purpose="dump: roles"):
            raise
    # On another server the first superuser has another name, and since PostgreSQL 16 only the
    # first superuser may grant in his own name without being an admin of the role.
    quoted = scalar(job.connection, "SELECT quote_ident(%s)", job.server.bootstrap_superuser)
    return written.replace(f" GRANTED BY {quoted};", ";")


def _require_readable(job: Job, new: NewSet, files: Mapping[str, FileFacts]) -> None:
    archive = job.stored_name(DUMP)
    for name, written in files.items():
        try:
            found = _read(job, new, name) if name == archive else new.read_back(name)
            same = found is None or found.same_bytes(written)
            reason = None if same else "it has another checksum than was written"
        except UnreadableArchiveError as error:
            reason = str(error)
        except WriteOnlyError as error:
            # The server has checked each part's MD5; the rest is for `verify`, by somebody who may.
            job.on_progress(Progress(f"not read back: only writing is allowed at {error}"))
            return
        if reason:
            raise ToolFailedError(
                "what was written to the store cannot be read back",
                detail=f"{name}: {reason}.",
                hint="Check the disk and the memory of this machine; nothing was kept.",
            )


def _read(job: Job, new: NewSet, archive: str) -> FileFacts:
    """Return what the archive is in the store: its head listed, its bytes compared to the last.

    That zstd can read them all is for `verify` and a drill to show. What only the recipients can
    open is not listed either.
    """
    with new.open(archive) as file:
        reader = HashingReader(file)
        if not job.recipients:
            require_listed(reader, job.tools, decompress_all=False)
        if (found := new.read_back(archive)) is None:
            reader.drain()
            found = reader.facts()
        return found


def _free_label(store: Store | SeveralStores, database: str) -> str:
    """Return a label nobody has: two dumps within a second would have the same."""
    taken = set(store.labels(database))
    while (label := label_of(database, datetime.now(UTC))) in taken:
        time.sleep(0.05)
    return label
