"""What pgtune would say: the yardstick that our own settings are compared with.

The formulas are those of https://github.com/le0pard/pgtune (src/features/configuration), in kB and
rounded down as there, for Linux and a database about as large as the memory.
"""

from deploy.machine import Disk, Machine
from deploy.sizes import GB, KB, MB, format_size

CONNECTIONS = {"web": 200, "oltp": 300, "dw": 40, "desktop": 20, "mixed": 100}
WAL_SIZES = {
    "web": (1 * GB, 4 * GB),
    "oltp": (2 * GB, 8 * GB),
    "dw": (4 * GB, 16 * GB),
    "mixed": (1 * GB, 4 * GB),
    "desktop": (100 * MB, 2 * GB),
}
IO_CONCURRENCY = {Disk.HDD: 2, Disk.SSD: 200, Disk.SAN: 300, Disk.NVME: 1000}
# What pgtune divides by when it leaves max_worker_processes out: PostgreSQL's default.
DEFAULT_WORKERS = 8


def shared_buffers(memory_bytes: int, workload: str) -> int:
    """Return bytes: a quarter of the memory, a sixteenth on a desktop."""
    return memory_bytes // (16 if workload == "desktop" else 4)


def maintenance_work_mem(memory_bytes: int, workload: str) -> int:
    """Return bytes: a sixteenth of the memory (dw: an eighth), 8 GB at most."""
    return min(memory_bytes // (8 if workload == "dw" else 16), 8 * GB)


def wal_buffers(shared_buffers_bytes: int) -> int:
    """Return bytes: 3 % of shared_buffers, 32 kB to 16 MB, and 16 MB from 14 MB on."""
    found = 3 * (shared_buffers_bytes // KB) // 100 * KB
    if found > 14 * MB:
        return 16 * MB
    return max(found, 32 * KB)


def work_mem(memory_bytes: int, workload: str, connections: int, workers: int) -> int:
    """Return bytes: what shared_buffers leaves, over three times the connections and workers."""
    left_kb = (memory_bytes - shared_buffers(memory_bytes, workload)) // KB
    share = left_kb // ((connections + workers) * 3)
    share //= {"dw": 2, "mixed": 2, "desktop": 6}.get(workload, 1)
    return max(share, 4 * MB // KB) * KB


def workers(cpus: int) -> int:
    """Return max_worker_processes: one a core from four cores on, else PostgreSQL's default."""
    return cpus if cpus >= 4 else DEFAULT_WORKERS


def per_gather(cpus: int, workload: str) -> int:
    """Return max_parallel_workers_per_gather: half of the cores, 4 at most except for dw."""
    half = -(-cpus // 2)
    return half if workload == "dw" else min(half, 4)


def pgtune(machine: Machine, workload: str, connections: int | None = None) -> dict[str, str]:
    """Return pgtune's settings for `machine`, as it writes them. It sees no cgroup limit."""
    memory = machine.memory_bytes
    most = connections or CONNECTIONS[workload]
    buffers = shared_buffers(memory, workload)
    maintenance = maintenance_work_mem(memory, workload)
    low, high = WAL_SIZES[workload]
    found = {
        "max_connections": str(most),
        "shared_buffers": format_size(buffers),
        "effective_cache_size": format_size(memory // 4 * (1 if workload == "desktop" else 3)),
        "maintenance_work_mem": format_size(maintenance),
        "checkpoint_completion_target": "0.9",
        "wal_buffers": format_size(wal_buffers(buffers)),
        "default_statistics_target": "500" if workload == "dw" else "100",
        "random_page_cost": "4" if machine.disk is Disk.HDD or workload == "dw" else "1.1",
        "effective_io_concurrency": str(IO_CONCURRENCY[machine.disk]),
        "work_mem": format_size(work_mem(memory, workload, most, workers(machine.cpus))),
        "huge_pages": "try" if buffers >= 2 * GB else "off",
        "min_wal_size": format_size(low),
        "max_wal_size": format_size(high),
        "wal_compression": "lz4",
    }
    if maintenance >= 2 * GB:
        found["autovacuum_work_mem"] = "2GB"
    if workload in ("web", "oltp", "mixed"):
        found["jit"] = "off"
    if machine.pg_major >= 18:
        found["io_method"] = "io_uring"
    if machine.cpus >= 4:
        found |= {
            "max_worker_processes": str(machine.cpus),
            "max_parallel_workers": str(machine.cpus),
            "max_parallel_workers_per_gather": str(per_gather(machine.cpus, workload)),
            "max_parallel_maintenance_workers": str(min(4, -(-machine.cpus // 2))),
        }
    if machine.cpus >= 16:
        found["autovacuum_max_workers"] = "5" if machine.cpus >= 32 else "4"
    if workload == "desktop":
        found |= {"wal_level": "minimal", "max_wal_senders": "0"}
    return found
