"""Two sessions at once: what comes of them is what comes of one after the other, in the model.

The first one does its statement and stays open; the second one begins while it is, and may have to
wait for it. Everything is committed.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection, errors, sql

from casedb.access import Outcome
from casedb.access_attempt import refusal
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from tests.database.row_security_checker import Checker, ViolationError, perform
from tests.database.row_security_model import Model
from tests.database.row_security_statements import REFUSED, TABLES, Prediction, Select, Step

_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Ended:
    """What came of one session."""

    step: Step
    new_id: UUID
    found: Prediction | None
    """None: PostgreSQL broke a deadlock by it, which is as if it had not been."""


@contextmanager
def pairing(cluster: Conninfo, world: str, name: str, model: Model) -> Iterator["Pair"]:
    """Yield two sessions on a copy of the database `world`, whose rows are `model`'s."""
    with connect(cluster, purpose="test") as admin:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        admin.execute(drop)
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(world)
            )
        )
        with ExitStack() as stack:
            target = cluster.replace(dbname=name)
            sessions = [
                stack.enter_context(connect(target, purpose="test", autocommit=False))
                for _ in range(2)
            ]
            # Sees what is committed, and which session waits.
            watch = stack.enter_context(connect(target, purpose="test"))
            yield Pair(sessions[0], sessions[1], Checker(watch, model.copy()))
        admin.execute(drop)


class Pair:
    """Two superuser's sessions not in autocommit mode, and a checker on a third one that is."""

    def __init__(self, first: Connection[Any], second: Connection[Any], checker: Checker) -> None:
        self._first, self._second, self._checker = first, second, checker
        self.watch = checker.connection
        self._ids = count(0xE000)
        self.waits = 0
        for session in (first, second):
            session.prepare_threshold = None

    def check(self, first: Step, second: Step, *, second_commits_first: bool) -> None:
        """Do both at the same time; `second_commits_first` where it does not have to wait.

        Raises:
            ViolationError: what came of them is not what the model says, in either order.
        """
        one = self._attempt(self._first, first, UUID(int=next(self._ids)))
        with ThreadPoolExecutor(max_workers=1) as pool:
            running = pool.submit(self._attempt, self._second, second, UUID(int=next(self._ids)))
            if self._has_to_wait(running):
                self.waits += 1
            elif second_commits_first:
                running.result()
                self._second.commit()
            self._first.commit()
            two = running.result()
            self._second.commit()
        wrong = []
        for order in ((one, two), (two, one)):
            before = self._checker.model
            try:
                self._account_for(*order)
                return
            except ViolationError as violation:
                self._checker.model = before
                wrong.append(str(violation))
        raise ViolationError("; and the other way round ".join(wrong))

    def _attempt(self, session: Connection[Any], step: Step, new_id: UUID) -> Ended:
        try:
            found, new_id = perform(session, self._checker.model, step, new_id)
        except errors.DeadlockDetected:
            session.rollback()
            return Ended(step, new_id, None)
        except psycopg.Error as error:
            session.rollback()
            if refusal(error).outcome is Outcome.ERROR:
                raise ViolationError(f"{step}: {error}") from error
            return Ended(step, new_id, REFUSED)
        return Ended(step, new_id, found)

    def _has_to_wait(self, running: "Future[Ended]") -> bool:
        pid = self._second.info.backend_pid
        until = time.monotonic() + _PATIENCE_S
        while not running.done():
            query = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
            if scalar(self._checker.connection, query, pid):
                return True
            if time.monotonic() > until:
                raise ViolationError("the second session neither ends nor waits")
            time.sleep(0.002)
        return False

    def _account_for(self, *order: Ended) -> None:
        """Take the model through what happened, in this order, and compare."""
        model = self._checker.model.copy()
        model.numbered = {table: model.rows(table) for table in TABLES}
        touched: set[UUID] = set()
        for ended in order:
            if ended.found is None:
                continue
            predicted = model.predict(ended.step)
            if ended.found != predicted:
                raise ViolationError(f"{ended.step}: {ended.found}, but ought to be {predicted}")
            if not predicted.refused and not isinstance(ended.step.statement, Select):
                touched |= model.touched(ended.step, ended.new_id)
                model.apply(ended.step, ended.new_id)
        self._checker.model = model
        self._checker.compare([ended.step for ended in order], touched)
        model.numbered = {}
