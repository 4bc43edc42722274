"""The most memory of every command that meets all rows, at this scale and at a fiftieth of it.

Of each as a process of its own, PostgreSQL's programs included and its servers not. None may grow
with the rows.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, Found, at_most
from benchmarks.figures import Figure, target_of
from benchmarks.harness import clean_environment, command, peak_mb
from benchmarks.listed import CREDENTIALS, bucket_of
from benchmarks.site import DATABASE, EMPTY, Site, fill
from casedb.conninfo import Conninfo
from casedb.throwaway import throwaway_cluster

GROWS = "most that a command takes more than at a fiftieth of the rows"
MAY_VARY_MB = 32
"""What the compressor's threads and the allocator keep back varies by some MB from run to run."""
RESTORED, SEEDED = "bench_remembered", "bench_remembered_seed"
_LEAST = 500


def measure(site: Site) -> Found:
    """Measure."""
    few = max(_LEAST, site.cases // 50)
    admin = site.own.admin
    try:
        large = dict(peaks(site, admin, site.folder / "memory-large"))
    finally:
        site.drop(RESTORED)
    with throwaway_cluster(site.tools) as other:
        fill(other, cases=few)
        small = dict(peaks(site, other, site.folder / "memory-small"))
    for found, cases in ((large, max(few, site.cases // 10)), (small, few)):
        with site.database(SEEDED, template=EMPTY):
            words = ["seed", f"--cases={cases}", f"--database={SEEDED}"]
            found["seed"] = peak(site, admin, site.folder / "memory-large", words)
    most = max(large, key=lambda name: large[name] - small[name])
    summary = Figure(
        name=GROWS,
        value=large[most] - small[most],
        unit="MB",
        noise=0.0,
        target=target_of(GROWS, BENCH.targets),
        note=most,
    )
    figures = [
        Figure(name=name, value=mb, unit="MB", note=f"{small[name]:.0f} MB at {few:,} cases")
        for name, mb in large.items()
    ]
    return Found((), [summary, *figures], ["seed: a tenth of the cases, against a fiftieth"])


def peaks(site: Site, admin: Conninfo, place: Path) -> Iterator[tuple[str, float]]:
    """Yield the peak of each command in MB, in an order in which each finds what it needs."""
    place.mkdir()
    (place / "casedb.toml").touch()
    store = f"--store={place}/store"
    for words in (
        ["dump", store],
        ["verify", "latest", store],
        ["drill", "latest", store],
        ["restore", "latest", store, f"--into={RESTORED}", f"--confirm={RESTORED}"],
        ["rotate", store, "--apply"],
        ["audit", "verify"],
    ):
        name = " ".join(word for word in words if not word.startswith(("--", "latest")))
        yield name, peak(site, admin, place, words)
    with bucket_of(admin.replace(dbname=DATABASE)) as url:
        words = ["documents", "check", f"--bucket={url}"]
        yield "documents check", peak(site, admin, place, words)


def peak(site: Site, admin: Conninfo, place: Path, words: list[str]) -> float:
    """Return the most memory of one command, which logs in as the role it is for."""
    site.tell(f"memory of {words[0]}")
    where = admin.replace(user=None, dbname=None).dsn
    environment = clean_environment(PG_BIN=str(site.tools.bindir), **CREDENTIALS)
    return peak_mb(command(*words, f"--conninfo={where}"), env=environment, cwd=place)


BENCH = Bench(
    "memory",
    "Does a command take more memory where there are more rows?",
    measure,
    minutes=3,
    targets=(at_most(GROWS, MAY_VARY_MB, "MB"),),
)
