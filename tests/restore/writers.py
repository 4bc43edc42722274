"""Busy sessions of the application: they write, remember what was acknowledged, and come back."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from casedb.conninfo import Conninfo

_INSERT = """
    INSERT INTO public.cases (title, description, created_by)
    VALUES ('Written under load', 'By writer ' || %(writer)s, %(user)s) RETURNING id
"""


@dataclass
class Writers:
    """What the sessions have done so far."""

    target: Conninfo
    user: UUID
    acknowledged: list[tuple[float, UUID]] = field(default_factory=list)
    """When, by the monotonic clock, and which case: the commit had been answered by then."""
    lost_connections: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    surprises: list[str] = field(default_factory=list)
    """Errors that a swap does not explain."""

    def longest_silence_s(self, since: float) -> float:
        """Return the longest time without any answered commit, from `since` until now."""
        times = [since, *sorted(at for at, _ in self.acknowledged if at >= since), time.monotonic()]
        return max(after - before for before, after in itertools.pairwise(times))

    def ids(self) -> set[UUID]:
        """Return all cases whose commit was answered."""
        return {case for _, case in list(self.acknowledged)}

    def wait_for(self, more: int, timeout_s: float = 30) -> None:
        """Wait until so many more commits have been answered."""
        wanted, deadline = len(self.acknowledged) + more, time.monotonic() + timeout_s
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < deadline, f"no writes: {self.surprises}"
            time.sleep(0.01)

    def _work(self, number: int) -> None:
        while not self.stop.is_set():
            try:
                with psycopg.connect(
                    self.target.dsn, autocommit=True, prepare_threshold=None
                ) as connection:
                    while not self.stop.is_set():
                        self._write(connection, number)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self.lost_connections += 1
                time.sleep(0.005)
            except psycopg.errors.ReadOnlySqlTransaction:
                time.sleep(0.005)
            except psycopg.Error as error:
                self.surprises.append(str(error))
                time.sleep(0.05)

    def _write(self, connection: psycopg.Connection[tuple[UUID]], number: int) -> None:
        with connection.transaction():
            connection.execute("SELECT public.act_as(%s)", (str(self.user),))
            row = connection.execute(_INSERT, {"writer": str(number), "user": self.user}).fetchone()
        assert row
        self.acknowledged.append((time.monotonic(), row[0]))


@contextmanager
def writing(target: Conninfo, user: UUID, sessions: int) -> Iterator[Writers]:
    """Let so many sessions write to `target`, as case_app for `user`, while the block runs."""
    writers = Writers(target.replace(user="case_app"), user)
    threads = [threading.Thread(target=writers._work, args=(n,)) for n in range(sessions)]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        writers.stop.set()
        for thread in threads:
            thread.join()
