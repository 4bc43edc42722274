"""A restore with its verification, against the plan's gunzip and psql, and pg_restore at its best.

Every arm loads into an empty database of the same durable server.
"""

import subprocess
from pathlib import Path

from backups.dump import dump
from backups.restore import Wish, restore
from backups.stores import LocalStore
from benchmarks.bench import Bench, Found, at_most
from benchmarks.benches import dump as dumps
from benchmarks.figures import ratio_figure
from benchmarks.harness import Contestant, Did, alternate
from benchmarks.site import Site
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.tools import PostgresTools

SHARE = "restore with verification, of the plan's"
OURS, PLANNED, BEST = "bench_restored", "bench_planned", "bench_best"


def plan(admin: Conninfo, tools: PostgresTools, packed: Path, place: Path) -> None:
    """Run the plan's recovery procedure, section 8, into an empty database."""
    file = place / "backup.sql"
    with file.open("wb") as out:
        subprocess.run(["gunzip", "--stdout", str(packed)], stdout=out, check=True)
    _create(admin, PLANNED)
    argv = [tools["psql"], "-q", "-d", PLANNED]
    environment = programs.child_environment(admin)
    with file.open("rb") as source:
        subprocess.run(argv, env=environment, stdin=source, stdout=subprocess.DEVNULL, check=True)


def best(admin: Conninfo, tools: PostgresTools, archive: Path) -> None:
    """Run pg_restore in parallel and nothing else."""
    _create(admin, BEST)
    programs.run(
        [tools["pg_restore"], "--jobs=2", "--exit-on-error", f"--dbname={BEST}", str(archive)],
        target=admin,
    )


def measure(site: Site) -> Found:
    """Measure."""
    admin, target, tools = site.own.admin, site.own.target, site.tools
    store = LocalStore(site.folder / "restore-store")
    label = dump(target, store, tools=tools).label
    packed = dumps.plan(target, tools, site.folder)
    directory = site.folder / "restore-directory"
    dumps.best(target, tools, directory)
    phases: list[dict[str, float]] = []

    def ours(place: Path) -> Did:
        wish = Wish(label, OURS)
        report = restore(store, wish, admin, tools=tools, scratch=place, record=False)
        phases.append(dict(report.phases_s))
        return Did(wall_s=report.duration_s)

    arms = alternate(
        [
            Contestant(
                "plan",
                "gunzip, then psql into an empty database, as in the plan; verifies nothing",
                lambda place: plan(admin, tools, packed, place),
                lambda: site.drop(PLANNED),
            ),
            Contestant(
                "best pg_restore",
                "pg_restore alone with two jobs; verifies nothing",
                lambda _place: best(admin, tools, directory),
                lambda: site.drop(BEST),
            ),
            Contestant(
                "restore",
                "casedb restore --into: bytes checked, loaded, analyzed, every row compared",
                ours,
                lambda: site.drop(OURS),
            ),
        ],
        rounds=site.rounds,
        meter=site.meter(),
        folder=site.folder,
        tell=site.tell,
    )
    last = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in phases[-1].items())
    return Found(
        list(arms.values()),
        [
            ratio_figure(SHARE, arms["restore"], arms["plan"], targets=BENCH.targets),
            ratio_figure(
                "restore with verification, of the best pg_restore",
                arms["restore"],
                arms["best pg_restore"],
            ),
        ],
        [f"phases of the last restore: {last}"],
    )


def _create(admin: Conninfo, name: str) -> None:
    with connect(admin, purpose="bench") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())


BENCH = Bench(
    "restore",
    "How long until the data are back, and known to be the same?",
    measure,
    minutes=6,
    targets=(at_most(SHARE, 0.7),),
)
