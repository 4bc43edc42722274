"""Memory stays the same however many rows there are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.tools import PostgresTools

_DUMP = """
import sys
from pathlib import Path
from backups.dump import dump
from backups.stores import LocalStore
from backups.verify import verify
from casedb.conninfo import Conninfo
from casedb.tools import tools_in
dsn, store, bindir = sys.argv[1:]
tools, store = tools_in(Path(bindir)), LocalStore(Path(store))
manifest = dump(Conninfo.parse(dsn), store, tools=tools)
verify(store, manifest.label, tools=tools)
"""
# What the compressor's threads and the allocator keep back varies by some MB from run to run.
_MAY_VARY_MB = 24


def peak_mb(target: Conninfo, store: Path, tools: PostgresTools) -> float:
    argv = [sys.executable, "-c", _DUMP, target.dsn, str(store), str(tools.bindir)]
    process = subprocess.Popen(argv)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


@pytest.mark.parametrize("sizes_mb", [(40, 320)])
def test_eight_times_the_rows_take_no_more_memory_to_dump_and_verify(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, sizes_mb: tuple[int, int]
) -> None:
    peaks = []
    for size_mb in sizes_mb:
        with connect(small, purpose="test") as connection:
            connection.execute("DROP TABLE IF EXISTS big")
            connection.execute(
                "CREATE TABLE big AS SELECT i, repeat(md5(i::text), 15) AS t"
                f" FROM generate_series(1, {size_mb * 2000}) AS i".encode()
            )
        peaks.append(peak_mb(small, tmp_path / str(size_mb), tools))

    assert peaks[1] < peaks[0] + _MAY_VARY_MB, peaks
