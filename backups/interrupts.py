"""What a signal can still stop, and what goes to its end once it was begun.

A run that is stopped when its work is done has done it: to say "interrupted, cleaned up" then, with
the exit code of a failure, would be as false as the opposite.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def to_its_end(action: Callable[[], None]) -> None:
    """Do `action` completely; a signal that comes meanwhile is forgotten.

    It came too late to stop anything; so this is for what is short. Blocking signals would not do:
    another thread would take them, and Python raise in the main one all the same.
    """
    held = {}
    if threading.current_thread() is threading.main_thread():
        held = {number: signal.getsignal(number) for number in _STOPPING}
    try:
        for number in held:
            signal.signal(number, _forget)
        action()
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


def _forget(_number: int, _frame: FrameType | None) -> None:
    pass


@contextmanager
def too_late(
    done: Sequence[object], tell: Callable[[KeyboardInterrupt], None] = lambda _interrupt: None
) -> Iterator[None]:
    """Let an interrupt out of the block as long as `done` is empty; afterwards only `tell` of it.

    What is left then, such as giving locks back, has been done by the blocks inside of this one.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not done:
            raise
        tell(interrupt)
