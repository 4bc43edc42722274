"""What a signal can still stop, and what goes to its end once it was begun.

A run that is stopped when its work is done has done it: to say "interrupted, cleaned up" then, with
the exit code of a failure, would be as false as the opposite.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, TypeVar

from casedb.errors import CasedbError, TerminatedError, ToolFailedError

_STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_POLL_S = 0.02
T = TypeVar("T")


class Held:
    """The signals that came while they were held back, for the block to look at."""

    def __init__(self) -> None:
        self._came: list[Callable[[], object]] = []

    @property
    def came(self) -> bool:
        """Whether one did."""
        return bool(self._came)

    def let_through(self) -> None:
        """Do now what the first that came asks for: while nothing is done, it may stop all.

        Raises:
            KeyboardInterrupt: as if it had not been held back.
        """
        for act in self._came:
            act()
            raise TerminatedError

    def stopping(self, action: Callable[[], T], stop: Callable[[], object]) -> T:
        """Return what `action` does in another thread; call `stop` again and again once one came.

        An error of `action` comes out, such as the one by which it stopped.
        """
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(action)
            while not done.done():
                if self.came:
                    stop()
                wait([done], timeout=_POLL_S)
        return done.result()

    def note(self, number: int, before: Any) -> Callable[[int, FrameType | None], None]:
        """Return the handler that remembers signal `number`, whose handler was `before`."""

        def came(_number: int, frame: FrameType | None) -> None:
            self._came.append(lambda: before(number, frame) if callable(before) else None)

        return came


@contextmanager
def held() -> Iterator[Held]:
    """Hold signals back for the length of the block; afterwards they are forgotten.

    No exception can then come from nowhere between a deed and the word that it is done. What is
    long has to look at what came. Blocking signals would not do: another thread would take them,
    and Python raise in the main one all the same.
    """
    signals = Held()
    with ExitStack() as back:
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                before = signal.getsignal(number)
                # What is ignored, as SIGHUP is under nohup, stays so.
                if before is not signal.SIG_IGN:
                    back.callback(signal.signal, number, before)
                    signal.signal(number, signals.note(number, before))
        yield signals


def hear_no_more() -> None:
    """Let this process end by itself from now on: it was interrupted once, and says so."""
    if threading.current_thread() is threading.main_thread():
        for number in _STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                # A function and not SIG_IGN, which the programs called from here would inherit.
                signal.signal(number, lambda _number, _frame: None)


def add_way_out(error: BaseException, line: str) -> None:
    """Let `error` say one line more of what is there, and what to do with it."""
    if isinstance(error, CasedbError):
        error.hint = f"{error.hint or ''} {line}".strip()
    else:
        error.add_note(line)


def not_cleaned_up(error: BaseException, failure: CasedbError, way_out: str) -> BaseException:
    """Return what is to be raised when cleaning up after `error` failed: it tells the `way_out`.

    An interrupt becomes an error: its own exit code would say that nothing is left half done.
    """
    if isinstance(error, CasedbError):
        add_way_out(error, way_out)
        return error
    return ToolFailedError(
        "interrupted, and what was half done could not be cleaned up",
        detail=f"{failure.message}.",
        hint=way_out,
    )


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
