"""A whole rehearsal, as one report: hosts from bare to a proven backup. Pure but for its steps."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Protocol

from deploy.proof import Proof

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("migrations are at their head", ("migrate", "status")),
    ("load the demo", ("seed",)),
    ("take a backup", ("dump",)),
    ("restore it for real and compare", ("drill", "latest")),
    ("is everything well", ("status",)),
)
"""What is done on each provisioned host with its own casedb, in this order."""


class Answer(Protocol):
    """What a command on a host returned: a subprocess.CompletedProcess is one."""

    returncode: int
    stdout: str
    stderr: str


Runner = Callable[..., Answer]


@dataclass(frozen=True)
class Done:
    """One step on one host."""

    host: str
    step: str
    command: str
    exit_code: int
    seconds: float
    said: str
    """What it found, on one line."""


@dataclass(frozen=True)
class Rehearsal:
    """All of it."""

    started: datetime
    ended: datetime
    hosts: dict[str, str]
    """Each host's Debian release by its name."""
    boot_seconds: float
    proof: Proof
    steps: tuple[Done, ...]

    @property
    def passed(self) -> bool:
        """Whether everything went well on every host."""
        return self.proof.holds and all(done.exit_code == 0 for done in self.steps)


def work_on(hosts: Sequence[str], run: Callable[[str], Runner]) -> tuple[Done, ...]:
    """Do the steps on all hosts at the same time; a host's first failure is its last step."""

    def on(host: str) -> list[Done]:
        done = []
        for step, words in STEPS:
            began = monotonic()
            answer = run(host)("casedb", *words, "--json")
            seconds = round(monotonic() - began, 1)
            command = f"casedb {' '.join(words)}"
            said = _said(words[0], answer)
            done.append(Done(host, step, command, answer.returncode, seconds, said))
            if answer.returncode:
                break
        return done

    with ThreadPoolExecutor() as pool:
        return tuple(done for found in pool.map(on, hosts) for done in found)


def _said(verb: str, answer: Answer) -> str:
    try:
        found: Any = json.loads(answer.stdout)
    except ValueError:
        return " ".join(answer.stderr.split())[:200]
    if answer.returncode and "error" in found:
        words = " ".join(str(found["error"].get(k) or "") for k in ("message", "detail"))
        return " ".join(words.split())[:300]
    if verb == "migrate":
        return f"{len(found['applied'])} applied, {len(found['pending'])} pending"
    if verb == "seed":
        return ", ".join(f"{v['created']} {k}" for k, v in found.items())
    if verb == "dump":
        return str(found.get("label", ""))
    if verb == "drill":
        parts = ("outcome", "tables", "rows", "catalog_rows")
        return ", ".join(f"{k} {found[k]}" for k in parts if k in found)
    return ""


def as_markdown(report: Rehearsal) -> str:
    """Return the report for people."""
    proof = report.proof
    took = (report.ended - report.started).total_seconds()
    lines = [
        "# Rehearsal",
        "",
        f"{report.started.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {took:.0f} s in all: "
        f"**{'everything went well' if report.passed else 'NOT everything went well'}**",
        "",
        "Hosts: "
        + ", ".join(f"{name} ({about})" for name, about in report.hosts.items())
        + f", booted from bare images in {report.boot_seconds:.0f} s.",
        "",
        "| host | first run | second run | remote commands | seconds | controls that hold |",
        "|---|---|---|---|---|---|",
    ]
    for first, second in zip(proof.first_run, proof.second_run, strict=True):
        checks = proof.checks.get(first.host, [])
        holding = sum(finding.holds for finding in checks)
        lines.append(
            f"| {first.host} | {first.error or f'{len(first.changed)} changes'} "
            f"| {second.error or f'{len(second.changed)} changes'} "
            f"| {first.commands}, then {second.commands} "
            f"| {first.seconds:.0f}, then {second.seconds:.1f} | {holding} of {len(checks)} |"
        )
    lines += ["", "| host | step | command there | exit code | seconds | found |",
              "|---|---|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {d.host} | {d.step} | `{d.command}` | {d.exit_code} | {d.seconds:.1f} | {d.said} |"
        for d in report.steps
    ]
    notes = dict.fromkeys(f"{r.host}: {text}" for r in proof.first_run for text in r.remarks)
    lines += ["", *(f"- {note}" for note in notes)] if notes else []
    return "\n".join(lines) + "\n"
