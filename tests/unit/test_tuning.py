"""Tuning: pgtune's numbers as literals, the plan's preset, and what must hold for every machine."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.machine import Disk, Machine, cgroup_limit
from deploy.pgtune import pgtune
from deploy.sizes import GB, KB, MB, format_size, parse_size
from deploy.tuning import Workload, as_conf, phase0, tune, worst_case

SIXTEEN = Machine(16 * GB, 4, Disk.SSD)

machines = st.builds(
    Machine,
    memory_bytes=st.integers(256 * MB, 512 * GB),
    cpus=st.integers(1, 256),
    disk=st.sampled_from(Disk),
    wal_disk_bytes=st.none() | st.integers(1 * GB, 4096 * GB),
    pg_major=st.integers(15, 18),
    has_lz4=st.booleans(),
)


@pytest.mark.parametrize(
    ("workload", "work_mem_kb", "connections"),
    [
        ("web", 20560, 200),
        ("oltp", 13797, 300),
        ("dw", 47662, 40),
        ("mixed", 20164, 100),
        ("desktop", 36408, 20),
    ],
)
def test_the_yardstick_gives_pgtunes_own_numbers(
    workload: str, work_mem_kb: int, connections: int
) -> None:
    found = pgtune(SIXTEEN, workload)

    assert found["work_mem"] == f"{work_mem_kb}kB"
    assert found["max_connections"] == str(connections)
    assert found["shared_buffers"] == ("1GB" if workload == "desktop" else "4GB")
    assert found["effective_cache_size"] == ("4GB" if workload == "desktop" else "12GB")
    assert found["wal_buffers"] == "16MB"
    assert found["maintenance_work_mem"] == ("2GB" if workload == "dw" else "1GB")


def test_ours_on_a_usual_machine_is_pgtunes_but_for_the_named_differences() -> None:
    found = tune(SIXTEEN, Workload.OLTP)

    assert found["work_mem"] == "13797kB"
    assert {s.name for s in found.settings if s.differs} == {"autovacuum_work_mem"}
    assert set(pgtune(SIXTEEN, "oltp")) <= set(found.values)


def test_io_uring_is_never_chosen() -> None:
    machine = Machine(16 * GB, 4, pg_major=18)

    assert tune(machine)["io_method"] == "worker"
    assert pgtune(machine, "oltp")["io_method"] == "io_uring"


def test_the_preset_is_the_six_values_of_the_plan() -> None:
    assert phase0().values == {
        "shared_buffers": "256MB",
        "effective_cache_size": "1GB",
        "maintenance_work_mem": "64MB",
        "checkpoint_completion_target": "0.9",
        "wal_buffers": "16MB",
        "default_statistics_target": "100",
    }


def test_a_control_groups_limit_counts_and_not_the_machine_around_it() -> None:
    contained = Machine(512 * GB, 4, memory_limit_bytes=16 * GB)

    assert tune(contained).values == tune(Machine(16 * GB, 4)).values
    assert tune(contained)["shared_buffers"] == "4GB"


def test_the_wal_stays_on_a_small_disk() -> None:
    small = Machine(16 * GB, 4, wal_disk_bytes=20 * GB)

    assert parse_size(tune(small)["max_wal_size"]) == 2 * GB
    assert parse_size(tune(small)["min_wal_size"]) == 1 * GB


def test_a_small_machine_gets_only_the_connections_it_can_carry() -> None:
    assert tune(Machine(256 * MB, 1))["max_connections"] == "20"
    assert tune(Machine(1 * GB, 1))["max_connections"] == "76"
    assert tune(Machine(1 * GB, 1), connections=150)["max_connections"] == "150"


@given(machines, st.sampled_from(Workload))
def test_on_every_machine_the_settings_are_ones_that_postgresql_takes(
    machine: Machine, workload: Workload
) -> None:
    found = tune(machine, workload)

    sizes = {k: parse_size(v) for k, v in found.values.items() if v.endswith("B")}
    assert 128 * KB <= sizes["shared_buffers"] <= machine.memory_bytes // 4
    assert sizes["shared_buffers"] % (8 * KB) == 0
    assert sizes["min_wal_size"] >= 32 * MB
    assert sizes["min_wal_size"] <= sizes["max_wal_size"]
    if machine.wal_disk_bytes is not None:
        assert sizes["max_wal_size"] <= max(machine.wal_disk_bytes // 10, 80 * MB)
    # The upper limits of guc_tables.c.
    assert sizes["work_mem"] <= (2**31 - 1) * KB
    assert 64 * KB <= sizes["maintenance_work_mem"] <= (2**31 - 1) * KB
    assert 20 <= int(found["max_connections"]) <= 300
    # One connection is always able to work: everything but the connections fits.
    idle = worst_case({**found.values, "max_connections": "1", "max_parallel_workers": "0"})
    assert idle < machine.usable_bytes
    assert len({s.name for s in found.settings}) == len(found.settings)
    assert all(s.reason and s.formula and s.source for s in found.settings)


def test_too_little_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="256MB"):
        tune(Machine(255 * MB, 1))


def test_the_lines_of_the_configuration_carry_their_reasons() -> None:
    text = as_conf(phase0())

    assert "shared_buffers = '256MB'\n" in text
    assert text.count("\n# ") + text.startswith("# ") == 6


@given(st.integers(0, 2**40).map(lambda n: n // KB * KB))
def test_a_size_is_read_as_it_was_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["16", "GB", "-1GB", "16 apples", ""])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        parse_size(text)


def _write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_a_limit_of_the_group_above_counts(tmp_path: Path) -> None:
    _write(tmp_path, "proc/self/cgroup", "0::/system.slice/postgresql.service\n")
    _write(tmp_path, "sys/fs/cgroup/system.slice/postgresql.service/memory.max", "max\n")
    _write(tmp_path, "sys/fs/cgroup/system.slice/memory.max", f"{4 * GB}\n")

    assert cgroup_limit(tmp_path) == 4 * GB


def test_the_older_control_groups_say_no_limit_with_a_huge_number(tmp_path: Path) -> None:
    _write(tmp_path, "proc/self/cgroup", "3:cpu:/a\n5:memory:/docker/1\n")
    _write(tmp_path, "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", f"{2 * GB}\n")
    _write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")

    assert cgroup_limit(tmp_path) == 2 * GB
    (tmp_path / "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes").unlink()
    assert cgroup_limit(tmp_path) is None
