"""Are the bytes of a backup those its manifest names, and can an archive be read from them?"""

import time
from datetime import UTC, datetime

from backups import fingerprint
from backups.archive import UnreadableArchiveError, hash_of, read_back
from backups.catalog import catalog, read_manifest
from backups.contents import NOT_NAMED, open_content, stored_name, unnamed
from backups.labels import database_of
from backups.manifest import CATALOG, DUMP, MANIFEST, FileFacts, Manifest
from backups.progress import OnProgress, Progress, unseen
from backups.records import write_record
from backups.reports import VerifyReport
from backups.sealing import Keys
from backups.stores.base import NoFileError, Store
from backups.version import tool_version
from casedb.errors import BackupDamagedError, CasedbError, ConfigurationError, UnverifiedError
from casedb.tools import PostgresTools, tools_of

_SEALED = "encrypted: its bytes are right, what is in it was not looked at"


def verify(
    store: Store,
    label: str,
    *,
    tools: PostgresTools | None = None,
    keys: Keys | None = None,
    on_progress: OnProgress = unseen,
) -> VerifyReport:
    """Read every byte of the backup `label`, record the outcome beside it, and return it.

    `tools` are the programs that list the archive; by default, those of its own major version.
    Without `keys`, an encrypted archive is checked byte for byte and not opened.

    Raises:
        BackupDamagedError: a file is missing, changed or unexpected, or cannot be read as what
            it is; the failure is recorded.
        UnverifiedError: the store cannot be read, or there is no pg_restore; nothing is recorded.
        ConfigurationError: there is no such backup.
    """
    started = time.monotonic()
    database = database_named(label)
    with store.lease(database, label) as unkept:
        if not store.files(database, label):
            raise no_such_backup(store, label)
        try:
            manifest = read_manifest(store, database, label)
        except BackupDamagedError as error:
            # Without a manifest there is nothing to record it against.
            raise _with_way_out(store, database, error) from None
        tools = tools or _tools_for(manifest)
        problems = check_bytes(store, manifest, tools, on_progress, keys)
        sealed = bool(manifest.recipients) and keys is None
        report = VerifyReport(
            label=label,
            outcome="failed" if problems else "passed",
            at=datetime.now(UTC),
            duration_s=round(time.monotonic() - started, 3),
            files=len(manifest.files),
            size_bytes=manifest.size_bytes,
            tool_version=tool_version(),
            client_version=tools.version,
            problems=tuple(problems),
            notes=(*unkept, *([_SEALED] if sealed and not problems else [])),
        )
        report = write_record(store, database, report)
    if problems:
        raise damaged(store, database, label, problems)
    return report


def check_bytes(
    store: Store,
    manifest: Manifest,
    tools: PostgresTools,
    on_progress: OnProgress,
    keys: Keys | None = None,
    *,
    with_dump: bool = True,
) -> list[str]:
    """Return what is wrong with the files of a backup, a sentence each; empty if nothing is.

    Without `with_dump` the archive itself is left to somebody who reads it anyway.

    Raises:
        UnverifiedError: the store cannot be read, or pg_restore cannot be run.
    """
    database, label = manifest.database, manifest.label
    there = store.files(database, label)
    problems = [
        f"{name} is not in the manifest."
        for name in sorted(there.keys() - manifest.files.keys() - {MANIFEST})
    ]
    problems += [NOT_NAMED.format(name) for name in unnamed(manifest) if name not in there]
    for done, (name, facts) in enumerate(sorted(manifest.files.items())):
        if name == stored_name(manifest, DUMP) and not with_dump:
            continue
        on_progress(Progress(f"reading {name}", done, len(manifest.files), "files"))
        try:
            problem = _check_file(store, manifest, name, facts, tools, keys)
        except NoFileError as error:
            problem = error.detail
        if problem:
            problems.append(problem)
    return problems


def read_catalog(
    store: Store, manifest: Manifest, keys: Keys | None = None
) -> tuple[fingerprint.Fact, ...]:
    """Return the catalog of a backup whose bytes have been checked."""
    with open_content(store, manifest, CATALOG, keys) as file:
        return fingerprint.from_bytes(file.read())


def database_named(label: str) -> str:
    """Return the database that `label` names.

    Raises:
        ConfigurationError: if it is no label.
    """
    database = database_of(label)
    if database is None:
        raise ConfigurationError(
            f'"{label}" is not the label of a backup',
            detail="A label is DATABASE-YYYYMMDDTHHMMSSZ.",
            hint="`casedb backups` lists them.",
        )
    return database


def no_such_backup(store: Store, label: str) -> ConfigurationError:
    """Return the error for a label that the store does not have."""
    return ConfigurationError(
        f'there is no backup "{label}"',
        detail=f"{store.url} does not hold it.",
        hint="`casedb backups` lists them.",
    )


def damaged(store: Store, database: str, label: str, problems: list[str]) -> BackupDamagedError:
    """Return the error for a backup with `problems`, naming the backup to restore instead."""
    return _with_way_out(
        store,
        database,
        BackupDamagedError(
            f'backup "{label}" does not match its manifest', detail="\n".join(problems)
        ),
        label,
    )


def _with_way_out(
    store: Store, database: str, error: BackupDamagedError, label: str = ""
) -> BackupDamagedError:
    backups = catalog(store, database)
    times = {b.label: b.taken_at for b in backups}
    taken_at = times.get(label)
    good = [b for b in backups if b.is_good and b.label != label]
    # An old one by a clock that was ahead is not the newest.
    good = [b for b in good if not b.is_from_the_future(datetime.now(UTC))] or good
    older = [b for b in good if taken_at is None or (b.taken_at and b.taken_at < taken_at)]
    candidate = next(iter(older or good), None)
    newest = (
        f" (the newest good one is {good[0].label})" if candidate and candidate != good[0] else ""
    )
    error.hint = (
        f"Restore {candidate.label} instead{newest}, and keep this one for the inquiry."
        if candidate
        else "There is no other good backup: `casedb dump` now, and keep this one for the inquiry."
    )
    return error


def _check_file(
    store: Store,
    manifest: Manifest,
    name: str,
    facts: FileFacts,
    tools: PostgresTools,
    keys: Keys | None,
) -> str | None:
    unreadable, unlisted = None, None
    sealed = bool(manifest.recipients)
    if name == stored_name(manifest, DUMP) and not (sealed and keys is None):
        try:
            with store.open(manifest.database, manifest.label, name) as file:
                found = read_back(file, tools, keys if sealed else None)
        except UnreadableArchiveError as error:
            unreadable = f"{name} cannot be read: {error}."
            found = _hash(store, manifest, name)
        except CasedbError as error:
            if isinstance(error, UnverifiedError):
                raise
            # Bytes that are wrong are damage, whatever became of pg_restore.
            found = _hash(store, manifest, name)
            unlisted = UnverifiedError(
                f"pg_restore cannot be run to list {name}",
                detail=f"{error.message}: {error.detail}",
                hint=error.hint,
            )
    else:
        found = _hash(store, manifest, name)
    if found.size_bytes != facts.size_bytes:
        return f"{name} has {found.size_bytes} bytes, the manifest says {facts.size_bytes}."
    if found.sha256 != facts.sha256:
        return f"{name} has SHA-256 {found.sha256[:12]}…, the manifest says {facts.sha256[:12]}…."
    if (
        name == CATALOG
        and not sealed
        and fingerprint.sha256(read_catalog(store, manifest)) != (manifest.catalog_sha256)
    ):
        return f"{name} does not have the fingerprint that the manifest says."
    if unlisted:
        raise unlisted
    return unreadable


def _hash(store: Store, manifest: Manifest, name: str) -> FileFacts:
    with store.open(manifest.database, manifest.label, name) as file:
        return hash_of(file)


def _tools_for(manifest: Manifest) -> PostgresTools:
    try:
        return tools_of(manifest.server_major)
    except ConfigurationError as error:
        raise UnverifiedError(error.message, detail=error.detail, hint=error.hint) from error
