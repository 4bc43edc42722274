"""Fill the empty database beside the others from a backup, and compare the two."""

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection

from backups import anchors, content, fingerprint
from backups.compare import Comparison, compare, different
from backups.contents import stored_facts
from backups.load import jobs_for, load_piped, load_unpacked
from backups.manifest import DUMP, Manifest
from backups.progress import Watch
from backups.sealing import Keys
from backups.snapshot import prepare_session
from backups.stores.base import Store
from backups.unpack import Unpacked, unpacked
from backups.verify import check_bytes, damaged, read_catalog
from casedb.conninfo import Conninfo
from casedb.database import connect, open_connection, scalar, session_words
from casedb.tools import PostgresTools

_SORTING_KB = 256 * 1024
_TWO_CORES = 2
_HASHING_ALONE = {"max_parallel_workers_per_gather": "0"}
"""The session beside it takes as long and has the other core; workers would only take it away."""


def checked(
    stack: ExitStack,
    store: Store,
    manifest: Manifest,
    tools: PostgresTools,
    keys: Keys | None,
    scratch: Path | None,
    watch: Watch,
    spare_bytes: int = 0,
) -> tuple[Unpacked | None, tuple[fingerprint.Fact, ...]]:
    """Check every byte; return the archive unpacked on the way, unless it may not lie in clear.

    Nor is it returned where there is too little room for it, or there turned out to be.

    `spare_bytes` of the disk of `scratch` stay free: what else is to be written there.
    """
    folder = scratch or Path(tempfile.gettempdir())
    raw_size = stored_facts(manifest, DUMP).raw_size_bytes or 0
    room = shutil.disk_usage(folder).free - spare_bytes
    in_clear = not manifest.recipients and room > 2 * raw_size
    with watch.phase("verify", "checking the bytes"):
        # Without the keys: that of the catalog shows below that they fit, and what is encrypted is
        # read to its end when it is loaded.
        check = partial(check_bytes, store, manifest, tools, watch.on_progress)
        problems = check(with_dump=not in_clear)
        archive = None
        if in_clear and not problems:
            archive = stack.enter_context(unpacked(store, manifest, folder, watch.on_progress))
            if archive is None:
                problems = check()
            elif archive.problem:
                problems = [archive.problem]
        if problems:
            raise damaged(store, manifest.database, manifest.label, problems)
        return archive, read_catalog(store, manifest, keys)


def load(
    store: Store,
    manifest: Manifest,
    archive: Unpacked | None,
    connection: Connection[Any],
    target: Conninfo,
    tools: PostgresTools,
    keys: Keys | None,
    watch: Watch,
    words: Sequence[str] = (),
) -> None:
    """Load the archive into the empty database `target`; `words` of pg_restore narrow it.

    Raises:
        ToolFailedError: pg_restore failed.
    """
    jobs = max(2, jobs_for(os.cpu_count() or 1))
    into = session_words(target, purpose="restore", settings=_settings(connection, jobs))
    if archive is None:
        load_piped(
            store, manifest, into, tools,
            jobs=jobs, keys=keys, words=words, on_progress=watch.on_progress,
        )  # fmt: skip
        return
    load_unpacked(
        archive, manifest, into, tools, jobs=jobs, words=words, on_progress=watch.on_progress
    )


def _settings(connection: Connection[Any], jobs: int) -> dict[str, str]:
    """Return what makes loading faster, for these sessions alone.

    Commits that do not wait for the disk are safe here: nobody relies on the database before it
    has its name, and the commit that gives it the name waits for all before it.
    """
    now = scalar(
        connection, "SELECT setting::bigint FROM pg_settings WHERE name = 'maintenance_work_mem'"
    )
    return {
        "synchronous_commit": "off",
        "maintenance_work_mem": f"{max(now, _SORTING_KB)}kB",
        # A primary key is added under a lock that keeps the other jobs away, so their cores would
        # be idle; two index builds at once with a worker each cost a little more than without.
        **({"max_parallel_maintenance_workers": "1"} if jobs >= (os.cpu_count() or 1) else {}),
        "statement_timeout": "0",
        "lock_timeout": "0",
    }


def compared(
    store: Store,
    manifest: Manifest,
    catalog_facts: Sequence[fingerprint.Fact],
    target: Conninfo,
    keys: Keys | None,
    watch: Watch,
) -> tuple[Comparison, bool | None]:
    """Compare all with the manifest, while statistics and the audit trail's heads are read."""
    beside = open_connection(target, purpose="restore: analyze")
    comparing = connect(target, purpose="restore: compare")
    with beside, comparing as restored, ThreadPoolExecutor(1) as pool:
        prepare_session(beside, {})
        prepare_session(restored, _HASHING_ALONE if (os.cpu_count() or 1) <= _TWO_CORES else {})
        statistics = pool.submit(_analyze, beside)
        # After it, because without statistics all of the log would be sorted.
        audited = pool.submit(_same_roots, beside, store, manifest, keys)
        try:
            with watch.phase("compare", "comparing with the manifest"):
                found = compare(
                    restored,
                    manifest,
                    catalog_facts,
                    with_roles=False,
                    on_progress=watch.on_progress,
                )
                roots = audited.result()
            # Noted now, so that phases are always told in the same order.
            watch.seconds["analyze"] = statistics.result()
        except BaseException:
            audited.cancel()
            with suppress(psycopg.Error):
                beside.cancel()
            raise
    differences = list(found.differences)
    if roots is False:
        differences.append("audit trail: the heads of its chains are not those of the backup")
    if differences:
        raise different(
            f'backup "{manifest.label}" did not restore to what was dumped', tuple(differences)
        )
    return found, roots


def _analyze(connection: Connection[Any]) -> float:
    """Return how many seconds it took."""
    began = time.monotonic()
    connection.execute("ANALYZE")
    return round(time.monotonic() - began, 3)


def _same_roots(
    connection: Connection[Any], store: Store, manifest: Manifest, keys: Keys | None
) -> bool | None:
    prepare_session(connection, content.SETTINGS)
    return anchors.same_roots(connection, store, manifest, keys)
