"""Users at work: lists, details, changes of status and assignments, eight clients at once.

On a clone of the cases, in transactions that act for one user, with prepared statements.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, Found, at_least
from benchmarks.figures import ratio_figure, self_noise
from benchmarks.harness import AGAIN, Contestant, Did, Meter, alternate
from benchmarks.hugepages import reserved
from benchmarks.load import WEIGHTS, Sizes, prepare, transactions_a_second
from benchmarks.site import DATABASE, Site
from benchmarks.statements import read_sql
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from deploy.machine import local_facts, machine_from_facts
from deploy.tuning import Workload, tune

TUNED = "tuned configuration, of PostgreSQL's default"
SECURED = "row security on, of off"
CLONE = "bench_mix"
CLIENTS = 8
_SECONDS, _WARMING_S = 20, 4
_HAS_LZ4 = "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'wal_compression'"
_TRIAL_CASES = 50_000
"""With fewer, it is a trial of the bench and no measurement."""


@dataclass(frozen=True)
class _Arm:
    """What the users work on."""

    name: str
    what: str
    settings: Mapping[str, str]
    huge_pages: bool = False
    """Whether the kernel reserves what the settings ask for."""
    switched: str = ""
    """What is switched off, and on again afterwards: the beginning of two files' names."""


def measure(site: Site) -> Found:
    """Measure."""
    admin = site.own.admin
    seconds, warming_s = (_SECONDS, _WARMING_S) if site.cases >= _TRIAL_CASES else (2, 1)
    with connect(admin, purpose="bench") as connection:
        # This machine's packages may know it, and the server that is measured not.
        has_lz4 = scalar(connection, _HAS_LZ4)
    machine = machine_from_facts(local_facts(), pg_major=site.tools.major)
    machine = replace(machine, has_lz4=machine.has_lz4 and bool(has_lz4))
    tuned = tune(machine, Workload.OLTP).values
    default = defaults(admin, tuned)
    without: list[str | None] = []
    with site.database(CLONE, template=DATABASE) as target:
        sizes = prepare(target)

        def work(arm: _Arm, _place: Path) -> Did:
            # PostgreSQL tries for huge pages by itself; who reserves them is part of tuning.
            with ExitStack() as stack:
                if arm.huge_pages:
                    without.append(stack.enter_context(reserved(arm.settings)))
                stack.enter_context(site.settings(arm.settings))
                if arm.switched:
                    _change(target, f"mix/{arm.switched}-off.sql")
                    stack.callback(_change, target, f"mix/{arm.switched}-on.sql")
                _run(target, site, sizes, warming_s)
                with connect(admin, purpose="bench") as connection:
                    # Most of the time a server is between two checkpoints, and pages that change
                    # for the first time since the last one are written whole.
                    connection.execute("CHECKPOINT")
                return Did(value=_run(target, site, sizes, seconds))

        arms = alternate(
            [
                Contestant(arm.name, arm.what, partial(work, arm), unit="tps")
                for arm in (
                    _Arm("default", "PostgreSQL's own settings", default),
                    _Arm("plan", "the plan's six settings", {}),
                    _Arm(
                        "tuned",
                        "casedb tune for this machine, its huge pages reserved",
                        tuned,
                        huge_pages=True,
                    ),
                    _Arm(
                        "no row security",
                        "tuned, row security switched off",
                        tuned,
                        huge_pages=True,
                        switched="row-security",
                    ),
                    _Arm(
                        "no chain",
                        "tuned, the log written without its chain",
                        tuned,
                        huge_pages=True,
                        switched="chain",
                    ),
                )
            ],
            rounds=site.rounds,
            meter=Meter(),
            again="tuned",
            folder=site.folder,
            tell=site.tell,
        )
    floor = self_noise(arms["tuned"], arms["tuned" + AGAIN])
    targets = BENCH.targets
    return Found(
        list(arms.values()),
        [
            ratio_figure(TUNED, arms["tuned"], arms["default"], targets=targets, floor=floor),
            ratio_figure(
                SECURED, arms["tuned"], arms["no row security"], targets=targets, floor=floor
            ),
            ratio_figure("audit chain on, of off", arms["tuned"], arms["no chain"], floor=floor),
            ratio_figure(
                "the plan's settings, of PostgreSQL's default",
                arms["plan"],
                arms["default"],
                floor=floor,
            ),
        ],
        [
            f"{CLIENTS} clients, {seconds} s a run after {warming_s} s and a checkpoint; "
            + ", ".join(f"{name} {weight}" for name, weight in WEIGHTS.items()),
            f"{sizes.workers:,} caseworkers, {sizes.work:,} cases in progress",
            "huge pages, tuned: " + "; ".join(sorted({why or "reserved" for why in without})),
        ],
    )


def defaults(admin: Conninfo, names: Mapping[str, str]) -> dict[str, str]:
    """Return what PostgreSQL itself says of these settings."""
    with connect(admin, purpose="bench") as connection:
        rows = connection.execute(read_sql("defaults.sql"), (list(names),)).fetchall()
    return {str(name): str(value) for name, value in rows}


def _run(target: Conninfo, site: Site, sizes: Sizes, seconds: int) -> float:
    return transactions_a_second(target, site.tools, sizes, clients=CLIENTS, seconds=seconds)


def _change(target: Conninfo, name: str) -> None:
    with connect(target, purpose="bench") as connection:
        connection.execute(read_sql(name))


BENCH = Bench(
    "mix",
    "How many transactions a second, and what do row security and the audit chain cost?",
    measure,
    minutes=9,
    targets=(at_least(TUNED, 1.2), at_least(SECURED, 0.9)),
)
