"""One run at a time on a database, and the later one is told who is at work."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from psycopg import Connection

from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import LockedError
from casedb.locks import joined_lock, maintenance_lock, shared_lock
from casedb.roles import LOGIN_ROLES


@pytest.mark.parametrize("role", LOGIN_ROLES)
def test_every_role_is_told_who_holds_the_lock(database: Conninfo, role: str) -> None:
    with connect(database, purpose="holding") as holder, maintenance_lock(holder):
        pid = holder.info.backend_pid
        with (
            connect(database.replace(user=role), purpose="asking") as asker,
            pytest.raises(LockedError) as caught,
            maintenance_lock(asker),
        ):
            pass

    assert f"server process {pid}" in str(caught.value.detail)


def test_the_holders_purpose_is_named(database: Conninfo) -> None:
    with (
        connect(database, purpose="dump") as holder,
        maintenance_lock(holder),
        connect(database, purpose="migrate apply") as asker,
        pytest.raises(LockedError, match="another run") as caught,
        maintenance_lock(asker),
    ):
        pass

    assert '"casedb dump"' in str(caught.value.detail)


def test_a_wait_ends_when_the_time_is_over(database: Conninfo) -> None:
    with (
        connect(database, purpose="a") as holder,
        connect(database, purpose="b") as asker,
        maintenance_lock(holder),
    ):
        begin = time.monotonic()
        with pytest.raises(LockedError), maintenance_lock(asker, wait_s=0.5):
            pass

        assert time.monotonic() - begin >= 0.5


def test_the_lock_is_free_again_when_its_session_is_gone(database: Conninfo) -> None:
    with connect(database, purpose="a") as holder:
        lock = maintenance_lock(holder)
        lock.__enter__()
        holder.close()

    with connect(database, purpose="b") as asker, maintenance_lock(asker, wait_s=5):
        assert not asker.closed


@contextmanager
def sessions(database: Conninfo) -> Iterator[tuple[Connection[Any], ...]]:
    """Two of one run, and one of somebody else."""
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(connect(database, purpose=purpose))
            for purpose in ("first", "second", "asking")
        )


def test_sessions_that_hold_the_lock_together_keep_others_out_until_the_last_has_ended(
    database: Conninfo,
) -> None:
    with sessions(database) as (first, second, asker):
        with shared_lock(first), joined_lock(second):
            first.close()
            with pytest.raises(LockedError) as caught, maintenance_lock(asker):
                pass
            assert '"casedb second"' in str(caught.value.detail)

        with maintenance_lock(asker, wait_s=5):
            with pytest.raises(LockedError, match="another run"), joined_lock(second):
                pass
            with pytest.raises(LockedError), shared_lock(second):
                pass


def test_the_lock_is_free_at_once_when_those_who_held_it_together_are_done(
    database: Conninfo,
) -> None:
    with sessions(database) as (first, second, asker):
        with shared_lock(first), joined_lock(second):
            pass

        with maintenance_lock(asker):
            assert not first.closed
