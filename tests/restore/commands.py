"""The command, run as on-call does, on a server of the tests."""

import os
import subprocess
import sys
from pathlib import Path

from casedb.conninfo import Conninfo
from tests.restore.conftest import Night


def casedb(night: Night, server: Conninfo, folder: Path, *words: str) -> tuple[int, str]:
    """Run `casedb restore` on the night's store, as `run` does."""
    return run(night, server, folder, "restore", *words, "--store", str(night.store.root))


def run(night: Night, server: Conninfo, folder: Path, *words: str) -> tuple[int, str]:
    """Run a command in `folder` on `server`; return its exit code and all that it printed."""
    (folder / "casedb.toml").touch()
    conninfo = server.replace(dbname=None, user=None).dsn
    return run_words(night, folder, *words, "--conninfo", conninfo)


def run_words(night: Night, folder: Path, *words: str) -> tuple[int, str]:
    """Run a command that names its server itself, as `run` does."""
    done = subprocess.run(
        [sys.executable, "-m", "casedb", *words],
        cwd=folder,
        env=environment(night),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def environment(night: Night) -> dict[str, str]:
    """Return a shell's environment, in which the night's programs are found, and nothing else."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "PG_BIN": str(night.tools.bindir)}
