"""The full walk of the audit chain."""

from pathlib import Path

from benchmarks.bench import Bench, Found
from benchmarks.figures import plain_figure
from benchmarks.harness import Contestant, alternate
from benchmarks.site import Site
from casedb import audit
from casedb.database import connect
from casedb.errors import DifferenceError


def measure(site: Site) -> Found:
    """Measure."""
    reader = site.filled.target.replace(user="case_readonly")
    logs = site.filled.logs

    def walked(_place: Path) -> None:
        with connect(reader, purpose="bench") as connection:
            report = audit.verify(connection)
        if report.problems or report.entries != logs:
            raise DifferenceError(
                "the audit trail does not hold", detail="\n".join(report.problems[:5]) or None
            )

    arms = alternate(
        [Contestant("walk", "casedb audit verify: every entry of every chain", walked)],
        rounds=site.rounds,
        meter=site.meter(),
        folder=site.folder,
        tell=site.tell,
    )
    walk = arms["walk"]
    millions = logs / 1e6
    cpu = [cost.cpu_s / millions for cost in walk.costs]
    return Found(
        list(arms.values()),
        [
            plain_figure("a million entries", [n / millions for n in walk.numbers], "s"),
            plain_figure("CPU of a million entries", cpu, "s"),
        ],
    )


BENCH = Bench("audit", "How long does a full walk of the audit chain take?", measure, minutes=2)
