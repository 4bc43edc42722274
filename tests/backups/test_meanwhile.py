"""A statement that takes long is ended by what is seen meanwhile, and by nothing else."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from backups.meanwhile import meanwhile
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar


def test_what_is_seen_meanwhile_ends_the_statement_and_not_the_transaction(
    cluster: Conninfo,
) -> None:
    """Whoever explains a failure asks the server in the same transaction."""

    def sees_a_full_disk() -> None:
        raise OSError("full")

    with (
        connect(cluster, purpose="test", autocommit=False) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        began = scalar(connection, "SELECT pg_current_xact_id()::text")
        with pytest.raises(OSError, match="full"):
            meanwhile(
                pool,
                connection,
                lambda: scalar(connection, "SELECT pg_sleep(600)"),
                sees_a_full_disk,
            )

        assert scalar(connection, "SELECT pg_current_xact_id()::text") == began


def test_what_was_asked_for_comes_back(cluster: Conninfo) -> None:
    looks: list[int] = []

    with connect(cluster, purpose="test") as connection, ThreadPoolExecutor(1) as pool:
        found = meanwhile(
            pool,
            connection,
            lambda: scalar(connection, "SELECT 7 FROM pg_sleep(0.6)"),
            lambda: looks.append(1),
        )

    assert found == 7
    assert looks
