"""Put a backup's archive into an empty database: what a drill and a restore have in common."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

from backups import archive
from backups.contents import open_content, require_keys, stored_facts, stored_name
from backups.manifest import DUMP, GLOBALS, DatabaseProperties, Manifest
from backups.progress import OnProgress, Progress, unseen
from backups.properties import create_statement
from backups.sealing import Keys
from backups.snapshot import prepare_session
from backups.stores.base import Store
from backups.unpack import Unpacked, unpacked
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ToolFailedError
from casedb.sqlfiles import read_sql
from casedb.tools import PostgresTools

# Measured: on two cores two jobs need three quarters of the time, what they read included.
_CORES_FOR_JOBS = 2
_JOBS_AT_MOST = 8
# A drill's cluster lies on the same disk: the database, and as much again for its WAL and sorting.
_LOADED_RATIO = 2


def create_database(connection: Connection[Any], properties: DatabaseProperties, name: str) -> None:
    """Make the empty database `name`, which only a superuser can enter for now."""
    connection.execute(create_statement(properties, name))
    connection.execute(
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
    )


def load_roles(
    store: Store,
    manifest: Manifest,
    admin: Conninfo,
    tools: PostgresTools,
    keys: Keys | None = None,
) -> None:
    """Make the backup's roles on an empty server, up to the first error.

    Raises:
        ToolFailedError: psql failed.
    """
    with open_content(store, manifest, GLOBALS, keys) as file:
        statements = file.read().decode()
    argv = programs.psql_file_argv(tools, dbname=admin.dbname)
    programs.run(argv, target=admin, input_text=statements)


def load_archive(
    store: Store,
    manifest: Manifest,
    target: Conninfo,
    tools: PostgresTools,
    *,
    scratch: Path | None = None,
    jobs: int | None = None,
    keys: Keys | None = None,
    words: Sequence[str] = (),
    on_progress: OnProgress = unseen,
) -> None:
    """Load a backup's archive into `target`'s empty database, up to the first error.

    `words` are further ones of pg_restore, which narrow what is loaded.

    `jobs` (default: by the number of cores) above 1 need the archive uncompressed in `scratch`
    (default: the system's folder for temporary files), because only a file can be read by several;
    when that has filled up meanwhile, one job loads what comes through a pipe.

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
    need = raw_size + _LOADED_RATIO * manifest.database_size_bytes
    jobs = jobs or jobs_for(os.cpu_count() or 1, need, shutil.disk_usage(folder).free)
    argv = [
        *programs.pg_restore_argv(tools, dbname=make_conninfo("", dbname=target.dbname)),
        *words,
    ]
    into = target.replace(application_name=f"casedb restore {manifest.label}")
    if jobs > 1:
        with unpacked(store, manifest, folder) as found:
            if found and found.problem:
                raise _changed()
            if found:
                load_unpacked(
                    found, manifest, target, tools, jobs=jobs, words=words, on_progress=on_progress
                )
                return
    try:
        with (
            store.open(manifest.database, manifest.label, stored_name(manifest, DUMP)) as file,
            _watching(target, manifest, on_progress) as tell,
        ):
            agrees = archive.load(file, into, argv, keys, tell).same_bytes(facts)
    except archive.UnreadableArchiveError as error:
        raise ToolFailedError(f"{DUMP} cannot be read", detail=f"{error}.") from error
    if not agrees:
        raise _changed()


def _changed() -> ToolFailedError:
    return ToolFailedError(
        f"{DUMP} changed while it was read", detail="It does not match the manifest."
    )


def jobs_for(cores: int, need_bytes: int, free_bytes: int) -> int:
    """Return with how many jobs to load an archive, for which several need room on a disk.

    >>> jobs_for(1, 1000, 10_000), jobs_for(16, 1000, 10_000), jobs_for(16, 1000, 500)
    (1, 8, 1)
    """
    if cores < _CORES_FOR_JOBS or free_bytes < need_bytes:
        return 1
    return min(cores, _JOBS_AT_MOST)


def analyze(target: Conninfo) -> None:
    """Gather the planner's statistics, without which the first hour after a restore is slow."""
    with connect(target, purpose="analyze") as connection:
        prepare_session(connection, {})
        connection.execute("ANALYZE")


def load_unpacked(
    archive_file: Unpacked,
    manifest: Manifest,
    target: Conninfo,
    tools: PostgresTools,
    *,
    jobs: int,
    words: Sequence[str] = (),
    on_progress: OnProgress = unseen,
) -> None:
    """Load an unpacked archive into `target`'s empty database with so many jobs, two at least.

    `words` are further ones of pg_restore, which narrow what is loaded.

    Raises:
        ToolFailedError: pg_restore failed.
    """
    if jobs < 2:
        raise AssertionError("an unpacked archive is for several jobs")
    argv = programs.pg_restore_from_argv(
        tools,
        dbname=make_conninfo("", dbname=target.dbname),
        file=archive_file.path,
        jobs=jobs,
        words=words,
    )
    into = target.replace(application_name=f"casedb restore {manifest.label}")
    with (
        _watching(target, manifest, on_progress) as tell,
        tempfile.TemporaryFile() as err,
        programs.start(
            argv, target=into, stdout=err, stderr=err, pass_fds=[archive_file.descriptor]
        ) as process,
    ):
        returncode = archive.waited(process, tell)
        err.seek(0)
        programs.check(argv, returncode, err.read().decode(errors="replace"))


@contextmanager
def _watching(
    target: Conninfo, manifest: Manifest, on_progress: OnProgress
) -> Iterator[Callable[[], None]]:
    """Yield the function that looks how far `target` was filled, and tells of it."""
    with connect(target, purpose="restore: progress") as connection:
        yield lambda: on_progress(seen(connection, manifest))


def seen(connection: Connection[Any], manifest: Manifest) -> Progress:
    """Return how far the connected database was filled, and what is being done in it."""
    row = connection.execute(read_sql("catalog/restore-progress.sql")).fetchone()
    size_bytes, what = row or (0, None)
    total = max(size_bytes, manifest.database_size_bytes)
    return Progress(what or "restoring", size_bytes, total, "bytes")
