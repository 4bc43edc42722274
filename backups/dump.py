"""One backup: archive, roles, catalog and proof, all of the same moment.

Nothing appears under its label before it is complete, read back, and on the disk.
"""

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from backups import content, facts, snapshot
from backups import dump_checks as checks
from backups.archive_form import USUAL, ArchiveForm
from backups.chain import announce, read_head, settle
from backups.dump_job import Job
from backups.dump_set import write_set
from backups.interrupts import held, too_late
from backups.labels import label_of
from backups.manifest import Link, Manifest
from backups.progress import OnProgress, Progress, unseen
from backups.sealing import require_recipients
from backups.stores.base import NewSet, Store
from backups.stores.several import SeveralStores
from casedb.conninfo import Conninfo
from casedb.database import connect, require_direct, scalar
from casedb.errors import ConfigurationError, LockedError
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
) -> Manifest:
    """Put a backup of `target`'s database into `store` and return its manifest.

    `space_ratio` is how much free space the store must have, as a part of the database's size.
    A table that somebody locks exclusively is waited for `lock_wait_s` at a time, `attempts` times.
    `form` is how the archive is written.
    With `recipients`, public keys of age, everything but when and how much is encrypted to them,
    and the roles' password verifiers are part of it. `chain` is the folder where this host
    remembers its newest backup, so that the next one can name it.

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
        require_direct(connection)
        snapshot.prepare_session(connection, _SESSION)
        job = Job(
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
            form=form,
        )
        checks.require_primary(connection)
        checks.require_all_rows(connection)
        checks.require_whole_catalog(connection)
        checks.require_large_objects(connection)
        checks.require_same_major(tools, job.server)
        with store.lock(job.database):
            for left in store.sweep(job.database):
                on_progress(Progress(f"removed {left}, which an interrupted run had left"))
            checks.require_room(store, job.database, job.size_bytes, space_ratio)
            previous = _predecessor(job, store)
            with maintenance_lock(connection):
                _write_patiently(job, store, previous, complete)
    return complete[0]


def _write_patiently(
    job: Job, store: Store | SeveralStores, previous: Link | None, complete: list[Manifest]
) -> None:
    """Write and commit a set; each time that somebody goes first, another one."""
    blocker, reason = None, ""
    tried: set[str] = set()
    for _ in range(job.attempts):
        label = _free_label(store, job.database, tried)
        tried.add(label)
        try:
            with store.new_set(job.database, label) as new:
                manifest, checksum = write_set(job, new, previous)
                # From here on it is a backup, and this host has to know of it.
                with held():
                    _commit(job, store, new, manifest, checksum, complete)
                return
        except snapshot.Overtaken as overtaken:
            blocker, reason = overtaken.blocker or blocker, overtaken.reason
            job.on_progress(Progress(f"letting another session go first ({reason})"))
    tried_times = f"Tried {job.attempts} times."
    if blocker:
        raise LockedError(
            "another session keeps the dump from reading a table",
            detail=f"{tried_times} In the way is {blocker}.",
            hint="Let it finish, or end it with pg_terminate_backend(), and dump again.",
        )
    raise LockedError(
        "another session changed something each time that a dump began",
        detail=f"{tried_times} The last reason was: {reason}.",
        hint="Dump again when it has ended; pg_stat_activity shows who is at work.",
    )


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


def _free_label(store: Store | SeveralStores, database: str, tried: Collection[str]) -> str:
    """Return a label nobody has, nor had: two dumps within a second would have the same."""
    taken = {*store.labels(database), *tried}
    while (label := label_of(database, datetime.now(UTC))) in taken:
        time.sleep(0.05)
    return label
