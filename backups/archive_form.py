"""How an archive is written: what a dump may choose, and what no restore has to be told."""

from dataclasses import dataclass

from backups.large_tables import LARGE_FROM_BYTES


@dataclass(frozen=True)
class ArchiveForm:
    """By how many sessions, in which format, and how small."""

    jobs: int = 1
    """So many sessions at once read a large table; fewer, if the server lets fewer in."""
    binary: bool = True
    """Whether large tables that are as small so are written in COPY's binary format, which
    pg_restore loads, but cannot print as SQL."""
    compress_level: int | None = None
    """One of zstd's, 1 to 19; None is what was measured to be the best for its work."""
    large_from_bytes: int = LARGE_FROM_BYTES
    """From which size on a table is large."""


USUAL = ArchiveForm()
"""How it is written if nobody says otherwise."""
