"""The cluster on this host: where it lies, how to ask it, how to run programs as postgres.

Part of the program that configure.py is; ASKED is what is asked of it.
"""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ASKED: dict[str, Any] = globals().get("ASKED", {})
MB = 1024**2
STATE = Path("/var/lib/casedb/configure")
CHATTER = re.compile(
    "starting PostgreSQL|extension initialized|listening on|database system"
    "|shutting down|log output|checkpoint|skipping missing configuration file"
)


HBA_PROBLEMS = """
SELECT string_agg(problem, '; ') FROM (
    SELECT format('pg_hba.conf line %s: %s', line_number, error) AS problem
    FROM pg_hba_file_rules WHERE error IS NOT NULL
    UNION ALL
    SELECT format('pg_ident.conf line %s: %s', line_number, error)
    FROM pg_ident_file_mappings WHERE error IS NOT NULL
) AS found
"""


class Refused(Exception):  # noqa: N818
    """The candidate is not good enough; nothing has been changed."""


def etc() -> Path:
    return Path(f"/etc/postgresql/{ASKED['major']}/{ASKED['cluster']}")


def live_data() -> Path:
    return Path(f"/var/lib/postgresql/{ASKED['major']}/{ASKED['cluster']}")


def unit() -> str:
    return f"postgresql@{ASKED['major']}-{ASKED['cluster']}.service"


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def as_postgres(*argv: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["runuser", "-u", "postgres", "--", *argv],
        input=text, capture_output=True, text=True, check=False, cwd="/", env=environment(),
        timeout=120,
    )  # fmt: skip


def to_its_end(work: Callable[[], dict[str, Any]]) -> int:
    """Do `work`, one at a time on this host and whoever still listens; print it, return our code.

    It goes on when the connection breaks: a server must not stay between two configurations.
    """
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = work()
    well = outcome["result"] in ("applied", "would apply")
    # Nobody may be listening any more.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(outcome), flush=True)
        if not well:
            print(f"{outcome['result']}: {outcome['problem']}", file=sys.stderr, flush=True)
    return 0 if well else 1


def in_words(error: OSError) -> str:
    return f"{error.filename or 'the disk'}: {error.strerror or error}"


def query(sql: str, *, folder: Path | str = "/var/run/postgresql", port: int) -> tuple[str, str]:
    """Return what a server answers ("" if it does not) and its error."""
    try:
        done = as_postgres(
            "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(folder), "-p", str(port),
            "-d", "postgres", "-f", "-", text=sql,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "", "it did not answer in time"
    return (done.stdout.strip(), "") if done.returncode == 0 else ("", done.stderr.strip())


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    return reason(done.stderr) or reason(done.stdout) or f"exit code {done.returncode}"


def reason(text: str) -> str:
    """Return the lines that say why, without times and process numbers."""
    words = ("FATAL:", "ERROR:", "PANIC:", "LOG:", "DETAIL:", "HINT:", "postgres:", "initdb:")
    found = []
    for line in text.splitlines():
        for word in words:
            if word in line:
                found.append((word, line[line.index(word) :].strip()))
                break
    telling = [line for word, line in found if word != "LOG:" or not CHATTER.search(line)]
    return "; ".join(telling[-4:])


def cluster_port() -> int | None:
    """Return the port of the live server, or None if it does not run."""
    try:
        lines = (live_data() / "postmaster.pid").read_text().splitlines()
        os.kill(int(lines[0]), 0)
        return int(lines[3])
    except (OSError, ValueError, IndexError):
        return None


def meminfo() -> dict[str, int]:
    """Return /proc/meminfo in bytes; pages are counted."""
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        number, *unit_name = rest.split()
        found[name] = int(number) * (1024 if unit_name else 1)
    return found
