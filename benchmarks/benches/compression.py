"""What each choice of the compressor costs and saves, on rows of the log and of the cases.

Each is changed by itself, from what a dump takes, and zstd's own levels stand beside it. Rows are
in COPY's binary format, unless it says otherwise, with the columns in the order in which a dump has
them. Work is processor time, the least of three times, as other programs only add to it.
"""

import sys
from collections.abc import Mapping
from functools import partial

from backups.large_tables import SAMPLE_BYTES
from backups.streams import options
from benchmarks.bench import Bench, Found
from benchmarks.benches.size import ENTRIES, dumped_rows, work_of
from benchmarks.figures import Figure
from benchmarks.site import Site
from casedb.database import connect

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_TIMES = 3
_USUAL = options()
_P = zstd.CompressionParameter

CHANGES: Mapping[str, Mapping[int, int]] = {
    "half of the table, window and part": {
        _P.hash_log: _USUAL[_P.hash_log] - 1,
        _P.window_log: _USUAL[_P.window_log] - 1,
        _P.job_size: _USUAL[_P.job_size] // 2,
    },
    "shorter matches": {_P.min_match: _USUAL[_P.min_match] - 2},
    "all of the window before each part": {_P.overlap_log: 9},
    "an eighth of the window before each part": {_P.overlap_log: 6},
}
"""What differs, by what it is called."""


def size_of(told: Mapping[int, int], data: bytes) -> int:
    """Return how long `data` are, compressed as zstd is `told`."""
    return len(zstd.compress(data, options=dict(told)))


def taken(data: bytes, told: Mapping[int, int]) -> tuple[int, float]:
    """Return how long `data` are, compressed as zstd is `told`, and the processor time of it."""
    return min(work_of(partial(size_of, told), data) for _ in range(_TIMES))


def compared(data: bytes, called: str, *, accelerated: bool) -> list[Figure]:
    """Return how every other way compares with a dump's, which accelerates these rows or not."""
    as_dumped = options(accelerated=accelerated)
    usual_bytes, usual_s = taken(data, as_dumped)
    ways = {
        **{way: {**as_dumped, **changed} for way, changed in CHANGES.items()},
        "not accelerated" if accelerated else "accelerated": options(accelerated=not accelerated),
        "accelerated more": {
            **options(accelerated=True),
            _P.target_length: options(accelerated=True)[_P.target_length] + 1,
        },
        **{f"zstd's level {level}": options(level) for level in (1, 3)},
    }
    found = {way: taken(data, told) for way, told in ways.items()}
    return [
        Figure(name=f"{called}, {way}: {what}", value=value)
        for way, (size_bytes, work_s) in found.items()
        for what, value in (("size", size_bytes / usual_bytes), ("work", work_s / usual_s))
    ]


def acceleration(data: bytes) -> float:
    """Return how large `data` are accelerated, of what they are without."""
    plain, fast = (size_of(options(accelerated=way), data) for way in (False, True))
    return fast / plain


def measure(site: Site) -> Found:
    """Measure."""
    with connect(site.filled.target, purpose="bench") as connection:
        log, cases = (dumped_rows(connection, table) for table in ("case_logs", "cases"))
        text = dumped_rows(connection, "case_logs", form="text")
    return Found(
        figures=[
            *compared(log, "log", accelerated=True),
            *compared(cases, "cases", accelerated=False),
            *(
                Figure(name=f"{called}: size accelerated, of not", value=acceleration(rows))
                for called, rows in (
                    ("a sample of the log", log[:SAMPLE_BYTES]),
                    ("a sample of the cases", cases[:SAMPLE_BYTES]),
                    ("the log in text", text),
                )
            ),
        ],
        notes=[
            "each of what a dump takes for the same rows: it accelerates the log, the cases not",
            f"of {ENTRIES:,} rows of each, if there are as many",
            f"what it takes in memory is for the bench memory; samples have {SAMPLE_BYTES:,} bytes",
        ],
    )


BENCH = Bench(
    "compression", "What does each choice of the compressor cost and save?", measure, minutes=2
)
