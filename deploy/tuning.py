"""Settings for a machine, each with its reason. Pure: facts in, settings out.

The formulas start from pgtune's, which most people expect; where we differ, the difference and its
reason are part of the answer. Three things pgtune does not do: it does not see the limit of a
control group, not how much disk is left for the WAL, and not whether a small machine could carry
its connections.
"""

from dataclasses import dataclass
from enum import StrEnum

from deploy import pgtune as reference
from deploy.machine import Disk, Machine
from deploy.sizes import GB, KB, MB, format_size, parse_size

MINIMUM_MEMORY_BYTES = 256 * MB
"""Below this there is no sensible setting; nothing is promised."""

_PGTUNE = "https://github.com/le0pard/pgtune"
_DOCS = "https://www.postgresql.org/docs/current/"
_RESOURCES = f"{_DOCS}runtime-config-resource.html"
_WAL = f"{_DOCS}runtime-config-wal.html"
_QUERY = f"{_DOCS}runtime-config-query.html"
_PLAN = "the customer's plan, section 4"

# A backend's own memory beside work_mem: caches of catalog and plans, measured 5 to 10 MB.
_BACKEND_BYTES = 10 * MB
_FEWEST_CONNECTIONS = 20
# hash_mem_multiplier's default since PostgreSQL 15: a hash may take twice work_mem.
_HASH_MULTIPLIER = 2
# PostgreSQL refuses less than two WAL segments (2 x 16 MB).
_LEAST_WAL_BYTES = 80 * MB


class Workload(StrEnum):
    """What the server mostly does."""

    OLTP = "oltp"
    WEB = "web"
    MIXED = "mixed"
    DW = "dw"


@dataclass(frozen=True)
class Setting:
    """One line of postgresql.conf and why it is there."""

    name: str
    value: str
    reason: str
    formula: str
    source: str
    pgtune: str | None = None
    """What pgtune says; None: nothing."""

    @property
    def differs(self) -> bool:
        """Whether pgtune says something else."""
        return self.pgtune != self.value


@dataclass(frozen=True)
class Tuning:
    """The settings of one machine, and what they may cost."""

    settings: tuple[Setting, ...]
    worst_case_bytes: int
    """Shared memory and every process at its most, all at the same time."""
    usable_bytes: int

    def __getitem__(self, name: str) -> str:
        """Return the value of one setting."""
        return self.values[name]

    @property
    def values(self) -> dict[str, str]:
        """The settings' names and values."""
        return {setting.name: setting.value for setting in self.settings}


def tune(
    machine: Machine, workload: Workload = Workload.OLTP, *, connections: int | None = None
) -> Tuning:
    """Return the settings for `machine`.

    `connections` replaces the workload's usual number; it is taken as it is, never cut.

    Raises:
        ValueError: less than 256 MB of memory, or a number of connections below 10.
    """
    memory = machine.usable_bytes
    if memory < MINIMUM_MEMORY_BYTES:
        raise ValueError(f"{format_size(memory)} of memory are too few; the least is 256MB")
    if connections is not None and connections < 10:
        raise ValueError("fewer than 10 connections leave none beside the reserved ones")
    theirs = reference.pgtune(machine, workload.value, connections)
    most = connections or _connections(memory, workload)
    buffers = reference.shared_buffers(memory, workload.value) // (8 * KB) * (8 * KB)
    maintenance = reference.maintenance_work_mem(memory, workload.value)
    vacuum = _vacuum_memory(machine, maintenance)
    workers = reference.workers(machine.cpus)
    share = reference.work_mem(memory, workload.value, most, workers)
    low, high = _wal_sizes(machine, workload)
    chosen: list[tuple[str, str, str, str, str]] = [
        (
            "max_connections",
            str(most),
            "each connection is a process; more of them are the pooler's business",
            f"usual for {workload.value}, but at most 3/4 of the memory / 10 MB each"
            if connections is None
            else "as asked",
            _PGTUNE,
        ),
        (
            "shared_buffers",
            format_size(buffers),
            "PostgreSQL's own cache; the kernel caches the same files once more",
            "memory / 4",
            _RESOURCES,
        ),
        (
            "effective_cache_size",
            format_size(memory // 4 * 3),
            "what the planner may hope to find cached, by us or by the kernel; allocates nothing",
            "memory * 3/4",
            _QUERY,
        ),
        (
            "maintenance_work_mem",
            format_size(maintenance),
            "index builds and restores; few run at the same time",
            "memory / 8, at most 8 GB" if workload is Workload.DW else "memory / 16, at most 8 GB",
            _PGTUNE,
        ),
        (
            "autovacuum_work_mem",
            format_size(vacuum),
            "each autovacuum worker takes this much; before 17 it can use 1 GB at most",
            "maintenance_work_mem, at most memory / 8 / workers and 1 GB (17: 2 GB)",
            _RESOURCES,
        ),
        (
            "work_mem",
            format_size(share),
            "one sort or hash of one query may take this much, and a query may have several",
            "(memory - shared_buffers) / (3 * (max_connections + max_worker_processes))",
            _PGTUNE,
        ),
        (
            "checkpoint_completion_target",
            "0.9",
            "spreads a checkpoint's writes over the time until the next",
            "constant",
            _WAL,
        ),
        (
            "wal_buffers",
            format_size(reference.wal_buffers(buffers)),
            "WAL not yet written; more than one segment is of no use",
            "3 % of shared_buffers, 32 kB to 16 MB",
            _WAL,
        ),
        (
            "min_wal_size",
            format_size(low),
            "WAL files kept for reuse rather than made anew",
            "usual for the workload, at most half of max_wal_size",
            _WAL,
        ),
        (
            "max_wal_size",
            format_size(high),
            "a checkpoint comes when this much WAL has been written; it must fit on the disk",
            "usual for the workload, at most a tenth of the disk",
            _WAL,
        ),
        (
            "default_statistics_target",
            "500" if workload is Workload.DW else "100",
            "how closely the planner knows the data",
            "500 for dw, else 100",
            _QUERY,
        ),
        (
            "random_page_cost",
            "4" if machine.disk is Disk.HDD or workload is Workload.DW else "1.1",
            "a read at a random place costs little more than the next, except on a turning disk",
            "hdd or dw: 4, else 1.1",
            _QUERY,
        ),
        (
            "effective_io_concurrency",
            str(reference.IO_CONCURRENCY[machine.disk]),
            "how many reads the disk serves at once",
            "hdd 2, ssd 200, san 300, nvme 1000",
            _PGTUNE,
        ),
        (
            "huge_pages",
            "try" if buffers >= 2 * GB else "off",
            "fewer page table entries; try, never on: a server without them must still start",
            "try from 2 GB of shared_buffers on",
            _RESOURCES,
        ),
        (
            "wal_compression",
            "lz4" if machine.has_lz4 else "on",
            "full pages in the WAL shrink at little cost",
            "lz4 where the server was built with it",
            _WAL,
        ),
    ]
    if workload is not Workload.DW:
        chosen.append(
            ("jit", "off", "compiling costs short queries more than it saves", "not dw", _QUERY)
        )
    if machine.pg_major >= 18:
        chosen.append(
            (
                "io_method",
                "worker",
                "io_uring does not start under a small RLIMIT_MEMLOCK, which is what systemd gives",
                "constant",
                _RESOURCES,
            )
        )
    chosen += _parallelism(machine, workload)
    settings = tuple(Setting(*row, pgtune=theirs.get(row[0])) for row in chosen)
    values = {setting.name: setting.value for setting in settings}
    return Tuning(settings, worst_case(values), memory)


def phase0() -> Tuning:
    """Return the six values of the customer's plan, as they stand there.

    They suit a machine of about 1 GB; on a larger one `tune` does better.
    """
    values = {
        "shared_buffers": "256MB",
        "effective_cache_size": "1GB",
        "maintenance_work_mem": "64MB",
        "checkpoint_completion_target": "0.9",
        "wal_buffers": "16MB",
        "default_statistics_target": "100",
    }
    settings = tuple(
        Setting(k, v, "as the plan says", "constant", _PLAN) for k, v in values.items()
    )
    return Tuning(settings, worst_case(values), 1 * GB)


def worst_case(values: dict[str, str]) -> int:
    """Return the bytes that a server with `values` takes when all processes are at their most.

    Every connection runs one hash (twice work_mem), every parallel worker too, every autovacuum
    worker vacuums a large table, and somebody builds an index.
    """
    defaults = {
        "max_connections": "100",
        "shared_buffers": "128MB",
        "work_mem": "4MB",
        "maintenance_work_mem": "64MB",
        "wal_buffers": "4MB",
        "max_parallel_workers": "8",
        "autovacuum_max_workers": "3",
    }
    held = {**defaults, **values}
    vacuum = held.get("autovacuum_work_mem", held["maintenance_work_mem"])
    processes = int(held["max_connections"]) + int(held["max_parallel_workers"])
    return (
        parse_size(held["shared_buffers"])
        + parse_size(held["wal_buffers"])
        + processes * (_BACKEND_BYTES + _HASH_MULTIPLIER * parse_size(held["work_mem"]))
        + int(held["autovacuum_max_workers"]) * parse_size(vacuum)
        + parse_size(held["maintenance_work_mem"])
    )


def as_conf(tuning: Tuning) -> str:
    """Return the settings as lines of postgresql.conf, each under its reason."""
    lines = []
    for setting in tuning.settings:
        lines.append(f"# {setting.reason} ({setting.formula})")
        lines.append(f"{setting.name} = '{setting.value}'")
    return "\n".join(lines) + "\n"


def _connections(memory: int, workload: Workload) -> int:
    carried = memory * 3 // 4 // _BACKEND_BYTES
    return max(_FEWEST_CONNECTIONS, min(reference.CONNECTIONS[workload.value], carried))


def _vacuum_memory(machine: Machine, maintenance: int) -> int:
    workers = 5 if machine.cpus >= 32 else 4 if machine.cpus >= 16 else 3
    share = machine.usable_bytes // 8 // workers // MB * MB
    # Before 17 a vacuum cannot use more than 1 GB for dead rows, however much it is given.
    return min(maintenance, share, (2 if machine.pg_major >= 17 else 1) * GB)


def _wal_sizes(machine: Machine, workload: Workload) -> tuple[int, int]:
    low, high = reference.WAL_SIZES[workload.value]
    if machine.wal_disk_bytes is not None:
        # No hard limit: a busy server may pass it by half before the checkpoint ends.
        fits = max(machine.wal_disk_bytes // 10 // (16 * MB) * (16 * MB), _LEAST_WAL_BYTES)
        high = min(high, fits)
        low = min(low, max(high // 2 // (16 * MB) * (16 * MB), 32 * MB))
    return low, high


def _parallelism(machine: Machine, workload: Workload) -> list[tuple[str, str, str, str, str]]:
    found = []
    if machine.cpus >= 4:
        per_gather = reference.per_gather(machine.cpus, workload.value)
        at_once = min(4, -(-machine.cpus // 2))
        found = [
            (
                "max_worker_processes",
                str(machine.cpus),
                "no more processes at work than cores",
                "cores",
                _PGTUNE,
            ),
            (
                "max_parallel_workers",
                str(machine.cpus),
                "all of them may help queries",
                "cores",
                _PGTUNE,
            ),
            (
                "max_parallel_workers_per_gather",
                str(per_gather),
                "one query leaves cores to the others",
                "cores / 2, at most 4 except for dw",
                _PGTUNE,
            ),
            (
                "max_parallel_maintenance_workers",
                str(at_once),
                "an index build leaves cores to the queries",
                "cores / 2, at most 4",
                _PGTUNE,
            ),
        ]
    if machine.cpus >= 16:
        found.append(
            (
                "autovacuum_max_workers",
                "5" if machine.cpus >= 32 else "4",
                "many cores write many tables",
                "16 cores 4, 32 cores 5",
                _PGTUNE,
            )
        )
    return found
