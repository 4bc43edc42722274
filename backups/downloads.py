"""A restore from afar that was interrupted goes on with its download, and with nothing else."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backups.contents import stored_facts
from backups.interrupts import add_way_out
from backups.manifest import DUMP, Manifest
from backups.stores.base import Store
from casedb.errors import BackupDamagedError, CasedbError

_MIB = 1 << 20


@contextmanager
def resumed(
    store: Store, manifest: Manifest, scratch: Path | None, spare_bytes: int = 0
) -> Iterator[tuple[Store, list[str]]]:
    """Yield the store to read `manifest`'s backup from, and notes for the report.

    Where `scratch` (default: the system's folder for temporary files) has too little room for the
    download and the archive, besides `spare_bytes` for what else is to be written there, nothing is
    kept. An error tells what is.
    """
    folder = scratch or Path(tempfile.gettempdir())
    with store.resuming(manifest.label, folder) as found:
        # As much as unpacking wants, so that keeping the download never costs a restore its room.
        need = manifest.size_bytes + 2 * (stored_facts(manifest, DUMP).raw_size_bytes or 0)
        need += spare_bytes
        if shutil.disk_usage(folder).free + found.found_bytes <= need:
            yield store, []
            return
        had = f"{found.found_bytes / _MIB:.1f} MiB of the download were there from an earlier run"
        try:
            yield found.store, [had] if found.found_bytes else []
        except (CasedbError, KeyboardInterrupt) as error:
            if found.kept_bytes() and not isinstance(error, BackupDamagedError):
                add_way_out(error, f"What was downloaded is kept in {folder}: run it again.")
            raise
