"""A statement that takes long, while this thread looks after what else goes on."""

from collections.abc import Callable
from concurrent import futures
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg import Connection

_LOOK_EVERY_S = 0.25
_CANCEL_EVERY_S = 0.1
_CANCEL_WITHIN_S = 5.0
T = TypeVar("T")


def meanwhile(
    pool: futures.Executor,
    connection: Connection[Any],
    action: Callable[[], T],
    look: Callable[[], object],
) -> T:
    """Return what `action` does with `connection` in a thread of `pool`; `look` now and then.

    What `look` raises, and what interrupts this thread, ends the statement and comes out. The
    caller's transaction goes on, to be asked what it was.
    """

    def undone_if_ended() -> T:
        with connection.transaction():
            return action()

    doing = pool.submit(undone_if_ended)
    try:
        while not futures.wait([doing], timeout=_LOOK_EVERY_S).done:
            look()
    except BaseException:
        # Again and again: the statement may only be on its way to the server.
        while not doing.done():
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=_CANCEL_WITHIN_S)
            futures.wait([doing], timeout=_CANCEL_EVERY_S)
        raise
    return doing.result()
