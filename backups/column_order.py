"""In which order of a table's columns its rows are smallest when they are compressed.

zstd finds what a row has in common with an earlier one, and a long stretch of it costs no more than
a short one. With what repeats side by side, there are fewer and longer ones. Which columns those
are, the rows themselves tell. COPY names the columns, so a table has its own order again when it is
loaded.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter

from backups.streams import compressed

MOST_TRIES = 120
"""Of orders, each of them made and compressed: of ten columns, each has been at every place."""


Written = Callable[[Iterable[Sequence[bytes]]], bytes]
"""Makes rows of their fields, in the format in which they will be compressed."""


def smallest_order(
    rows: Sequence[Sequence[bytes]], written: Written, most_tries: int = MOST_TRIES
) -> list[int]:
    """Return the order, as numbers of columns, that is the smallest of those tried.

    `rows`, one at least, are of one table, field by field. The largest columns are moved first:
    each goes to where it is best while the others stay. Their own order, if none is smaller.
    """
    columns = range(len(rows[0]))
    best = list(columns)
    least = size_in(best, rows, written)
    sizes = [sum(map(len, column)) for column in zip(*rows, strict=True)]
    for moving in sorted(columns, key=lambda column: -sizes[column]):
        for order in islice(_moved(best, moving), most_tries):
            most_tries -= 1
            if (size := size_in(order, rows, written)) < least:
                best, least = order, size
    return best


def size_in(order: Sequence[int], rows: Sequence[Sequence[bytes]], written: Written) -> int:
    """Return how long the rows are when they are compressed with their columns in this order."""
    in_order = itemgetter(*order) if len(order) > 1 else tuple
    return len(compressed(written(map(in_order, rows))))


def _moved(order: Sequence[int], column: int) -> Iterator[list[int]]:
    others = [other for other in order if other != column]
    for at in range(len(order)):
        moved = [*others[:at], column, *others[at:]]
        if moved != order:
            yield moved
