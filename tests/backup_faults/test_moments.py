"""A dump killed at any moment, wherever that may be. FAULT_REPEATS=20 tries more of them."""

import os
import random
import signal
import time

import pytest

from tests.backup_faults.site import Site, wait
from tests.matrix.table import leave_row

REPEATS = int(os.environ.get("FAULT_REPEATS", "2"))


@pytest.mark.parametrize("fault", ["SIGKILL", "SIGTERM"])
def test_a_dump_killed_at_any_moment_leaves_whole_backups_only(
    site: Site, request: pytest.FixtureRequest, fault: str
) -> None:
    began = time.monotonic()
    code, printed = site.run("dump")
    assert code == 0, printed
    whole_s = time.monotonic() - began
    moments: list[float] = []
    complete = 0

    # Some end before their signal comes, which proves nothing: others are tried for them.
    for _ in range(5 * REPEATS):
        if len(moments) == REPEATS:
            break
        moment = random.uniform(0.2, 1.0) * whole_s
        before = set(site.labels())
        process = site.start("nowhere", "dump")
        time.sleep(moment)
        process.send_signal(signal.Signals[fault])
        code, printed = wait(process)
        site.wait_for_gone("casedb dump")
        # 0: it was quicker this time.
        wanted = {-9, 0} if fault == "SIGKILL" else {143, -15, 0}
        assert code in wanted, f"exit {code}, hit after {moment:.2f} s; printed:\n{printed}"
        if code:
            moments.append(moment)
        else:
            # The one that was timed may have found a busier machine.
            whole_s = min(whole_s, moment)
        new = set(site.labels()) - before
        complete += len(new) if code else 0
        for label in new:
            site.require_whole(label)
        assert len(site.good()) == len(before | new)

    assert len(moments) == REPEATS, "the runs had ended before they were hit"
    again = site.require_next_dump()
    assert site.debris() == []
    proof = (
        f"{len(moments)} moments, {min(moments):.1f} to {max(moments):.1f} s; {complete} complete"
    )
    outcome = "nothing visible, or complete and whole"
    leave_row(request, "dump", "any moment", fault, proof, outcome, again)
