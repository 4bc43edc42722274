"""The state of the backups for node_exporter's textfile collector. Pure, but for `write_metrics`.

Times are given as times, not as ages: a file that is no longer written must not look fresh. An
alert on the absence of a metric finds a host that has gone silent.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backups.catalog import Backup, newest_drilled, without_the_future
from casedb.errors import ToolFailedError
from casedb.ownership import create_for_folder_owner
from casedb.runs import Run

_METRICS = {
    "backups": "Complete backups in the store.",
    "backups_damaged": "Backups that something is known against.",
    "backups_from_the_future": "Backups with a time later than now; no other metric goes by it.",
    "backup_last_success_timestamp_seconds": "When the newest complete backup was taken.",
    "backup_last_drilled_timestamp_seconds": "When the newest drilled backup was taken.",
    "backup_last_drill_timestamp_seconds": "When the last drill ended.",
    "backup_last_drill_passed": "Whether the last drill passed.",
    "backup_size_bytes": "Size of the newest complete backup.",
    "backup_duration_seconds": "How long the newest complete backup took.",
    "backup_restore_seconds": "How long the last passed drill took to restore.",
}
_RUN_METRICS = {
    "run_last_end_timestamp_seconds": "When the last run of a command ended.",
    "run_last_exit_code": "How it ended: 0 is well.",
}


@dataclass(frozen=True)
class StoreState:
    """One store and what it holds of one database."""

    url: str
    database: str
    backups: Sequence[Backup]
    """Newest first, as `catalog` returns them."""
    now: datetime
    """When that was; aware."""


def metrics_of(state: StoreState) -> Mapping[str, float]:
    """Return the value of each metric that has one."""
    past = without_the_future(state.backups, now=state.now)
    good = [b for b in past if b.is_good and b.manifest]
    drills = [b.drilled for b in past if b.drilled]
    passed = newest_drilled(good)
    complete = sum(b.is_good for b in state.backups)
    values: dict[str, float] = {
        "backups": complete,
        "backups_damaged": len(state.backups) - complete,
        "backups_from_the_future": sum(
            b.is_from_the_future(state.now) or b.was_drilled_in_the_future(state.now)
            for b in state.backups
        ),
    }
    if good and (newest := good[0].manifest):
        values["backup_last_success_timestamp_seconds"] = newest.started_at.timestamp()
        values["backup_size_bytes"] = good[0].size_bytes
        values["backup_duration_seconds"] = (newest.ended_at - newest.started_at).total_seconds()
    if drills:
        last = max(drills, key=lambda drill: drill.at)
        values["backup_last_drill_timestamp_seconds"] = last.at.timestamp()
        values["backup_last_drill_passed"] = float(last.outcome == "passed")
    if passed and passed.manifest and passed.drilled:
        values["backup_last_drilled_timestamp_seconds"] = passed.manifest.started_at.timestamp()
        values["backup_restore_seconds"] = passed.drilled.recovery_s
    return values


def metrics_text(states: Sequence[StoreState], runs: Sequence[Run] = ()) -> str:
    """Return the file's content, in Prometheus' text format; `runs`: each command's last."""
    found = [(state, metrics_of(state)) for state in states]
    lines = []
    for name, help_text in _METRICS.items():
        samples = [
            f"casedb_{name}{{{_labels(state)}}} {values[name]:.15g}"
            for state, values in found
            if name in values
        ]
        lines += _with_heading(name, help_text, samples)
    for name, help_text in _RUN_METRICS.items():
        samples = [
            f"casedb_{name}{{{_run_labels(run)}}} {_run_values(run)[name]:.15g}" for run in runs
        ]
        lines += _with_heading(name, help_text, samples)
    return "\n".join(lines) + "\n"


def write_metrics(path: Path, states: Sequence[StoreState], runs: Sequence[Run] = ()) -> None:
    """Write the file in one step: the collector must never read half of it.

    Raises:
        ToolFailedError: if it cannot be written.
    """
    # The collector reads what ends in .prom only.
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # One of a killed run that had our number.
        new.unlink(missing_ok=True)
        with os.fdopen(create_for_folder_owner(new, os.O_WRONLY, 0o600), "w") as file:
            file.write(metrics_text(states, runs))
            # It is for another user to read, and there is nothing secret in it.
            os.fchmod(file.fileno(), 0o644)
        new.rename(path)
    except OSError as error:
        raise ToolFailedError(
            "the metrics cannot be written",
            detail=f"{error.filename or path}: {error.strerror}.",
            hint="Does the collector's folder exist, and may this user write to it?",
        ) from error


def _with_heading(name: str, help_text: str, samples: list[str]) -> list[str]:
    if not samples:
        return []
    return [f"# HELP casedb_{name} {help_text}", f"# TYPE casedb_{name} gauge", *samples]


def _run_values(run: Run) -> Mapping[str, float]:
    return {
        "run_last_end_timestamp_seconds": run.ended_at.timestamp(),
        "run_last_exit_code": run.exit_code,
    }


def _run_labels(run: Run) -> str:
    return f'command="{_escaped(run.command)}",database="{_escaped(run.database)}"'


def _labels(state: StoreState) -> str:
    return f'database="{_escaped(state.database)}",store="{_escaped(state.url)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
