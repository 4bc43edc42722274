"""Runs over an inventory, from outside: start the process, read its answers. No pyinfra in here."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from casedb.errors import CasedbError, ConfigurationError, UsageError

VERSION = 1
"""Of the JSON form of a run."""

_LEAVE_S = 5

Tell = Callable[[str], None]


@dataclass(frozen=True)
class ChangeShown:
    """One thing that differs, and how."""

    what: str
    lines: tuple[str, ...]
    effect: str


@dataclass(frozen=True)
class Step:
    """One operation on one host."""

    name: str
    changed: bool | None
    """Whether it would change, or has changed, something; None: it was not reached."""
    failed: bool
    output: str
    changes: tuple[ChangeShown, ...]


@dataclass(frozen=True)
class HostRun:
    """What one host needs, or what was done on it."""

    host: str
    error: str | None
    commands: int
    """How many remote commands were run."""
    seconds: float
    remarks: tuple[str, ...]
    """What whoever provisions the host has to know, though it is no change."""
    steps: tuple[Step, ...]

    @property
    def changed(self) -> tuple[Step, ...]:
        """The steps that change something."""
        return tuple(step for step in self.steps if step.changed)


@dataclass(frozen=True)
class HostFacts:
    """What was gathered on one host, password verifiers left out; None with the error why."""

    host: str
    error: str | None
    state: dict[str, Any] | None
    tuned_by: dict[str, Any] | None = None
    """The data of the inventory that decide its tuning (deploy.defaults.TUNED_BY)."""


class Session:
    """A run that has made its plan and waits for the word."""

    def __init__(self, process: "subprocess.Popen[str]", tell: Tell) -> None:
        self._process = process
        self._tell = tell
        self.plan: tuple[HostRun, ...] = ()

    def apply(self) -> tuple[HostRun, ...]:
        """Carry the plan out and return what was done; every host is in it, failed or not."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return tuple(_host(found) for found in self._read("result"))

    def read_plan(self) -> "Session":
        """Wait for the plan."""
        self.plan = tuple(_host(found) for found in self._read("plan"))
        return self

    def read_states(self) -> tuple[HostFacts, ...]:
        """Wait for the states of all hosts."""
        return tuple(HostFacts(**found) for found in self._read("states"))

    def _read(self, wanted: str) -> list[dict[str, Any]]:
        assert self._process.stdout
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "step":
                self._tell(f"{event['host']}: {event['step']}")
            elif event["event"] == "unmatched":
                raise UsageError(
                    f"--limit names no host and no group: {', '.join(event['names'])}",
                    detail="Nothing was done.",
                    hint="Give --limit once for each host; a comma makes another name.",
                )
            elif event["event"] == "invalid":
                raise ConfigurationError(
                    "the inventory cannot be used",
                    detail=f"{event['problem']}.",
                    hint="Mend it. For the rehearsal hosts: `casedb rehearse up` first.",
                )
            elif event["event"] == wanted:
                hosts: list[dict[str, Any]] = event["hosts"]
                return hosts
        raise CasedbError(
            "pyinfra ended without an answer",
            detail="\n".join(_tail(self._process.stderr)) or None,
        )


@contextmanager
def session(
    inventory: Path, *, limit: Sequence[str] = (), tell: Tell = lambda _step: None
) -> Iterator[Session]:
    """Connect to the hosts of `inventory` and plan; the block may then apply.

    Raises:
        ConfigurationError: there is no such inventory, or it has no host.
        UsageError: `limit` names what is not in it.
    """
    with _started(inventory, limit, "plan", tell) as found:
        yield found.read_plan()


def host_states(
    inventory: Path, *, limit: Sequence[str] = (), tell: Tell = lambda _step: None
) -> tuple[HostFacts, ...]:
    """Return what is gathered on the hosts of `inventory`; raises as `session` does."""
    with _started(inventory, limit, "states", tell) as found:
        return found.read_states()


def host_standings(
    inventory: Path, *, limit: Sequence[str] = (), tell: Tell = lambda _step: None
) -> tuple[HostFacts, ...]:
    """Return how the hosts of `inventory` stand (deploy/standing.py); raises as `session` does."""
    with _started(inventory, limit, "standings", tell) as found:
        return found.read_states()


@contextmanager
def _started(inventory: Path, limit: Sequence[str], action: str, tell: Tell) -> Iterator[Session]:
    if not inventory.exists() and not str(inventory).startswith("@"):
        raise ConfigurationError(
            f"there is no inventory {inventory}",
            hint="inventories/ has examples; run casedb in the root of the checkout.",
        )
    request = {"inventory": str(inventory), "limit": list(limit), "action": action}
    process = subprocess.Popen(
        # -P: what lies in the current folder must not stand in for a module of Python's own.
        [sys.executable, "-P", "-m", "deploy.runner"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # No terminal: sudo's password prompt then fails instead of waiting for nobody.
        start_new_session=True,
    )
    log = _Drain(process.stderr)
    try:
        assert process.stdin
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        process.stderr = log  # type: ignore[assignment]
        yield Session(process, tell)
    finally:
        # Its input ends, so it cleans up behind itself and goes; it may be too busy to.
        with suppress(BrokenPipeError):
            if process.stdin:
                process.stdin.close()
        try:
            process.wait(timeout=_LEAVE_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        for stream in (process.stdin, process.stdout, log.stream):
            if stream is not None:
                stream.close()


class _Drain:
    """Reads standard error all the time: a full pipe would stop the process."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream
        self.stream = stream
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.lines.extend(self.stream)
        except ValueError:
            # Closed by the end of the run.
            return


def _tail(log: Any) -> list[str]:
    if not isinstance(log, _Drain):
        return []
    log._thread.join(timeout=2)
    return [line.rstrip() for line in log.lines[-6:]]


def _host(found: dict[str, Any]) -> HostRun:
    steps = tuple(
        Step(
            step["name"],
            step["changed"],
            step["failed"],
            step["output"],
            tuple(ChangeShown(c["what"], tuple(c["lines"]), c["effect"]) for c in step["changes"]),
        )
        for step in found["steps"]
    )
    return HostRun(
        found["host"],
        found["error"],
        found["commands"],
        found["seconds"],
        tuple(found["remarks"]),
        steps,
    )
