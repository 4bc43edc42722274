"""The proof that hosts are what they should be: a second run changes nothing, controls hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.check import check
from deploy.controls.base import Finding
from deploy.runs import VERSION, HostRun, Tell, host_states, session


@dataclass(frozen=True)
class Proof:
    """What an auditor can be handed."""

    version: int
    action: str
    inventory: str
    started: datetime
    ended: datetime
    first_run: tuple[HostRun, ...]
    second_run: tuple[HostRun, ...]
    second_run_changes: int
    checks: dict[str, list[Finding]]
    """Findings by host; none of a host that could not be reached."""
    checks_failed: int

    @property
    def holds(self) -> bool:
        """Whether every host was reached, changed nothing the second time, and is secure."""
        failed = any(run.error for run in (*self.first_run, *self.second_run))
        return not (failed or self.second_run_changes or self.checks_failed)


def prove(
    inventory: Path,
    *,
    limit: Sequence[str] = (),
    agree: Callable[[Sequence[HostRun]], None] = lambda _plan: None,
    tell: Tell = lambda _step: None,
) -> Proof:
    """Apply twice and judge the controls; `agree` sees the plan first and raises to stop it.

    Raises as `deploy.runs.session` does.
    """
    started = datetime.now(UTC)
    with session(inventory, limit=limit, tell=tell) as run:
        agree(run.plan)
        first = run.apply()
    with session(inventory, limit=limit, tell=tell) as run:
        second = run.apply()
    states = host_states(inventory, limit=limit, tell=tell)
    checks = {s.host: check(s.state, {}) if s.state else [] for s in states}
    return Proof(
        version=VERSION,
        action="prove",
        inventory=str(inventory),
        started=started,
        ended=datetime.now(UTC),
        first_run=first,
        second_run=second,
        second_run_changes=sum(len(found.changed) for found in second),
        checks=checks,
        checks_failed=sum(not f.well for found in checks.values() for f in found),
    )
