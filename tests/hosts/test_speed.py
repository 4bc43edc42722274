"""A converged run is quick, and plain pyinfra runs the same deploy."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.hosts.conftest import Rehearsal

ROOT = Path(__file__).parents[2]
INVENTORY = ROOT / "inventories" / "containers.py"
pytestmark = pytest.mark.hosts


def pyinfra(rehearsal: "Rehearsal", deploy: Path) -> tuple[float, Any]:
    """Run plain pyinfra on all hosts; return the seconds and its answer."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pyinfra", str(INVENTORY), str(deploy), "-y", "--json"],
        cwd=rehearsal.folder, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return time.monotonic() - began, json.loads(done.stdout)


def test_plain_pyinfra_runs_the_same_and_finds_nothing_to_do(
    rehearsal: "Rehearsal", proof: dict[str, Any]
) -> None:
    _seconds, found = pyinfra(rehearsal, ROOT / "deploy" / "run.py")

    totals = found["results"]["totals"]
    assert (totals["success"], totals["error"]) == (0, 0)
    assert totals["no_change"] > 30
    assert found["results"]["failed_hosts"] == []


def test_a_converged_run_takes_no_more_than_5_seconds_longer_than_an_empty_deploy(
    rehearsal: "Rehearsal", proof: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = rehearsal.folder / "nothing.py"
    nothing.write_text("")

    # The best of three, one after the other: the machine under test has other things to do.
    empty, converged, commands = [], [], set()
    for _round in range(3):
        empty.append(pyinfra(rehearsal, nothing)[0])
        began = time.monotonic()
        code, found = rehearsal.host("apply", "--yes")
        converged.append(time.monotonic() - began)
        assert code == 0
        commands |= {host["commands"] for host in found["hosts"]}

    with capsys.disabled():
        print(
            f"\nconverged run over both hosts {min(converged):.1f} s, pyinfra's empty deploy "
            f"{min(empty):.1f} s; remote commands for each host: {sorted(commands)}"
        )
    # One to gather for the plan; one more if that took so long that it is asked again.
    assert commands <= {1, 2}
    assert min(converged) - min(empty) < 5
