"""The most memory of every command that meets all rows, at this scale and at parts of it.

Of each as a process of its own, with the programs that it runs, against a fiftieth of the rows:
none may grow with them. Which commands they are, and why no others, is in footprints.py.

What holds parts in flight takes what they take, which a fiftieth of the rows does not fill. It may
not grow beyond that, so it is held against half of the rows: what goes to S3 and comes back; and
any dump, whose sessions read ahead in tables that are large, and whose compressor has several parts
at work.

A process of a drill's server that builds an index takes what the settings allow for sorting, if the
rows fill that, and something beside it. It is held against twice that.
"""

from collections.abc import Iterator, Mapping

from benchmarks.bench import Bench, Found, at_most
from benchmarks.ceph import ceph, why_no_ceph
from benchmarks.figures import Figure, target_of
from benchmarks.footprints import (
    DRILL,
    DUMP_FAR,
    DUMPS,
    LIVE,
    SEED,
    cloned,
    footprint,
    footprints,
    footprints_far,
)
from benchmarks.peaks import Peaks
from benchmarks.site import EMPTY, Site, fill
from casedb.conninfo import Conninfo
from casedb.throwaway import SETTINGS, throwaway_cluster
from casedb.volume import BLOCK

GROWS = "most that a command takes more than at a fiftieth of the rows"
DUMP_GROWS = "most that a dump takes more than at half of the rows"
SERVER = "most that a process of a drill's server takes"
FAR_GROWS = "what a dump to S3 takes more than at half of the rows"
BACK_GROWS = "most that the way back from S3 takes more than at half of the rows"
SERVER_MAY_TAKE_MB = 2 * int(SETTINGS["maintenance_work_mem"].removesuffix("MB"))
MAY_VARY_MB = 32
"""What the compressor's threads and the allocator keep back varies by some MB from run to run."""
SEEDED = "bench_remembered_seed"
_LEAST = 500
# The seed loads one block while it invents the next, whatever the rows.
_SEED_LEAST = 2 * BLOCK


def measure(site: Site) -> Found:
    """Measure."""
    few, half = (max(_LEAST, site.cases // part) for part in (50, 2))
    admin = site.own.admin
    with cloned(site):
        large = dict(footprints(site, admin, site.folder / "memory-large", live=LIVE))
    far = far_from(site, admin, "large")
    with throwaway_cluster(site.tools) as other:
        fill(other, cases=few)
        small = dict(footprints(site, other, site.folder / "memory-small"))
    with throwaway_cluster(site.tools) as other:
        fill(other, cases=half)
        place = site.folder / "memory-half"
        at_half = dict(footprints(site, other, place, runs=DUMPS))
        far_at_half = far_from(site, other, "half")
    few_seeded = min(site.cases, max(few, _SEED_LEAST))
    seeded = min(site.cases, 5 * few_seeded)
    for found, cases in ((large, seeded), (small, few_seeded)):
        found[SEED.name] = seed(site, admin, cases)
    return Found(
        (),
        [
            *growths(large, small, {**at_half, **far_at_half}, far, half),
            *_each(large, small, few),
            *_each(far, far_at_half, half),
        ],
        [
            "of the process that has most: all of its memory; of a drill's server the private part",
            f"seed: {seeded:,} cases, against {few_seeded:,}",
            *([f"to S3 and back: not measured, {why_no_ceph()}"] if not far else []),
        ],
    )


def far_from(site: Site, admin: Conninfo, scale: str) -> Mapping[str, Peaks]:
    """Return the peaks of what goes to S3 and comes back; none where there can be no server.

    It runs for as long as it takes: one that idles through the rest is only in danger.
    """
    if why_no_ceph():
        return {}
    with ceph() as server:
        return dict(footprints_far(site, admin, site.folder / f"memory-{scale}-far", server))


def seed(site: Site, admin: Conninfo, cases: int) -> Peaks:
    """Return the peaks of so many cases being invented in an empty database."""
    site.tell(f"memory of {SEED.name}")
    with site.database(SEEDED, template=EMPTY):
        words = [*SEED.words.split(), f"--cases={cases}", f"--database={SEEDED}"]
        return footprint(site, admin, site.folder / "memory-large", words)


def growths(
    large: Mapping[str, Peaks],
    small: Mapping[str, Peaks],
    at_half: Mapping[str, Peaks],
    far: Mapping[str, Peaks],
    half: int,
) -> Iterator[Figure]:
    """Yield by how much memory grows, against the targets.

    `far` is what went to S3 and came back at this scale, empty where it was not measured; the same
    at `half` of the cases is in `at_half`.
    """
    dumps = {run.name: large[run.name] for run in DUMPS}
    others = {name: found for name, found in large.items() if name not in dumps}
    yield _against_target(GROWS, *_most_more(others, small))
    yield _against_target(DUMP_GROWS, *_most_more(dumps, at_half))
    server, then = (found[DRILL.name].servers for found in (large, small))
    yield _against_target(SERVER, server, f"{then:.0f} MB at a fiftieth of the rows")
    if far:
        dump, then = (found[DUMP_FAR.name].programs for found in (far, at_half))
        note = f"{dump:.0f} MB, {then:.0f} at {half:,} cases"
        yield _against_target(FAR_GROWS, dump - then, note)
        back = {name: found for name, found in far.items() if name != DUMP_FAR.name}
        yield _against_target(BACK_GROWS, *_most_more(back, at_half))


def _most_more(large: Mapping[str, Peaks], small: Mapping[str, Peaks]) -> tuple[float, str]:
    """Return by how much the command grows that grows most, and its name."""
    more = {name: found.programs - small[name].programs for name, found in large.items()}
    most = max(more, key=lambda name: more[name])
    return more[most], most


def _each(large: Mapping[str, Peaks], small: Mapping[str, Peaks], cases: int) -> Iterator[Figure]:
    for name, found in large.items():
        note = f"{small[name].programs:.0f} MB"
        yield Figure(
            name=name,
            value=found.programs,
            unit="MB",
            note=note if name == SEED.name else f"{note} at {cases:,} cases",
        )


def _against_target(name: str, value: float, note: str) -> Figure:
    target = target_of(name, BENCH.targets)
    return Figure(name=name, value=value, unit="MB", target=target, note=note)


BENCH = Bench(
    "memory",
    "Does a command take more memory where there are more rows?",
    measure,
    minutes=15,
    targets=(
        at_most(SERVER, SERVER_MAY_TAKE_MB, "MB"),
        *(at_most(name, MAY_VARY_MB, "MB") for name in (GROWS, DUMP_GROWS, FAR_GROWS, BACK_GROWS)),
    ),
)
