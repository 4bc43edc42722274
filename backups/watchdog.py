"""Sees when pg_dump waits for a lock that no timeout bounds.

pg_dump bounds its wait for tables only. Printing a view's definition locks the view: somebody who
holds one exclusively and goes home stops pg_dump for as long, and if he waits for something that
we hold, all three for ever, because the server does not see that we wait for pg_dump.
"""

import time
from collections.abc import Callable
from typing import Any

from psycopg import Connection

from backups.snapshot import Overtaken
from casedb.sqlfiles import read_sql


class Watchdog:
    """Asked now and then whether the sessions named `application_name` still get on."""

    def __init__(
        self,
        connection: Connection[Any],
        application_name: str,
        *,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._name = application_name
        self._patience_s = patience_s
        self._clock = clock
        self._waiting_since: float | None = None

    def look(self) -> None:
        """Look once.

        Raises:
            Overtaken: if they have been seen waiting, and nothing else, for longer than patience_s.
        """
        # Inside a transaction the list of sessions is read once and then remembered.
        self._connection.execute("SELECT pg_stat_clear_snapshot()")
        row = self._connection.execute(
            read_sql("catalog/backup-waits.sql"), (self._name,)
        ).fetchone()
        if row is None:
            self._waiting_since = None
            return
        now = self._clock()
        if self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since > self._patience_s:
            blocker = f'"{row[0]}" as {row[2]}, server process {row[1]}, on {row[3]}'
            raise Overtaken(f"pg_dump waited for {row[3]} in vain", blocker)
