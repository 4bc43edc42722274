"""`casedb host`, `tune` and `rehearse` where there is no host at all."""

from pathlib import Path
from typing import TYPE_CHECKING

from tests.cli.test_failures import one_error

if TYPE_CHECKING:
    from tests.cli.conftest import Casedb

INVENTORIES = Path(__file__).parents[2] / "inventories"


def test_without_docker_the_rehearsal_says_how_to_get_it(casedb: "Casedb") -> None:
    for verb in ("up", "status", "down"):
        result = casedb("rehearse", verb, DOCKER_HOST="unix:///nowhere/docker.sock")
        assert "docker.io" in one_error(result, 3)


def test_an_inventory_that_is_not_there_is_named(casedb: "Casedb") -> None:
    assert "nowhere.py" in one_error(casedb("host", "plan", "nowhere.py"), 3)


def test_an_inventory_without_a_host_is_an_error_and_not_well(casedb: "Casedb") -> None:
    for verb in ("plan", "drift", "check"):
        one_error(casedb("host", verb, str(INVENTORIES / "staging.py")), 3)


def test_the_example_inventories_can_be_read(casedb: "Casedb") -> None:
    for path in sorted(INVENTORIES.glob("*.py")):
        # local is this machine; nothing is to be done to it here.
        if path.stem != "local":
            one_error(casedb("host", "plan", str(path), "--json"), 3)


def test_a_host_that_cannot_be_reached_is_code_4_and_in_the_result(casedb: "Casedb") -> None:
    inventory = casedb.folder / "gone.py"
    inventory.write_text('gone = [("db1", {"ssh_hostname": "127.0.0.1", "ssh_port": 1})]\n')

    for verb in (["plan"], ["drift"], ["apply", "--yes"], ["check"]):
        result = casedb("host", verb[0], "gone.py", "--json", *verb[1:])
        assert result.code in (4, 5)
        (host,) = result.json["hosts"]
        assert host["host"] == "db1"
        assert host["error"].startswith("unreachable")


def test_an_inventory_with_a_mistake_in_it_is_an_error_with_its_reason(casedb: "Casedb") -> None:
    (casedb.folder / "bad.py").write_text("bad = [1/0]\n")

    result = casedb("host", "plan", "bad.py")

    assert result.code != 0
    assert "division by zero" in result.err


def test_tune_tells_the_plans_preset_as_lines_of_a_configuration(casedb: "Casedb") -> None:
    result = casedb("tune", "--preset", "phase0", "--conf")

    assert result.code == 0
    assert "shared_buffers = '256MB'" in result.out


def test_tune_names_what_differs_from_pgtune(casedb: "Casedb") -> None:
    answer = casedb("tune", "--memory", "16GB", "--cpus", "4", "--json").json

    values = {s["name"]: s["value"] for s in answer["settings"]}
    assert values["work_mem"] == "13797kB"
    assert answer["worst_case_bytes"] > 4 * 1024**3


def test_tune_says_how_many_huge_pages_the_kernel_has_to_reserve(casedb: "Casedb") -> None:
    large = ("tune", "--memory", "16GB", "--cpus", "4")
    small = ("tune", "--memory", "4GB", "--cpus", "4")

    # 4 GB of shared_buffers and what comes on top, in pages of 2 MB.
    assert 2048 < casedb(*large, "--json").json["nr_hugepages"] < 2300
    assert "vm.nr_hugepages = " in casedb(*large).out
    assert casedb(*small, "--json").json["nr_hugepages"] == 0
    assert "vm.nr_hugepages" not in casedb(*small).out


def test_tune_refuses_a_machine_that_is_too_small(casedb: "Casedb") -> None:
    assert "256MB" in casedb("tune", "--memory", "100MB").err
    assert casedb("tune", "--memory", "100MB").code == 2
