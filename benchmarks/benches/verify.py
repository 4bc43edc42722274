"""Reading a backup's bytes back, against sha256sum over the same files."""

import subprocess
from pathlib import Path

from backups.dump import dump
from backups.stores import LocalStore
from backups.verify import verify
from benchmarks.bench import Bench, Found, at_least
from benchmarks.figures import ratio_figure, self_noise
from benchmarks.harness import AGAIN, Contestant, Did, alternate
from benchmarks.site import Site

SPEED = "speed of verify, of sha256sum's"


def measure(site: Site) -> Found:
    """Measure."""
    store = LocalStore(site.folder / "verify-store")
    manifest = dump(site.filled.target, store, tools=site.tools)
    folder = store.root / manifest.database / manifest.label
    files = [str(folder / name) for name in manifest.files]

    def summed(_place: Path) -> Did:
        subprocess.run(["sha256sum", *files], stdout=subprocess.DEVNULL, check=True)
        return Did(manifest.size_bytes)

    def verified(_place: Path) -> Did:
        return Did(verify(store, manifest.label, tools=site.tools).size_bytes)

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
