"""A newcomer's `make up` in a fresh clone, and the second one after it."""

import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.bench import Bench, Found, at_most
from benchmarks.figures import plain_figure
from benchmarks.harness import Contestant, Did, Meter, alternate, clean_environment
from benchmarks.run import ROOT
from benchmarks.site import NotMeasured, Site
from casedb.errors import ToolFailedError

FIRST, SECOND = "make up, packages cached", "make up, once more"
_TIMEOUT_S = 300


def measure(site: Site) -> Found:
    """Measure; the server is the embedded one of the clone."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        raise NotMeasured("this is no git checkout to clone")
    second: list[float] = []

    def came_up(place: Path) -> Did:
        clone = place / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        try:
            first_s = make(clone, "up")
            second.append(make(clone, "up"))
        finally:
            make(clone, "down")
        return Did(wall_s=first_s)

    site.tell("once, so that the packages are cached")
    warm = site.folder / "warm"
    warm.mkdir()
    came_up(warm)
    second.clear()
    arms = alternate(
        [Contestant("first", "git clone, then make up", came_up)],
        rounds=site.rounds,
        meter=Meter(),
        folder=site.folder,
        tell=site.tell,
    )
    return Found(
        list(arms.values()),
        [
            plain_figure(FIRST, arms["first"].numbers, "s", targets=BENCH.targets),
            plain_figure(SECOND, second, "s", targets=BENCH.targets),
        ],
        ["what was committed was cloned; pip's cache was warm, the virtual environment was not"],
    )


def make(clone: Path, target: str) -> float:
    """Run a make target and return the seconds.

    Raises:
        ToolFailedError: it failed.
    """
    began = time.monotonic()
    done = subprocess.run(
        ["make", "--directory", str(clone), target],
        env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=_TIMEOUT_S,
    )  # fmt: skip
    if done.returncode:
        raise ToolFailedError(f"make {target} failed", detail=(done.stdout + done.stderr)[-800:])
    return time.monotonic() - began


BENCH = Bench(
    "up",
    "How long until a newcomer has a database, and a proven backup of it?",
    measure,
    minutes=3,
    targets=(at_most(FIRST, 30, "s"), at_most(SECOND, 5, "s")),
)
