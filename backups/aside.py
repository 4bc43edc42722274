"""Work on a stream's pieces in a thread of its own, for what leaves Python's lock alone."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

_WAITING_AT_MOST = 4


@contextmanager
def aside(work: Callable[[bytes], object]) -> Iterator[Callable[[bytes], None]]:
    """Yield what hands a piece to `work`, which gets them in order; all is done after the block.

    At most four pieces wait; then whoever hands one over does, too.

    Raises:
        what `work` raised, when the next pieces are handed over or the block ends.
    """
    waiting: deque[Future[object]] = deque()

    def hand(piece: bytes) -> None:
        if len(waiting) >= _WAITING_AT_MOST:
            waiting.popleft().result()
        waiting.append(pool.submit(work, piece))

    with ThreadPoolExecutor(1, "casedb aside") as pool:
        yield hand
        for future in waiting:
            future.result()
