"""Reading a backup's bytes back, against sha256sum over the same files."""

import subprocess
from pathlib import Path

from backups.catalog import read_manifest
from backups.verify import database_named, verify
from benchmarks.bench import Bench, Found, at_least
from benchmarks.figures import ratio_figure, self_noise
from benchmarks.harness import AGAIN, Contestant, Did, alternate
from benchmarks.site import Site

SPEED = "speed of verify, of sha256sum's"


def measure(site: Site) -> Found:
    """Measure."""
    store, label = site.backup
    manifest = read_manifest(store, database_named(label), label)
    folder = store.root / manifest.database / label
    files = [str(folder / name) for name in manifest.files]

    def summed(_place: Path) -> Did:
        subprocess.run(["sha256sum", *files], stdout=subprocess.DEVNULL, check=True)
        return Did(manifest.size_bytes)

    def verified(_place: Path) -> Did:
        return Did(verify(store, label, tools=site.tools).size_bytes)

    arms = alternate(
        [
            Contestant("sha256sum", "sha256sum over the same files", summed),
            Contestant("verify", "casedb verify: SHA-256, zstd to its end, listed", verified),
        ],
        # Short, so more of them.
        rounds=max(site.rounds, 3),
        meter=site.meter(),
        again="sha256sum",
        folder=site.folder,
        tell=site.tell,
    )
    floor = self_noise(arms["sha256sum"], arms["sha256sum" + AGAIN])
    figure = ratio_figure(
        SPEED, arms["sha256sum"], arms["verify"], targets=BENCH.targets, floor=floor
    )
    return Found(list(arms.values()), [figure])


BENCH = Bench(
    "verify",
    "How fast are a backup's bytes checked?",
    measure,
    minutes=1,
    targets=(at_least(SPEED, 0.5),),
)
