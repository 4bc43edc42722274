"""A restore with its verification, against the plan's gunzip and psql, and pg_restore at its best.

Every arm loads into an empty database of the same durable server. Beside them the hash of all
content, which the restore compares, and a physical copy of the whole server: what no dump reaches.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from backups.attempt import Wish
from backups.dump import dump
from backups.restore import restore
from backups.sealing import new_key, read_keys
from backups.stores import LocalStore
from benchmarks.bench import Bench, Found, at_most
from benchmarks.benches import dump as dumps
from benchmarks.benches.dump import hashes
from benchmarks.figures import plain_figure, ratio_figure
from benchmarks.harness import Contestant, Did, alternate
from benchmarks.physical import PgBackRest, PhysicalCopy
from benchmarks.site import Site
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import DifferenceError, ToolFailedError
from casedb.tools import PostgresTools

SHARE = "restore with verification, of the plan's"
HASH = "content hash of all tables, of the restore's CPU"
PHYSICAL = "restore of a dump, of a physical copy's"
OURS, SEALED, PLANNED, BEST = "bench_restored", "bench_sealed", "bench_planned", "bench_best"


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
    """Measure, and see that the hash is the same before the dump and after the restore."""
    admin, target, tools = site.own.admin, site.own.target, site.tools
    store, label = site.backup
    packed = dumps.plan(target, tools, site.folder)
    directory = site.folder / "restore-directory"
    dumps.best(target, tools, directory)
    copy = PhysicalCopy(site, site.folder / "base")
    copy.take()
    others, about_others = pgbackrest(site)
    public = new_key(site.folder / "key")
    keys = read_keys(site.folder / "key")
    vault = LocalStore(site.folder / "vault")
    sealed = dump(target, vault, tools=tools, recipients=[public]).label
    phases: dict[str, list[Mapping[str, float]]] = {OURS: [], SEALED: []}

    def ours(place: Path, where: LocalStore, which: str, name: str) -> Did:
        wish = Wish(which, name)
        report = restore(where, wish, admin, tools=tools, scratch=place, keys=keys, record=False)
        phases[name].append(report.phases_s)
        return Did(wall_s=report.duration_s)

    def compared() -> None:
        first = len(phases[OURS]) == 1
        if first and hashes(admin.replace(dbname=OURS)) != hashes(target):
            raise DifferenceError("the content hash is another one after the restore")
        site.drop(OURS)

    def hashed(_place: Path) -> None:
        hashes(target)

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
                lambda place: ours(place, store, label, OURS),
                compared,
            ),
            Contestant(
                "encrypted",
                "the same of an encrypted backup, whose archive comes through a pipe",
                lambda place: ours(place, vault, sealed, SEALED),
                lambda: site.drop(SEALED),
            ),
            Contestant("hashes", "the content hash of every table, one after the other", hashed),
            Contestant(
                "physical copy",
                "pg_basebackup's copy of the whole server copied back, and started",
                copy.bring_back,
            ),
            *others,
        ],
        rounds=site.rounds,
        meter=site.meter(),
        folder=site.folder,
        tell=site.tell,
    )
    shares = [
        mine.cpu_s / whole.cpu_s * 100
        for mine, whole in zip(arms["hashes"].costs, arms["restore"].costs, strict=True)
    ]
    targets = BENCH.targets
    return Found(
        list(arms.values()),
        [
            ratio_figure(SHARE, arms["restore"], arms["plan"], targets=targets),
            plain_figure(HASH, shares, "%", targets=targets),
            ratio_figure(
                "restore with verification, of the best pg_restore",
                arms["restore"],
                arms["best pg_restore"],
            ),
            ratio_figure(
                "restore of an encrypted backup, of one that is not",
                arms["encrypted"],
                arms["restore"],
            ),
            ratio_figure(PHYSICAL, arms["restore"], arms["physical copy"]),
        ],
        [
            f"phases of the last restore: {_in_words(phases[OURS][-1])}",
            f"of the last encrypted one: {_in_words(phases[SEALED][-1])}",
            "the content hash after the restore was that before the dump",
            "a physical copy holds the whole server, byte for byte, for the same major version",
            about_others,
        ],
    )


def _in_words(phases: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in phases.items())


def pgbackrest(site: Site) -> tuple[list[Contestant], str]:
    """Return pgBackRest as a contestant, or nobody, and what there is to say of that."""
    if not PgBackRest.installed():
        return [], "pgBackRest is not installed here"
    found = PgBackRest(site, site.folder / "pgbackrest")
    try:
        found.take()
    except ToolFailedError as error:
        return [], f"pgBackRest took no backup: {error.detail}"
    what = "the whole server brought back by pgBackRest, two jobs; not started"
    return [
        Contestant("pgBackRest", what, found.bring_back)
    ], "pgBackRest had no archive of the WAL"


def _create(admin: Conninfo, name: str) -> None:
    with connect(admin, purpose="bench") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())


BENCH = Bench(
    "restore",
    "How long until the data are back, and known to be the same?",
    measure,
    minutes=8,
    targets=(at_most(SHARE, 0.7), at_most(HASH, 12, "%")),
)
