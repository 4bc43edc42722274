"""Where an encrypted backup is restored for a while: in memory, if it fits, and not on a disk."""

import os
import shutil
from pathlib import Path

import psutil

from backups.manifest import Manifest
from casedb.throwaway import sweep_throwaways

_MEMORY_DISK = Path("/dev/shm")
# A loaded database is rarely larger than the one that was dumped, which may have been bloated;
# beside it lie PostgreSQL's own tables, its log of changes, and what sorts and index builds spill.
_TIMES = 2
_BESIDE_BYTES = 1 << 30
# Others on the machine want memory too, and a service of ours may have half of it.
_SHARE = 4


def folder_in_memory(manifest: Manifest) -> Path | None:
    """Return a folder in memory for a throwaway cluster of an encrypted backup, if it fits there.

    None means the system's folder for temporary files: of a backup that is not encrypted, of one
    that is too large, and where there is no such folder or no program may run in it.
    """
    if not manifest.recipients or not _is_usable(_MEMORY_DISK):
        return None
    # What a killed drill left there would take the room of this one.
    sweep_throwaways(_MEMORY_DISK)
    free = shutil.disk_usage(_MEMORY_DISK).free
    available = psutil.virtual_memory().available
    need = needed_bytes(manifest.database_size_bytes)
    return _MEMORY_DISK if fits(need, free_bytes=free, available_bytes=available) else None


def needed_bytes(database_size_bytes: int) -> int:
    """Return how much room a throwaway cluster with a database of that size may take.

    >>> needed_bytes(1 << 30) / (1 << 30)
    3.0
    """
    return _TIMES * database_size_bytes + _BESIDE_BYTES


def fits(needed: int, *, free_bytes: int, available_bytes: int) -> bool:
    """Return whether so much can be had of memory without keeping it from others.

    >>> fits(2 << 30, free_bytes=8 << 30, available_bytes=16 << 30)
    True
    >>> fits(5 << 30, free_bytes=8 << 30, available_bytes=16 << 30)
    False
    >>> fits(2 << 30, free_bytes=64 << 20, available_bytes=16 << 30)
    False
    """
    return needed <= free_bytes and needed <= available_bytes // _SHARE


def _is_usable(folder: Path) -> bool:
    # A copy of the programs may have to lie beside the cluster, for a user who cannot read ours.
    return os.access(folder, os.W_OK | os.X_OK) and not os.statvfs(folder).f_flag & os.ST_NOEXEC
