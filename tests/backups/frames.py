"""The frames of a file that zstd has compressed."""

import sys
from typing import NamedTuple

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Frame(NamedTuple):
    """One of them: what it holds, and where it ends in the file."""

    content: bytes
    end: int


def frames(data: bytes) -> list[Frame]:
    """Return all of them; the last one has to be whole."""
    found, rest = [], data
    while rest:
        decompressor = zstd.ZstdDecompressor()
        content = decompressor.decompress(rest)
        assert decompressor.eof
        rest = decompressor.unused_data
        found.append(Frame(content, len(data) - len(rest)))
    return found
