"""Put a backup's archive into an empty database: what a drill and a restore have in common."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

from backups import archive
from backups.contents import require_keys, stored_facts, stored_name
from backups.manifest import DUMP, DatabaseProperties, Manifest
from backups.properties import create_statement
from backups.sealing import Keys
from backups.snapshot import prepare_session
from backups.stores.base import Store
from backups.streams import HashingReader, decompressed
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ToolFailedError
from casedb.tools import PostgresTools

# Measured: on two cores two jobs save a tenth of the time, and the copy they need costs as much.
_CORES_FOR_JOBS = 4
_JOBS_AT_MOST = 8


def create_database(connection: Connection[Any], properties: DatabaseProperties, name: str) -> None:
    """Make the empty database `name`, which only a superuser can enter for now."""
    connection.execute(create_statement(properties, name))
    connection.execute(
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
    )


def load_archive(
    store: Store,
    manifest: Manifest,
    target: Conninfo,
    tools: PostgresTools,
    *,
    scratch: Path | None = None,
    jobs: int | None = None,
    keys: Keys | None = None,
) -> None:
    """Load a backup's archive into `target`'s empty database, up to the first error.

    `jobs` (default: by the number of cores) above 1 need the archive uncompressed in `scratch`
    (default: the system's folder for temporary files), because only a file can be read by several.

    Raises:
        ToolFailedError: pg_restore failed, or what was read is not what the manifest names.
    """
    facts = stored_facts(manifest, DUMP)
    raw_size = facts.raw_size_bytes or 0
    if manifest.recipients:
        keys = require_keys(manifest, keys)
        # A copy for several jobs would lie on a disk in clear.
        jobs = 1
    else:
        keys = None
    folder = scratch or Path(tempfile.gettempdir())
    jobs = jobs or jobs_for(os.cpu_count() or 1, raw_size, shutil.disk_usage(folder).free)
    argv = programs.pg_restore_argv(tools, dbname=make_conninfo("", dbname=target.dbname))
    into = target.replace(application_name=f"casedb restore {manifest.label}")
    try:
        with store.open(manifest.database, manifest.label, stored_name(manifest, DUMP)) as file:
            if jobs == 1:
                agrees = archive.load(file, into, argv, keys).agrees_with(facts)
            else:
                agrees = _load_in_parallel(file, manifest, into, argv, folder, jobs)
    except archive.UnreadableArchiveError as error:
        raise ToolFailedError(f"{DUMP} cannot be read", detail=f"{error}.") from error
    if not agrees:
        raise ToolFailedError(
            f"{DUMP} changed while it was read", detail="It does not match the manifest."
        )


def jobs_for(cores: int, raw_size_bytes: int, free_bytes: int) -> int:
    """Return with how many jobs to load an archive.

    >>> jobs_for(2, 1000, 10_000), jobs_for(16, 1000, 10_000), jobs_for(16, 1000, 500)
    (1, 8, 1)
    """
    if cores < _CORES_FOR_JOBS or free_bytes < 2 * raw_size_bytes:
        return 1
    return min(cores, _JOBS_AT_MOST)


def analyze(target: Conninfo) -> None:
    """Gather the planner's statistics, without which the first hour after a restore is slow."""
    with connect(target, purpose="analyze") as connection:
        prepare_session(connection, {})
        connection.execute("ANALYZE")


def _load_in_parallel(
    file: Any, manifest: Manifest, into: Conninfo, argv: list[str], folder: Path, jobs: int
) -> bool:
    reader = HashingReader(file)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="casedb-archive-") as raw:
        with archive.decoding_errors():
            for chunk in decompressed(reader):
                raw.write(chunk)
        raw.flush()
        programs.run([*argv, f"--jobs={jobs}", raw.name], target=into)
    facts = manifest.files[DUMP]
    return (reader.sha256, reader.size_bytes) == (facts.sha256, facts.size_bytes)
