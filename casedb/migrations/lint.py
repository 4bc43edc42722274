"""squawk over the migrations: what is slow, locks too much or cannot be undone.

One set of options for `migrate plan` and `migrate check`, which `make lint` runs. A comment
`-- squawk-ignore RULE` in a file, with its reason, silences one rule there.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from casedb.errors import ConfigurationError, ToolFailedError
from casedb.migrations.files import MigrationFile

# The runner sets lock_timeout itself; the rule wants it in every file.
_EXCLUDED = "require-timeout-settings"
# Outside of a transaction the runner clears up and resumes; IF NOT EXISTS over an invalid index is
# what would call it done.
_EXCLUDED_OUTSIDE = f"{_EXCLUDED},prefer-robust-stmts"


@dataclass(frozen=True)
class LintWarning:
    """One thing that squawk does not like in a migration."""

    file: str
    line: int
    """From 1."""
    rule: str
    message: str
    help: str | None

    def __str__(self) -> str:
        advice = f" {self.help}." if self.help else ""
        return f"{self.file}:{self.line}: {self.message}{advice} ({self.rule})"


def lint(files: Sequence[MigrationFile], *, pg_version: int = 15) -> list[LintWarning]:
    """Return what squawk has to say about `files`, in their order; rollbacks are not looked at.

    What a rollback drops is its purpose; its first comment says what is lost.

    Raises:
        ConfigurationError: squawk is not installed.
        ToolFailedError: it failed.
    """
    inside = [file.path for file in files if file.transactional]
    outside = [file.path for file in files if not file.transactional]
    found = _squawk(inside, pg_version, ["--assume-in-transaction", f"--exclude={_EXCLUDED}"])
    found += _squawk(
        outside, pg_version, ["--no-assume-in-transaction", f"--exclude={_EXCLUDED_OUTSIDE}"]
    )
    return sorted(found, key=lambda warning: (warning.file, warning.line, warning.rule))


def _squawk(paths: Sequence[Path], pg_version: int, options: Sequence[str]) -> list[LintWarning]:
    if not paths:
        return []
    # Beside our own interpreter: a virtual environment need not be on the search path.
    program = Path(sys.executable).with_name("squawk")
    # An empty file of its own settings, or it would search one from the current folder upwards.
    argv = [
        str(program),
        "--config=/dev/null",
        "--reporter=json",
        f"--pg-version={pg_version}.0",
        *options,
        *map(str, paths),
    ]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    except FileNotFoundError as error:
        raise ConfigurationError(
            "squawk is not installed",
            detail=f"There is no {program}.",
            hint="It belongs to casedb's requirements: install those anew.",
        ) from error
    try:
        entries = json.loads(done.stdout or "[]")
    except ValueError as error:
        raise ToolFailedError(
            f"squawk failed (exit code {done.returncode})", detail=done.stderr.strip() or None
        ) from error
    if done.returncode and not entries:
        raise ToolFailedError(
            f"squawk failed (exit code {done.returncode})", detail=done.stderr.strip() or None
        )
    return [
        LintWarning(
            file=Path(entry["file"]).name,
            # Its JSON counts lines from 0, unlike its other reports.
            line=entry["line"] + 1,
            rule=entry["rule_name"],
            message=entry["message"],
            help=entry["help"].rstrip(".") if entry["help"] else None,
        )
        for entry in entries
    ]
