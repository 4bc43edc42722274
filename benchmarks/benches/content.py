"""The hash of all content, which a dump records and a restore compares."""

from pathlib import Path

from backups import content, snapshot
from backups.dump import dump
from backups.manifest import TableFacts
from backups.restore import Wish, restore
from backups.stores import LocalStore
from benchmarks.bench import Bench, Found, at_most
from benchmarks.figures import plain_figure
from benchmarks.harness import Contestant, alternate
from benchmarks.site import Site
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import DifferenceError

SHARE = "content hash, of the restore's CPU"
RESTORED = "bench_hashed"


def hashes(target: Conninfo) -> list[TableFacts]:
    """Return what every table holds."""
    with connect(target, purpose="bench") as connection:
        snapshot.prepare_session(connection, content.SETTINGS)
        relations = [r for r in snapshot.read_relations(connection) if r.has_rows]
        columns = content.read_columns(connection, relations)
        return [content.read_content(connection, r, columns[r.oid]) for r in relations]


def measure(site: Site) -> Found:
    """Measure, and see that the value is the same before the dump and after the restore."""
    admin, target, tools = site.own.admin, site.own.target, site.tools
    store = LocalStore(site.folder / "content-store")
    label = dump(target, store, tools=tools).label

    def restored(place: Path) -> None:
        restore(store, Wish(label, RESTORED), admin, tools=tools, scratch=place, record=False)

    def compared() -> None:
        if hashes(admin.replace(dbname=RESTORED)) != hashes(target):
            raise DifferenceError("the content hash is another one after the restore")
        site.drop(RESTORED)

    def hashed(_place: Path) -> None:
        hashes(target)

    arms = alternate(
        [
            Contestant("hash", "the content hash of every table, one after the other", hashed),
            Contestant("restore", "casedb restore with its verification", restored, compared),
        ],
        rounds=site.rounds,
        meter=site.meter(),
        folder=site.folder,
        tell=site.tell,
    )
    shares = [
        mine.cpu_s / whole.cpu_s * 100
        for mine, whole in zip(arms["hash"].costs, arms["restore"].costs, strict=True)
    ]
    figure = plain_figure(
        SHARE, shares, "%", targets=BENCH.targets, note="CPU seconds of all processes"
    )
    notes = ["the value after the restore was that before the dump, in every round"]
    return Found(list(arms.values()), [figure], notes)


BENCH = Bench(
    "content",
    "What does it cost to know that every row is the same?",
    measure,
    minutes=3,
    targets=(at_most(SHARE, 12, "%"),),
)
