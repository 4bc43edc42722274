"""The server does not go on for a dump that is gone."""

import signal
import subprocess
import sys
import time

from casedb.conninfo import Conninfo
from casedb.database import connect, scalar

# Nothing of what it computes is sent before the end, so that the server has no reason to look.
_BUSY = """
import sys
from backups.content import SETTINGS
from backups.snapshot import prepare_session
from casedb.conninfo import Conninfo
from casedb.database import connect
with connect(Conninfo.parse(sys.argv[1]), purpose="busy") as connection:
    prepare_session(connection, SETTINGS)
    connection.execute("SELECT sum(a) FROM generate_series(1, 30000) a, generate_series(1, 30000)")
"""
_WORKING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name = 'casedb busy' AND query LIKE 'SELECT sum%%' AND state = 'active'"
)


def wait_for_sessions(target: Conninfo, wanted: int, at_most_s: float) -> None:
    """Wait until so many sessions are at work."""
    began = time.monotonic()
    with connect(target, purpose="test") as connection:
        while scalar(connection, _WORKING) != wanted:
            assert time.monotonic() < began + at_most_s
            time.sleep(0.05)


def test_a_killed_dump_s_query_ends_within_seconds(small: Conninfo) -> None:
    process = subprocess.Popen([sys.executable, "-c", _BUSY, small.dsn])
    try:
        wait_for_sessions(small, 1, 30)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    wait_for_sessions(small, 0, 10)
