"""The second run over two real Debian hosts that are as they should be, against an empty deploy."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.bench import Bench, Found, at_most
from benchmarks.figures import Figure, plain_figure
from benchmarks.harness import Contestant, Meter, Tell, alternate, clean_environment, command
from benchmarks.run import ROOT
from benchmarks.site import NotMeasured, Site
from casedb.errors import ToolFailedError

ABOVE = "second run over two hosts, above an empty deploy"
INVENTORY = ROOT / "inventories" / "containers.py"
COMMANDS = "remote commands of a host in a second run, at most"
_APPLY = command("host", "apply", str(INVENTORY), "--yes", "--json")
_TIMEOUT_S = 900


def measure(site: Site) -> Found:
    """Measure; the hosts are made for it and removed afterwards."""
    if os.geteuid() != 0 or not shutil.which("docker"):
        raise NotMeasured("rehearsal hosts need Docker and root")
    home = site.folder / "hosts"
    home.mkdir()
    (home / "casedb.toml").touch()
    try:
        site.tell("making the hosts")
        _run(command("rehearse", "up"), home)
        site.tell("the first run, from bare")
        _run(_APPLY, home)
        return second_runs(home, rounds=site.rounds, tell=site.tell)
    finally:
        _run(command("rehearse", "down"), home)


def second_runs(home: Path, *, rounds: int, tell: Tell = lambda _words: None) -> Found:
    """Measure on the rehearsal hosts of `home`, which are as they should be."""
    nothing = home / "nothing.py"
    nothing.write_text("")
    plain = [sys.executable, "-P", "-m", "pyinfra", str(INVENTORY), str(nothing), "-y"]
    commands: list[int] = []

    def empty(_place: Path) -> None:
        _run(plain, home)

    def second(_place: Path) -> None:
        found = json.loads(_run(_APPLY, home))
        commands.extend(host["commands"] for host in found["hosts"])

    arms = alternate(
        [
            Contestant("empty deploy", "plain pyinfra, with nothing to do", empty),
            Contestant("second run", "casedb host apply, with nothing to change", second),
        ],
        rounds=rounds,
        meter=Meter(),
        tell=tell,
    )
    above = [
        mine - nothing_s
        for mine, nothing_s in zip(
            arms["second run"].numbers, arms["empty deploy"].numbers, strict=True
        )
    ]
    return Found(
        list(arms.values()),
        [
            plain_figure(ABOVE, above, "s", targets=BENCH.targets),
            Figure(name=COMMANDS, value=max(commands)),
        ],
    )


def _run(argv: list[str], home: Path) -> str:
    done = subprocess.run(
        argv, cwd=home, env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=_TIMEOUT_S,
    )  # fmt: skip
    if done.returncode:
        raise ToolFailedError(
            f"{' '.join(argv[3:6])} failed", detail=(done.stdout + done.stderr)[-800:]
        )
    return done.stdout


BENCH = Bench(
    "hosts",
    "How long does it take to see that nothing has drifted?",
    measure,
    minutes=5,
    targets=(at_most(ABOVE, 5, "s"),),
)
