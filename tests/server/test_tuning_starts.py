"""Whatever tuning says, a server starts with it: really, where the test machine is large enough."""

import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from casedb import cluster
from casedb.tools import PostgresTools
from casedb.unprivileged import Launcher, launcher
from deploy.kernel import huge_pages
from deploy.machine import Disk, Machine, local_facts
from deploy.remote.preflight import too_large
from deploy.sizes import GB, MB
from deploy.tuning import Workload, tune

LARGEST = 512 * GB
# TUNING_EXAMPLES=200 looks closer.
EXAMPLES = int(os.environ.get("TUNING_EXAMPLES", "12"))
WITHIN_REACH = local_facts()["memory_bytes"] // 2


class Scratch:
    """One data directory, in which servers with other settings are started one after the other."""

    def __init__(self, tools: PostgresTools, home: Path, run_as: Launcher) -> None:
        self.tools, self.home, self.run_as = tools, home, run_as
        self.data = home / "data"

    def start(self, values: dict[str, str]) -> None:
        chosen = cluster.Settings(
            socket_dir=self.home, port=5432, listen_addresses="", server=values
        )
        cluster.configure(self.data, chosen, launcher=self.run_as)
        log = self.home / "server.log"
        cluster.start(self.tools, self.data, log=log, launcher=self.run_as)
        cluster.stop(self.data)

    @cached_property
    def has_lz4(self) -> bool:
        """Whether these programs were built with lz4, which the embedded ones are not."""
        return self._asked("wal_compression", {"wal_compression": "lz4"}).returncode == 0

    def asked(self, name: str, values: dict[str, str]) -> int:
        """Return what the server computes of `values` without starting."""
        done = self._asked(name, values)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def _asked(self, name: str, values: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        words = [word for key, value in values.items() for word in ("-c", f"{key}={value}")]
        argv = [*self.run_as.prefix, self.tools["postgres"], "-D", str(self.data), *words]
        return subprocess.run(
            [*argv, "-C", name], capture_output=True, text=True, check=False, cwd="/"
        )


@pytest.fixture(scope="module")
def scratch(tools: PostgresTools) -> Iterator[Scratch]:
    run_as = launcher()
    home = Path(tempfile.mkdtemp(prefix="casedb-tuning-"))
    try:
        run_as.give(home)
        usable = run_as.reachable_tools(tools, home)
        cluster.create(
            usable, home / "data", launcher=run_as, superuser="postgres", password=None,
            durable=False,
        )  # fmt: skip
        yield Scratch(usable, home, run_as)
    finally:
        shutil.rmtree(home, ignore_errors=True)


# As many small machines as large ones.
sizes = st.floats(math.log2(256 * MB), math.log2(LARGEST)).map(lambda bits: int(2**bits))
disks, workloads = st.sampled_from(Disk), st.sampled_from(Workload)
cores, wal_disk = st.integers(1, 128), st.none() | st.integers(1 * GB, 4096 * GB)


def tuned(
    scratch: Scratch, memory: int, cpus: int, disk: Disk, wal_disk: int | None, workload: Workload
) -> dict[str, str]:
    machine = Machine(
        memory,
        cpus,
        disk,
        wal_disk_bytes=wal_disk,
        pg_major=scratch.tools.major,
        has_lz4=scratch.has_lz4,
    )
    return tune(machine, workload).values


def looking(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
        phases=[Phase.explicit, Phase.generate],
    )


@looking(EXAMPLES)
@given(
    memory=sizes.filter(lambda size: size <= WITHIN_REACH),
    cpus=cores,
    disk=disks,
    wal_disk=wal_disk,
    workload=workloads,
)
def test_a_server_starts_with_what_tuning_says(
    scratch: Scratch, memory: int, cpus: int, disk: Disk, wal_disk: int | None, workload: Workload
) -> None:
    # Fails with the end of the server's log if it does not.
    scratch.start(tuned(scratch, memory, cpus, disk, wal_disk, workload))


@looking(EXAMPLES * 4)
@given(memory=sizes, cpus=cores, disk=disks, wal_disk=wal_disk, workload=workloads)
def test_on_every_machine_the_gate_lets_it_pass_and_the_huge_pages_suffice(
    scratch: Scratch, memory: int, cpus: int, disk: Disk, wal_disk: int | None, workload: Workload
) -> None:
    values = tuned(scratch, memory, cpus, disk, wal_disk, workload)

    shared = scratch.asked("shared_memory_size", values) * MB
    pages = scratch.asked("shared_memory_size_in_huge_pages", values)

    assert too_large(shared, memory) == ""
    reserved = huge_pages(values, page_bytes=2 * MB)
    if values["huge_pages"] == "try":
        # Enough of them, and no more than a twentieth too many.
        assert pages <= reserved <= pages * 1.05
    else:
        assert reserved == 0


def test_the_gate_refuses_what_does_not_fit(scratch: Scratch) -> None:
    shared = scratch.asked("shared_memory_size", {"shared_buffers": "3GB"}) * MB

    assert "does not fit into 2048 MB" in too_large(shared, 2 * GB)
