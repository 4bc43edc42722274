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
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "casedb", *words),
            *("--conninfo", server.replace(dbname=None, user=None).dsn),
        ],
        cwd=folder,
        env={**kept, "PG_BIN": str(night.tools.bindir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr
