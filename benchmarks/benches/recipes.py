"""The five ways of CONTRIBUTING.md to change a large table under load, each beside its plain form.

Both are migrations, applied by our own runner with its lock timeouts, while users read and write
the log's cases. What counts is the longest that anybody waited.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench, Found, at_least, at_most
from benchmarks.figures import Arm, Figure, Target, target_of
from benchmarks.harness import Contestant, Did, Meter, alternate
from benchmarks.load import SETTLED_S, Sizes, prepare, steady
from benchmarks.site import DATABASE, Site
from benchmarks.statements import FOLDER
from casedb import migrations
from casedb.conninfo import Conninfo
from casedb.errors import ToolFailedError
from casedb.migrations.files import read_folder
from casedb.sqlfiles import folder

RECIPES = {
    "index": "CREATE INDEX",
    "check": "ADD CONSTRAINT ... CHECK",
    "not-null": "SET NOT NULL",
    "foreign-key": "ADD CONSTRAINT ... FOREIGN KEY",
    "column": "ADD COLUMN with a default computed for each row",
}
TPS, CLIENTS = 150, 6
STALL_MS = 250.0
CLONE = "bench_recipes"
BLOCKING = "blocking"
_ATTEMPTS = 3


def measure(site: Site) -> Found:
    """Measure."""
    with site.database(CLONE, template=DATABASE) as target:
        sizes = prepare(target)

        def contestant(name: str, form: str, what: str) -> Contestant:
            def act(place: Path) -> Did:
                with recipe(name, form, place) as (source, count):
                    return under_load(target, sizes, source, count)

            return Contestant(f"{name} {form}", what, act, unit="ms")

        arms = alternate(
            [
                contestant(name, form, what)
                for name, plain in RECIPES.items()
                for form, what in (("recipe", f"instead of {plain}"), (BLOCKING, plain))
            ],
            rounds=site.rounds,
            meter=Meter(),
            folder=site.folder,
            tell=site.tell,
        )
    figures = [longest(name, arms[name]) for name in arms]
    durations = ", ".join(f"{name} {arm.costs[-1].wall_s:.1f} s" for name, arm in arms.items())
    return Found(
        list(arms.values()),
        figures,
        [
            f"{TPS} transactions a second by {CLIENTS} clients; "
            "the longest wait of all rounds, from when a transaction was due",
            f"the changes themselves took: {durations}",
        ],
    )


def under_load(target: Conninfo, sizes: Sizes, source: Path, count: int) -> Did:
    """Apply what is pending while users work, and roll it back after they have left."""
    migrator = target.replace(user="case_migrator")
    with steady(target, sizes, tps=TPS, clients=CLIENTS) as seen:
        time.sleep(SETTLED_S)
        begin = time.monotonic()
        _apply(migrator, source)
        end = time.monotonic()
        time.sleep(SETTLED_S)
    migrations.rollback(
        migrator, source=source, count=count, before_destructive=lambda _losses: None
    )
    if seen.errors:
        raise ToolFailedError(
            f"{len(seen.errors)} transactions failed under the change", detail=seen.errors[0]
        )
    # Who was due before the change began can still be held by it.
    worst_s = seen.worst(begin - SETTLED_S / 2, end + SETTLED_S)
    return Did(value=round(worst_s * 1000, 1), wall_s=end - begin)


def _apply(migrator: Conninfo, source: Path) -> None:
    """Apply as whoever is on duty does: once more where it gave way to users too often."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            migrations.apply(migrator, source=source)
            return
        except ToolFailedError as error:
            if attempt == _ATTEMPTS or "lock timeout" not in error.message:
                raise


@contextmanager
def recipe(name: str, form: str, place: Path) -> Iterator[tuple[Path, int]]:
    """Yield a folder with all migrations and those of one form behind them, and their number."""
    source = place / "migrations"
    shutil.copytree(folder("migrations"), source)
    before = read_folder(source)[-1].id
    number = int(before.split("-")[0])
    steps = [BLOCKING] if form == BLOCKING else [str(n) for n in range(1, 10)]
    count = 0
    for step in steps:
        found = FOLDER / "recipes" / f"{name}-{step}.sql"
        if not found.exists():
            break
        number, count = number + 1, count + 1
        identity = f"{number:04}-change-{name}"
        (source / f"{identity}.sql").write_text(f"-- depends: {before}\n{found.read_text()}")
        back = found.with_suffix(".rollback.sql").read_text()
        (source / f"{identity}.rollback.sql").write_text(back)
        before = identity
    yield source, count


def longest(name: str, arm: Arm) -> Figure:
    """Return the longest wait of all rounds."""
    figure = f"longest wait, {name}"
    return Figure(
        name=figure,
        value=max(arm.numbers),
        unit="ms",
        noise=(max(arm.numbers) - min(arm.numbers)) / 2 if len(arm.numbers) > 1 else None,
        target=target_of(figure, BENCH.targets),
    )


def _targets() -> Iterator[Target]:
    for name in RECIPES:
        yield at_most(f"longest wait, {name} recipe", STALL_MS, "ms")
        # Without a stall here the load proves nothing.
        yield at_least(f"longest wait, {name} {BLOCKING}", STALL_MS, "ms")


BENCH = Bench(
    "recipes",
    "Does anybody wait while a large table is changed?",
    measure,
    minutes=5,
    targets=tuple(_targets()),
)
