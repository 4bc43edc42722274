"""A physical copy, for comparison: what no dump can reach, and when to take one.

pg_basebackup, and pgBackRest where it is installed. Neither verifies what it restores.
"""

import shutil
from pathlib import Path

from backups.dump import dump
from backups.restore import Wish, restore
from backups.stores import LocalStore
from benchmarks.bench import Bench, Found
from benchmarks.figures import ratio_figure
from benchmarks.harness import Contestant, alternate
from benchmarks.site import Site
from casedb import cluster
from casedb import tools as programs
from casedb.unprivileged import launcher

RESTORED = "bench_physical"


def measure(site: Site) -> Found:
    """Measure."""
    admin, target, tools = site.own.admin, site.own.target, site.tools
    store = LocalStore(site.folder / "physical-store")
    label = dump(target, store, tools=tools).label
    copy = site.folder / "base"
    run_as = launcher()

    def backed_up(_place: Path) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        programs.run(
            [
                tools["pg_basebackup"], f"--pgdata={copy}", "--checkpoint=fast",
                "--wal-method=fetch",
            ],
            target=admin,
        )  # fmt: skip

    def started(place: Path) -> None:
        data = place / "data"
        shutil.copytree(copy, data, symlinks=True)
        place.chmod(0o711)
        run_as.give(data)
        data.chmod(0o700)
        settings = cluster.Settings(socket_dir=data, port=5432, listen_addresses="", server={})
        cluster.configure(data, settings, launcher=run_as)
        usable = run_as.reachable_tools(tools, site.folder)
        try:
            cluster.start(usable, data, log=data / "server.log", launcher=run_as)
        finally:
            cluster.stop(data)

    def ours(place: Path) -> None:
        restore(store, Wish(label, RESTORED), admin, tools=tools, scratch=place, record=False)

    backed_up(site.folder)
    arms = alternate(
        [
            Contestant("pg_basebackup", "a physical copy of the server, as it lies", backed_up),
            Contestant("start the copy", "the copy copied back, and the server started", started),
            Contestant(
                "restore",
                "casedb restore with its verification",
                ours,
                lambda: site.drop(RESTORED),
            ),
        ],
        rounds=site.rounds,
        meter=site.meter(),
        folder=site.folder,
        tell=site.tell,
    )
    shutil.rmtree(copy, ignore_errors=True)
    notes = [
        "a physical copy holds the whole server, byte for byte, for the same major version only"
    ]
    if not shutil.which("pgbackrest"):
        notes.append("pgBackRest is not installed here, and was not measured")
    return Found(
        list(arms.values()),
        [
            ratio_figure(
                "restore of a dump, of a physical copy's", arms["restore"], arms["start the copy"]
            )
        ],
        notes,
    )


BENCH = Bench("physical", "How much faster would a physical copy be back?", measure, minutes=3)
