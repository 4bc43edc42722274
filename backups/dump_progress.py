"""How far a dump is, in bytes of its tables.

The server knows how much each takes before any is read (pg_table_size), and every table is read
twice at once, for the archive and for the proof. What comes of a table is more or less than it
takes: text is longer, rows that were deleted do not come. So what came is scaled by what came of a
sample of the table (large_tables.py), and counts for no more than all of it; at its end for all.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from psycopg import Connection

from backups.progress import OnProgress, Progress, seldom
from backups.snapshot import Relation

LARGE_OBJECTS = 2613
"""The OID of the table that they are in, the same in every server (pg_largeobject)."""


def read_sizes(connection: Connection[Any], relations: Iterable[Relation]) -> dict[int, int]:
    """Return how many bytes those take whose rows an archive has, large objects too, by OID."""
    oids = [relation.oid for relation in relations if relation.kind == "r"]
    query = "SELECT oid::bigint, pg_table_size(oid) FROM unnest(%s::oid[]) AS oid"
    return dict(connection.execute(query, ([*oids, LARGE_OBJECTS],)).fetchall())


class _At(NamedTuple):
    before_bytes: int
    size_bytes: int
    ratio: float
    came_bytes: int


class Meter:
    """How much of the tables has gone into the archive, by the bytes that came of them.

    One thread counts, and another one looks, at any moment.

    >>> meter = Meter()
    >>> meter.begin(100, 2.0)
    >>> meter.add(50)
    >>> meter.done_bytes
    25
    >>> meter.add(500)
    >>> meter.done_bytes
    100
    """

    def __init__(self) -> None:
        # In one piece, so that who looks sees no half of a change.
        self._at = _At(0, 0, 1.0, 0)

    def begin(self, size_bytes: int, ratio: float) -> None:
        """Count from now on what takes `size_bytes`, and comes as `ratio` times as many."""
        self._at = _At(self._at.before_bytes + self._at.size_bytes, size_bytes, ratio, 0)

    def add(self, came_bytes: int) -> None:
        """Count what came."""
        self._at = self._at._replace(came_bytes=self._at.came_bytes + came_bytes)

    def end(self) -> None:
        """Count all of what was begun."""
        self.begin(0, 1.0)

    @property
    def done_bytes(self) -> int:
        """How much of what was begun has come."""
        at = self._at
        return at.before_bytes + min(at.size_bytes, int(at.came_bytes / at.ratio))


class Gauge:
    """Tells how far archive and proof are: as far as the one of them that is behind.

    Within a table the proof is one statement, of which nobody knows how far it is: its table counts
    from the beginning on. Mostly it is ahead of the archive.
    """

    def __init__(self, on_progress: OnProgress, meter: Meter, sizes: Mapping[int, int]) -> None:
        self._on_progress = seldom(on_progress)
        self._meter = meter
        self._sizes = sizes
        self._total_bytes = sum(sizes.values())
        self._proof_bytes = 0

    def begin_proof(self, oid: int) -> None:
        """Let the proof go on with this table."""
        self._proof_bytes += self._sizes.get(oid, 0)

    def tell(self, phase: str) -> None:
        """Tell how far both are, if that was not told just now."""
        done = min(self._meter.done_bytes, self._proof_bytes)
        self._on_progress(Progress(phase, done, self._total_bytes or None, "bytes"))
