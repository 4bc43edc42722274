"""Clients of a pooler, each of whom acts for one user and notes what it sees of another."""

import threading
from typing import Any

import psycopg

from casedb.conninfo import Conninfo

CLIENTS = 12

Staff = list[tuple[str, str]]

# What an application must never do: it holds for the session, which is somebody else's next.
CARELESS = {
    "set_config": "SELECT set_config('app.user_id', %(user)s, false)",
    "set role": "SET ROLE {role}",
}


class Client(threading.Thread):
    """One client of the pooler: acts for one user, transaction by transaction, and notes leaks."""

    def __init__(self, way: Conninfo, user: str, role: str, often: int, careless: str) -> None:
        super().__init__()
        self.way, self.user, self.role, self.often = way, user, role, often
        self.careless = careless.format(role=role)
        self.done = 0
        self.leaks: list[object] = []
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            # Prepared statements belong to a session, and PgBouncer knows them since 1.21 only.
            with psycopg.connect(self.way.dsn, prepare_threshold=None) as connection:
                for number in range(self.often):
                    self._transaction(connection, is_careless=number % 10 == 9)
                    self.done += 1
        except Exception as error:
            self.failure = error

    def _transaction(self, connection: psycopg.Connection[Any], *, is_careless: bool) -> None:
        with connection.transaction():
            before = connection.execute(
                "SELECT current_user::text, public.current_user_id()::text"
            ).fetchone()
            if before != ("case_app", None):
                self.leaks.append(before)
                # Of what leaked, nothing is left for act_as to refuse.
                connection.execute("SET LOCAL ROLE NONE")
            connection.execute("SELECT public.act_as(%s)", (self.user,))
            seen = connection.execute(
                "SELECT current_user::text, public.current_user_id()::text,"
                " coalesce(array_agg(DISTINCT created_by::text), '{}') FROM public.cases"
            ).fetchone()
            assert seen
            if seen[:2] != (self.role, self.user):
                self.leaks.append(seen)
            if self.role == "case_clerk" and seen[2] != [self.user]:
                self.leaks.append(seen)
        if is_careless:
            with connection.transaction():
                connection.execute(self.careless.encode(), {"user": self.user})


def run_clients(way: Conninfo, staff: Staff, transactions: int, careless: str) -> list[object]:
    """Let all clients work at once; return what anybody saw of somebody else."""
    often = -(-transactions // CLIENTS)
    clients = [Client(way, user, role, often, careless) for user, role in staff[:CLIENTS]]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [client.failure for client in clients if client.failure] == []
    assert sum(client.done for client in clients) >= transactions
    return [leak for client in clients for leak in client.leaks]
