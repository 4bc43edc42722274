"""Does a backup restore, and into the same content? Try it, from the store alone, and measure.

The restore goes into a throwaway cluster of the backup's own major version. "Could not try" is an
answer of its own: it never counts as passed, and never as the backup's fault.
"""

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from backups import anchors
from backups.catalog import read_manifest
from backups.compare import Comparison, compare, different
from backups.contents import full_manifest
from backups.drill_cluster import (
    answers,
    cluster,
    could_not,
    require_extensions,
    require_major,
    require_tools,
)
from backups.fingerprint import Fact
from backups.in_memory import folder_in_memory
from backups.load import (
    analyze,
    create_database,
    give_properties,
    load_archive,
    load_roles,
)
from backups.manifest import Manifest
from backups.probes import outer_cause, probe_access
from backups.progress import OnProgress, Watch, unseen
from backups.records import write_record
from backups.reports import DrillReport
from backups.sealing import Keys
from backups.stores.base import Store
from backups.verify import database_named, read_catalog, verify
from backups.version import tool_version
from casedb.conninfo import Conninfo
from casedb.database import connect, unbound
from casedb.errors import (
    CasedbError,
    ServerUnreachableError,
    ToolFailedError,
    UnverifiedError,
)
from casedb.roles import apply_roles
from casedb.tools import PostgresTools, ToolStoppedError


def drill(
    store: Store,
    label: str,
    *,
    tools: PostgresTools,
    scratch: Path | None = None,
    keys: Keys | None = None,
    with_access: bool = True,
    image: str | None = None,
    on_progress: OnProgress = unseen,
) -> DrillReport:
    """Restore the backup `label` into a throwaway cluster, compare everything, and record it.

    `tools` must be able to run a server of the backup's major version. `scratch` is the folder for
    the cluster and temporary files (default: the system's; of an encrypted backup memory, where it
    fits); both are gone afterwards. `keys` open an encrypted backup. `with_access` is whether the
    access matrix has to be tried; a database that it does not fit cannot pass with it. With
    `image`, the cluster runs in a container of it, and of `tools` only the client programs are
    needed.

    Raises:
        DifferenceError: it does not restore, or into something else; the failure is recorded.
        BackupDamagedError: its bytes are not those of its manifest.
        UnverifiedError: it could not be tried here, or not all of it; nothing is recorded.
        ConfigurationError: there is no such backup, or no Docker with that image.
    """
    database = database_named(label)
    began = time.monotonic()
    watch = Watch(on_progress)
    with ExitStack() as stack:
        unkept = stack.enter_context(store.lease(database, label))
        with watch.phase("verify", "checking the bytes"):
            checked = require_tools(store, database, label, tools, image)
            verify(store, label, tools=checked, keys=keys)
        manifest = full_manifest(store, read_manifest(store, database, label), keys)
        if not image:
            scratch = scratch or folder_in_memory(manifest)
        with watch.phase("initdb", "making a throwaway cluster"):
            admin = cluster(stack, tools, scratch, image)
        server_version = require_major(admin, manifest, image)
        require_extensions(admin, manifest)
        found, failure, unchecked = _try(
            store, manifest, admin, tools, scratch, keys, watch, with_access=with_access
        )
        differences = (failure,) if failure else found.differences
        if unchecked and not differences:
            # Neither passed nor failed; a drill before this one still says what it said.
            raise unchecked
        report = DrillReport(
            label=label,
            outcome="failed" if differences else "passed",
            at=datetime.now(UTC),
            duration_s=round(time.monotonic() - began, 3),
            phases_s=watch.seconds,
            tables=found.tables,
            rows=found.rows,
            sequences=found.sequences,
            catalog_rows=found.catalog_rows,
            large_objects=found.large_objects,
            tool_version=tool_version(),
            server_version=server_version,
            access_probed=with_access,
            differences=differences,
            notes=(*unkept, *found.notes),
        )
        report = write_record(store, database, report, manifest.recipients)
    if differences:
        raise different(f'backup "{label}" does not restore to what was dumped', differences)
    return report


def _try(
    store: Store,
    manifest: Manifest,
    admin: Conninfo,
    tools: PostgresTools,
    scratch: Path | None,
    keys: Keys | None,
    watch: Watch,
    *,
    with_access: bool,
) -> tuple[Comparison, str | None, UnverifiedError | None]:
    """Return what was compared, why the restore failed, and what could not be checked."""
    found = Comparison(0, 0, 0, 0, 0, (), ())
    restored = admin.replace(dbname=manifest.database)
    # Event triggers are there before the last session that loads begins.
    ours = unbound(restored, major=manifest.server_major)
    catalog = read_catalog(store, manifest, keys)
    try:
        with watch.phase("roles", "creating the roles"):
            load_roles(store, manifest, admin, keys)
        with watch.phase("restore", "restoring"):
            _restore(store, manifest, catalog, admin, ours, tools, scratch, keys, watch)
        with watch.phase("analyze", "gathering statistics"):
            analyze(ours)
        with (
            watch.phase("compare", "comparing"),
            connect(ours, purpose="drill") as connection,
        ):
            found = compare(
                connection,
                manifest,
                catalog,
                with_roles=True,
                on_progress=watch.on_progress,
            )
            unanchored = anchors.is_unanchored(connection, manifest)
            audited = anchors.check(
                connection, store, manifest, keys=keys, on_progress=watch.on_progress
            )
            found = dataclasses.replace(found, differences=(*found.differences, *audited))
        with watch.phase("probe", "logging in as each role"):
            probed = probe_access(restored, manifest, with_matrix=with_access)
        found = dataclasses.replace(
            found,
            differences=(*found.differences, *probed.differences),
            notes=(*found.notes, *probed.notes),
        )
        # They want what its migrations make; another application's database has none of it.
        if manifest.migration_head is not None:
            with watch.phase("access", "applying this version's roles to it"):
                apply_roles(ours)
    except (ServerUnreachableError, ToolFailedError) as error:
        if found.differences:
            # What is known to differ is not forgotten because the rest could not be looked at.
            note = f"not all was looked at: {error.message}"
            return dataclasses.replace(found, notes=(*found.notes, note)), None, None
        return found, _own_failure(error, admin), None
    if unanchored:
        return found, None, _unanchored(manifest.label)
    if probed.unchecked:
        return found, None, _access_unchecked(manifest.label, probed.unchecked)
    return found, None, None


def _own_failure(error: CasedbError, admin: Conninfo) -> str:
    """Return `error` as the backup's own.

    Raises:
        UnverifiedError: it is not the backup's.
    """
    if isinstance(error, ToolStoppedError):
        # By the kernel, say, when memory ran out: another attempt may well pass.
        raise could_not("a program was killed or cannot be run", error) from error
    lost = isinstance(error, ServerUnreachableError)
    if not lost and (cause := outer_cause(error)):
        raise could_not(cause, error) from error
    if lost or not answers(admin):
        raise could_not("the throwaway server went away", error) from error
    return " ".join(f"{error.message}: {error.detail or ''}".split())


def _restore(
    store: Store,
    manifest: Manifest,
    catalog: Sequence[Fact],
    admin: Conninfo,
    target: Conninfo,
    tools: PostgresTools,
    scratch: Path | None,
    keys: Keys | None,
    watch: Watch,
) -> None:
    if manifest.database == admin.dbname:
        # Empty, and made by initdb; its locale may be another one.
        raise could_not(f'a database of the name "{admin.dbname}" cannot be drilled')
    create_database(admin, manifest.properties, catalog, manifest.database)
    load_archive(
        store,
        manifest,
        target,
        tools,
        scratch=scratch,
        keys=keys,
        on_progress=watch.on_progress,
    )
    give_properties(target, manifest)


def _unanchored(label: str) -> UnverifiedError:
    return UnverifiedError(
        f'backup "{label}" restores, but its audit trail could not be checked',
        detail="The set keeps no heads of the chains, so what was cut off or computed anew would "
        "not show. The chains as they are now, and everything else, were looked at.",
        hint="Dump again and drill that one. If this version dumped it, somebody took them away: "
        "keep it for the inquiry.",
    )


def _access_unchecked(label: str, reason: str) -> UnverifiedError:
    return UnverifiedError(
        f'backup "{label}" restores, but who may do what in it could not be checked',
        detail=f"{reason[0].upper()}{reason[1:]}. Everything else is equal.",
        hint="Dump again when the database is at this version's migrations, drill with the version "
        "that dumped it, or leave that check out with --without-access.",
    )
