"""A database with more tables than the server has locks."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from backups.dump import dump
from backups.dump_archive import _reason
from backups.stores import LocalStore
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import ToolFailedError
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools

LOCKS = "max_locks_per_transaction"


@contextmanager
def server_with_tables(tools: PostgresTools, tables: int, locks: int) -> Iterator[Conninfo]:
    """The superuser's conninfo on a server with so many tables and few connections."""
    settings = {"max_connections": "20", LOCKS: str(locks)}
    with throwaway_cluster(tools, settings=settings) as admin:
        with connect(admin, purpose="test") as connection:
            for first in range(0, tables, 100):
                connection.execute(
                    f"DO $$ BEGIN FOR n IN {first}..{first + 99} LOOP"
                    " EXECUTE format('CREATE TABLE t%s (i int)', n);"
                    " END LOOP; END $$".encode()
                )
        yield admin


def test_too_few_locks_are_told_at_once_with_how_many_it_takes(
    tools: PostgresTools, tmp_path: Path
) -> None:
    phases: list[str] = []
    store = LocalStore(tmp_path)
    with server_with_tables(tools, 1000, 10) as target:
        with pytest.raises(ToolFailedError, match="too few locks") as caught:
            dump(target, store, tools=tools, on_progress=lambda p: phases.append(p.phase))
        # Whether ours or pg_dump's are one too many is chance.
        argv = [tools["pg_dump"], "--schema-only"]
        with programs.start(argv, target=target) as process:
            _, printed = process.communicate()
        with connect(target, purpose="test") as connection:
            job = SimpleNamespace(connection=connection)
            with pytest.raises(ToolFailedError, match="too few locks") as of_pg_dump:
                raise _reason(job, argv, process.returncode, printed.decode())  # type: ignore[arg-type]

    assert of_pg_dump.value.hint == caught.value.hint
    assert "pg_dump: error" in (of_pg_dump.value.detail or "")
    assert "out of shared memory" in (caught.value.detail or "")
    assert not any("letting another session go first" in phase for phase in phases)
    assert store.labels("postgres") == []
    named = re.search(rf"Raise {LOCKS}, which is 10, to (\d+),", caught.value.hint or "")
    assert named
    with server_with_tables(tools, 1000, int(named[1])) as target:
        assert len(dump(target, store, tools=tools).tables) == 1000
