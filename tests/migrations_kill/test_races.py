"""Many at once, and a migration whose table is busy: nothing is done twice, nobody waits long."""

import os
import shutil
import statistics
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from casedb.migrations.backend import LOCK_TIMEOUT_MS
from casedb.roles import apply_roles
from casedb.sqlfiles import folder
from tests.matrix.table import leave_note

if TYPE_CHECKING:
    from tests.migrations_kill.conftest import Site

REPEATS = int(os.environ.get("KILL_REPEATS", "1"))
AT_ONCE = 4


@pytest.mark.parametrize("number", range(REPEATS))
def test_four_at_once_apply_each_migration_once(site: "Site", number: int) -> None:
    (site.source / "0001-create-trees.sql").unlink()
    for path in folder("migrations").iterdir():
        shutil.copy(path, site.source / path.name)
    # A fresh database: not even the runner's own tables.
    site.execute("DROP SCHEMA public CASCADE; DROP SCHEMA ops CASCADE")
    site.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
    apply_roles(site.target)
    ids = sorted(p.stem for p in site.source.glob("*.sql") if ".rollback" not in p.name)

    processes = [site.start("--wait", "120") for _ in range(AT_ONCE)]
    results = [process.communicate(timeout=120) for process in processes]

    assert [process.returncode for process in processes] == [0] * AT_ONCE, results
    applied = [
        line.removeprefix("applied ")
        for out, _ in results
        for line in out.splitlines()
        if line.startswith("applied ")
    ]
    assert sorted(applied) == ids
    assert site.ask("SELECT count(*) FROM ops._yoyo_log WHERE operation = 'apply'") == len(ids)
    assert site.ask("SELECT count(*) FROM ops.casedb_migration") == len(ids)


class Workload:
    """What the application does meanwhile: reads and writes of the table, each one timed."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.took_s: dict[str, list[float]] = {"read": [], "write": []}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(kind, i))
            for i in range(3)
            for kind in self.took_s
        ]

    def _work(self, kind: str, number: int) -> None:
        statement = {
            "read": "SELECT name FROM public.trees WHERE id = %s",
            "write": "UPDATE public.trees SET name = 'ash' WHERE id = %s",
        }[kind]
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self._stop.is_set():
                began = time.monotonic()
                connection.execute(statement.encode(), (100 * number + 1,))
                self.took_s[kind].append(time.monotonic() - began)
                time.sleep(0.005)

    def require_progress(self, timeout_s: float = 60) -> None:
        """Wait until each kind has done one more of its queries than by now."""
        done = {kind: len(took) for kind, took in self.took_s.items()}
        deadline = time.monotonic() + timeout_s
        while any(len(took) == done[kind] for kind, took in self.took_s.items()):
            assert time.monotonic() < deadline, "the application still waits"
            time.sleep(0.01)

    def __enter__(self) -> "Workload":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_behind_a_long_transaction_it_gives_up_and_the_application_works_on(
    site: "Site", request: pytest.FixtureRequest
) -> None:
    (site.source / "0002-grow-trees.sql").write_text(
        "-- depends: 0001-create-trees\nALTER TABLE public.trees ADD COLUMN height int;"
    )
    with site.admin() as reader, Workload(site.target.dsn) as workload:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM public.trees")
        time.sleep(1)
        before = {kind: max(took) for kind, took in workload.took_s.items()}
        for took in workload.took_s.values():
            took.clear()

        code, printed, took_s = site.apply()

        longest = {kind: max(took) for kind, took in workload.took_s.items()}
        typical = {kind: statistics.median(took) for kind, took in workload.took_s.items()}
        queries = sum(map(len, workload.took_s.values()))
        # Its transaction goes on, and all the others work again: the queue is gone.
        waiting = site.ask(
            "SELECT count(*) FROM pg_locks"
            " WHERE relation = 'public.trees'::regclass AND mode = 'AccessExclusiveLock'"
        )
        workload.require_progress()
        reader.execute("COMMIT")
        again, retried, _ = site.apply()

    assert code == 5, printed
    assert "lock timeout" in printed
    assert "pg_stat_activity" in printed
    assert again == 0, retried
    # The lock queue did form: otherwise this proved nothing.
    assert max(longest.values()) > LOCK_TIMEOUT_MS / 1000 * 0.5
    assert waiting == 0
    reported = "; ".join(
        f"{kind}s: longest {longest[kind] * 1000:.0f} ms (before {before[kind] * 1000:.0f}),"
        f" median {typical[kind] * 1000:.1f}"
        for kind in longest
    )
    leave_note(
        request,
        f"behind a long transaction, lock_timeout {LOCK_TIMEOUT_MS} ms: gave up after"
        f" {took_s:.1f} s; {queries} queries meanwhile; {reported}",
    )
