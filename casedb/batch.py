"""Telling the scheduler that what follows is a batch job."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def as_batch() -> Iterator[None]:
    """Have this thread, and the threads and programs that it starts in the block, run as a batch.

    One that wakes up does not take the processor from whoever has it (sched(7), SCHED_BATCH). A
    reader of a pipe or a socket would otherwise do so at each few kilobytes. Its share of the
    processor stays the same. Whoever runs under another policy already keeps it; so does everybody
    where there is none, or where it may not be set.
    """
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
