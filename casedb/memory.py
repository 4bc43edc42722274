"""What the C library does with memory that is not needed any more."""

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # malloc.h
_limits: list[int] = []


def give_back_from(size_bytes: int) -> None:
    """Make the C library give pieces of that size back to the kernel when they are freed.

    With the first one freed, glibc takes that size for usual, and keeps what is freed later in its
    heaps, one for each thread, which fall into pieces. A limit that was set stays where it is; of
    several the least counts. Other C libraries have no such habit, and no mallopt.
    """
    if _limits and min(_limits) <= size_bytes:
        return
    _limits.append(size_bytes)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, size_bytes)
