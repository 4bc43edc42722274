"""The most memory of every command that meets all rows, at this scale and at parts of it.

Of each as a process of its own, with the programs that it runs, against a fiftieth of the rows:
none may grow with them. The server of a drill is told apart: a process that builds an index takes
what the settings allow, which a fiftieth of the rows does not fill. It may not grow beyond that, so
it is held against half of the rows.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, Found, at_most
from benchmarks.figures import Figure, target_of
from benchmarks.harness import clean_environment, command
from benchmarks.listed import CREDENTIALS, bucket_of
from benchmarks.peaks import Peaks, peaks_of
from benchmarks.site import DATABASE, EMPTY, Site, fill
from casedb.conninfo import Conninfo
from casedb.throwaway import throwaway_cluster

GROWS = "most that a command takes more than at a fiftieth of the rows"
SERVER_GROWS = "what a drill's server takes more than at half of the rows"
MAY_VARY_MB = 32
"""What the compressor's threads and the allocator keep back varies by some MB from run to run."""
RESTORED, SEEDED = "bench_remembered", "bench_remembered_seed"
_LEAST = 500


def measure(site: Site) -> Found:
    """Measure."""
    few, half = (max(_LEAST, site.cases // part) for part in (50, 2))
    admin = site.own.admin
    try:
        large = dict(peaks(site, admin, site.folder / "memory-large"))
    finally:
        site.drop(RESTORED)
    with throwaway_cluster(site.tools) as other:
        fill(other, cases=few)
        small = dict(peaks(site, other, site.folder / "memory-small"))
    with throwaway_cluster(site.tools) as other:
        fill(other, cases=half)
        at_half = dict(drilled(site, other, site.folder / "memory-half"))["drill"].servers
    for found, cases in ((large, max(few, site.cases // 10)), (small, few)):
        with site.database(SEEDED, template=EMPTY):
            words = ["seed", f"--cases={cases}", f"--database={SEEDED}"]
            found["seed"] = peak(site, admin, site.folder / "memory-large", words)
    more = {name: large[name].programs - small[name].programs for name in large}
    most = max(more, key=lambda name: more[name])
    server = large["drill"].servers
    summaries = [
        _against_target(GROWS, more[most], most),
        _against_target(
            SERVER_GROWS, server - at_half, f"{server:.0f} MB, {at_half:.0f} at {half:,} cases"
        ),
    ]
    figures = [
        Figure(
            name=name,
            value=found.programs,
            unit="MB",
            note=f"{small[name].programs:.0f} MB at {few:,} cases",
        )
        for name, found in large.items()
    ]
    return Found(
        (),
        [*summaries, *figures],
        [
            "of the process that has most: all of its memory; of a drill's server the private part",
            f"a process of a drill's server at {few:,} cases: {small['drill'].servers:.0f} MB",
            "seed: a tenth of the cases, against a fiftieth",
        ],
    )


def _against_target(name: str, value: float, note: str) -> Figure:
    target = target_of(name, BENCH.targets)
    return Figure(name=name, value=value, unit="MB", noise=0.0, target=target, note=note)


def peaks(site: Site, admin: Conninfo, place: Path) -> Iterator[tuple[str, Peaks]]:
    """Yield the peaks of each command, in an order in which each finds what it needs."""
    yield from drilled(site, admin, place)
    store = f"--store={place}/store"
    for words in (
        ["verify", "latest", store],
        ["restore", "latest", store, f"--into={RESTORED}", f"--confirm={RESTORED}"],
        ["rotate", store, "--apply"],
        ["audit", "verify"],
    ):
        name = " ".join(word for word in words if not word.startswith(("--", "latest")))
        yield name, peak(site, admin, place, words)
    with bucket_of(admin.replace(dbname=DATABASE)) as url:
        words = ["documents", "check", f"--bucket={url}"]
        yield "documents check", peak(site, admin, place, words)


def drilled(site: Site, admin: Conninfo, place: Path) -> Iterator[tuple[str, Peaks]]:
    """Yield the peaks of a dump and of its drill."""
    place.mkdir()
    (place / "casedb.toml").touch()
    store = f"--store={place}/store"
    for words in (["dump", store], ["drill", "latest", store]):
        yield words[0], peak(site, admin, place, words)


def peak(site: Site, admin: Conninfo, place: Path, words: list[str]) -> Peaks:
    """Return the most memory of one command, which logs in as the role it is for."""
    site.tell(f"memory of {words[0]}")
    where = admin.replace(user=None, dbname=None).dsn
    environment = clean_environment(PG_BIN=str(site.tools.bindir), **CREDENTIALS)
    return peaks_of(command(*words, f"--conninfo={where}"), env=environment, cwd=place)


BENCH = Bench(
    "memory",
    "Does a command take more memory where there are more rows?",
    measure,
    minutes=6,
    targets=(at_most(GROWS, MAY_VARY_MB, "MB"), at_most(SERVER_GROWS, MAY_VARY_MB, "MB")),
)
