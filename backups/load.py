"""Put a backup's archive into an empty database: what a drill and a restore have in common."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo

from backups import pg_restore, piped
from backups.archive import UnreadableArchiveError
from backups.contents import open_content, require_keys, stored_facts, stored_name
from backups.fingerprint import Fact
from backups.manifest import DUMP, GLOBALS, DatabaseProperties, Manifest
from backups.progress import OnProgress, Progress, unseen
from backups.properties import create_statement, property_statements
from backups.sealing import Keys
from backups.snapshot import prepare_session
from backups.stores.base import Store
from backups.unpack import Unpacked, unpacked
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect, session_words
from casedb.errors import ToolFailedError
from casedb.sqlfiles import read_sql
from casedb.tools import PostgresTools

_JOBS_AT_MOST = 8
# A drill's cluster lies on the same disk: the database, and as much again for its WAL and sorting.
_LOADED_RATIO = 2
# Since the releases of August 2025, against what a server's answers may hold.
_RESTRICTED = re.compile(r"^\\restrict (?P<key>[A-Za-z0-9]+)$", re.MULTILINE)
_COMES_WITH_A_DATABASE: Mapping[tuple[str, str], LiteralString] = {
    ("extension", "plpgsql"): "DROP EXTENSION plpgsql",
    ("schema", "public"): "DROP SCHEMA public",
}


def create_database(
    admin: Conninfo, properties: DatabaseProperties, catalog: Iterable[Fact], name: str
) -> None:
    """Make the empty database `name`, which only a superuser can enter for now.

    What PostgreSQL puts into every new database, and the source of `catalog` had dropped, is
    dropped here as well: no archive says that something is to go.

    Raises:
        ToolFailedError: the server failed; the database may be there.
    """
    with connect(admin, purpose="create database") as connection:
        connection.execute(create_statement(properties, name))
        connection.execute(
            sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
        )
    there = {(fact.kind, fact.identity) for fact in catalog}
    with connect(admin.replace(dbname=name), purpose="create database") as connection:
        for (kind, identity), statement in _COMES_WITH_A_DATABASE.items():
            if (kind, identity) not in there:
                connection.execute(statement)


def load_roles(store: Store, manifest: Manifest, admin: Conninfo, keys: Keys | None = None) -> None:
    """Make the backup's roles on an empty server: all of them or none.

    Raises:
        ToolFailedError: the server refused a statement.
    """
    with open_content(store, manifest, GLOBALS, keys) as file:
        statements = sql_only(file.read().decode())
    with connect(admin, purpose="restore: roles") as connection:
        connection.execute(statements.encode())


def sql_only(text: str) -> str:
    r"""Return what pg_dumpall wrote without the two lines that are meant for psql.

    psql itself is not used: it would run programs of this machine for whoever can write to the
    store and adds a line that begins with a backslash.

    >>> sql_only("--\n\\restrict xY1\nSELECT 1;\n\\unrestrict xY1\n")
    '--\nSELECT 1;\n'
    """
    found = _RESTRICTED.search(text)
    if found is None:
        return text
    key = re.escape(found["key"])
    return re.sub(rf"^\\(?:un)?restrict {key}\n", "", text, flags=re.MULTILINE)


def load_archive(
    store: Store,
    manifest: Manifest,
    target: Conninfo,
    tools: PostgresTools,
    *,
    scratch: Path | None = None,
    jobs: int | None = None,
    keys: Keys | None = None,
    on_progress: OnProgress = unseen,
) -> None:
    """Load a backup's archive into `target`'s empty database, up to the first error.

    Several `jobs` (default: one a core) load what is uncompressed in `scratch` (default: the
    system's folder for temporary files), because only a file can be read by several. It comes
    through a pipe instead where there is no room for it, and where it may not lie in clear.

    Raises:
        ToolFailedError: pg_restore failed, or what was read is not what the manifest names.
    """
    jobs = jobs or jobs_for(os.cpu_count() or 1)
    raw_size = stored_facts(manifest, DUMP).raw_size_bytes or 0
    folder = scratch or Path(tempfile.gettempdir())
    need = raw_size + _LOADED_RATIO * manifest.database_size_bytes
    if jobs > 1 and not manifest.recipients and shutil.disk_usage(folder).free >= need:
        with unpacked(store, manifest, folder) as found:
            if found and found.problem:
                raise _changed()
            if found:
                load_unpacked(found, manifest, target, tools, jobs=jobs, on_progress=on_progress)
                return
    load_piped(
        store, manifest, target, tools, jobs=jobs, keys=keys, words=(), on_progress=on_progress
    )


def give_properties(target: Conninfo, manifest: Manifest) -> None:
    """Give the restored database `target` what belongs to it and is in no dump: owner, grants, ...

    From inside of it: a comment is kept in the encoding of the database that it is written from.
    """
    with connect(target, purpose="restore") as connection:
        for statement in property_statements(manifest.properties, target.dbname):
            connection.execute(statement)


def jobs_for(cores: int) -> int:
    """Return with how many jobs to load an archive.

    >>> jobs_for(1), jobs_for(2), jobs_for(16)
    (1, 2, 8)
    """
    return min(cores, _JOBS_AT_MOST)


def load_piped(
    store: Store,
    manifest: Manifest,
    target: Conninfo,
    tools: PostgresTools,
    *,
    jobs: int,
    keys: Keys | None,
    words: Sequence[str],
    on_progress: OnProgress,
) -> None:
    """Load an archive through a pipe: the rows with one job, what follows them with `jobs`.

    `words` are further ones of pg_restore, which narrow what is loaded; then one job does all, and
    the archive is left as it is.

    Raises:
        ToolFailedError: pg_restore failed, or what was read is not what the manifest names.
    """
    facts = stored_facts(manifest, DUMP)
    argv = [
        *programs.pg_restore_argv(tools, dbname=make_conninfo("", dbname=target.dbname)),
        *words,
    ]
    try:
        with (
            store.open(manifest.database, manifest.label, stored_name(manifest, DUMP)) as file,
            _watching(target, manifest, on_progress) as tell,
        ):
            loaded = piped.load(
                file,
                _named(target, manifest),
                argv,
                require_keys(manifest, keys) if manifest.recipients else None,
                tell,
                jobs=None if words else jobs,
            )
    except UnreadableArchiveError as error:
        raise ToolFailedError(f"{DUMP} cannot be read", detail=f"{error}.") from error
    if not loaded.same_bytes(facts):
        raise _changed()


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
    with _watching(target, manifest, on_progress) as tell:
        pg_restore.run(
            argv,
            target=_named(target, manifest),
            descriptor=archive_file.descriptor,
            tell=tell,
        )


def _named(target: Conninfo, manifest: Manifest) -> Conninfo:
    # It reads money as it was printed, in the locale of the dump, and not as this server does.
    money = {"lc_monetary": manifest.lc_monetary} if manifest.lc_monetary else {}
    return session_words(target, purpose=f"restore {manifest.label}", settings=money)


def _changed() -> ToolFailedError:
    return ToolFailedError(
        f"{DUMP} changed while it was read", detail="It does not match the manifest."
    )


def analyze(target: Conninfo) -> None:
    """Gather the planner's statistics, without which the first hour after a restore is slow."""
    with connect(target, purpose="analyze") as connection:
        prepare_session(connection, {})
        connection.execute("ANALYZE")


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
