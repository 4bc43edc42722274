"""How long the command takes to say what it can do."""

import subprocess
import sys
from pathlib import Path

from benchmarks.bench import Bench, Found, at_most
from benchmarks.figures import plain_figure
from benchmarks.harness import Contestant, Meter, alternate, clean_environment, command
from benchmarks.site import Site

HELP = "casedb --help"
_ROUNDS = 10


def measure(site: Site) -> Found:
    """Measure; no server is needed."""
    environment = clean_environment()

    def run(argv: list[str]) -> None:
        subprocess.run(
            argv, env=environment, cwd=site.folder, stdout=subprocess.DEVNULL, check=True
        )

    def helped(_place: Path) -> None:
        run(command("--help"))

    def idle(_place: Path) -> None:
        run([sys.executable, "-P", "-c", "pass"])

    helped(site.folder)
    arms = alternate(
        [
            Contestant("python", "Python that does nothing", idle),
            Contestant("help", "casedb --help", helped),
        ],
        rounds=max(site.rounds, _ROUNDS),
        meter=Meter(),
        folder=site.folder,
        tell=site.tell,
    )
    figure = plain_figure(HELP, arms["help"].numbers, "s", targets=BENCH.targets)
    return Found(list(arms.values()), [figure])


BENCH = Bench(
    "start",
    "How long does the command take to start?",
    measure,
    minutes=0.2,
    targets=(at_most(HELP, 0.3, "s"),),
)
