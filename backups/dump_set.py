"""The files of one backup, written into a set that does not count yet."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

from psycopg.conninfo import make_conninfo

from backups import facts, fingerprint
from backups.archive import UnreadableArchiveError, require_listed
from backups.client_holes import warnings_of
from backups.dump_archive import proven_archive, warnings_in
from backups.dump_job import Job, write, write_clear
from backups.instructions import creation_script, instructions, property_script
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
from backups.progress import Progress, seldom
from backups.spared_roles import sparing
from backups.stores.base import NewSet, WriteOnlyError
from backups.streams import HashingReader
from backups.version import tool_version
from casedb import tools as programs
from casedb.conninfo import redact
from casedb.database import connect
from casedb.errors import ToolFailedError

_READING_BACK = "reading the archive back"


def write_set(job: Job, new: NewSet, previous: Link | None) -> tuple[Manifest, str]:
    """Write everything, to be committed; return the manifest and its checksum as it lies there.

    Each file once: of one that was written again a bucket keeps two versions, and the first counts.

    Raises:
        Overtaken: somebody went first; to be tried anew, with another set.
        ToolFailedError: a program, the server or the store failed, or what was written cannot be
            read back.
    """
    files: dict[str, FileFacts] = {}
    job.on_progress(Progress("writing the roles"))
    roles = facts.read_roles(job.connection)
    script, warnings = _globals(job)
    write(job, new, files, GLOBALS, script.encode())
    proof = proven_archive(job, new, roles)
    files[job.stored_name(DUMP)] = proof.archive
    if proof.heads:
        files[job.stored_name(HEADS)] = proof.heads
    write(job, new, files, CATALOG, fingerprint.to_bytes(proof.catalog))
    for name, written in ((CREATION, creation_script), (PROPERTIES, property_script)):
        write(job, new, files, name, written(proof.properties, job.database).encode())
    text = instructions(
        label=new.label,
        database=job.database,
        server_version=job.server.version,
        started_at=f"{proof.taken_at:%Y-%m-%d %H:%M:%S}",
        files=files,
        sealed=bool(job.recipients),
    )
    write_clear(new, files, INSTRUCTIONS, text.encode())
    job.on_progress(Progress(_READING_BACK))
    new.check(lambda copy: _require_readable(job, copy, files))
    holes = warnings_of(job.tools.version)
    manifest = Manifest(
        tool_version=tool_version(),
        server_version=job.server.version,
        server_major=job.server.major,
        client_version=job.tools.version,
        warnings=(*holes, *warnings, *proof.warnings),
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


def _globals(job: Job) -> tuple[str, tuple[str, ...]]:
    """Return the roles as a script, and what pg_dumpall warned of."""
    argv = [
        *programs.pg_dumpall_globals_argv(job.tools, with_passwords=bool(job.recipients)),
        # Where this role may connect; pg_dumpall's own choice is the database "postgres".
        f"--database={make_conninfo('', dbname=job.database)}",
    ]
    printed: list[str] = []
    try:
        written = programs.run(argv, target=job.target, hear=printed.append)
    except ToolFailedError:
        # pg_dumpall does not tell why it could not connect; the server tells us, if we cannot.
        with connect(job.target, purpose="dump: roles"):
            raise
    script = sparing(written, bootstrap_superuser=job.server.bootstrap_superuser)
    return script, warnings_in(redact("".join(printed)), "pg_dumpall")


def _require_readable(job: Job, new: NewSet, files: Mapping[str, FileFacts]) -> None:
    archive = job.stored_name(DUMP)
    for name, written in files.items():
        try:
            found = (
                _read(job, new, name, written.size_bytes)
                if name == archive
                else new.read_back(name)
            )
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


def _read(job: Job, new: NewSet, archive: str, size_bytes: int) -> FileFacts:
    """Return what the archive is in the store: its head listed, its bytes compared to the last.

    That zstd can read them all is for `verify` and a drill to show. What only the recipients can
    open is not listed either.
    """
    with new.open(archive) as file:
        reader = HashingReader(file)
        if not job.recipients:
            require_listed(reader, job.tools, decompress_all=False)
        if (found := new.read_back(archive)) is None:
            tell = seldom(job.on_progress)
            while reader.read():
                tell(Progress(_READING_BACK, reader.size_bytes, size_bytes, "bytes"))
            found = reader.facts()
        return found
