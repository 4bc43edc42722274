"""The memory of each command that meets all rows or a whole backup, run one after the other.

What each is run as is said here, a line a command, and of every other verb why it is not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Formatter

from backups.catalog import LATEST, resolve_label
from backups.restore_facts import kept_databases
from backups.sealing import new_key
from backups.stores import open_store
from benchmarks import listed
from benchmarks.ceph import CREDENTIALS, Server
from benchmarks.harness import clean_environment, command
from benchmarks.peaks import Peaks, peaks_of
from benchmarks.site import DATABASE, Site
from casedb.conninfo import Conninfo
from casedb.database import connect

LIVE = "bench_live"
"""A clone of all cases that a restore may replace."""
_NEW = "bench_new"


@dataclass(frozen=True)
class Run:
    """One command, and what its figure is called."""

    name: str
    words: str
    """What is in braces is known when it is its turn."""
    turns: int = 1
    """How often it is run; the median counts."""


DUMPS = (Run("dump --jobs 2", "dump --jobs=2"), Run("dump", "dump"))
DRILL = Run("drill", "drill latest")
RUNS = (
    *DUMPS,
    DRILL,
    Run("verify", "verify latest"),
    Run("restore --into", f"restore latest --into={_NEW} --confirm={_NEW}"),
    Run("restore --table", f"restore latest --table=cases --table=case_logs --into={_NEW}"),
    Run("restore --schema-only", f"restore latest --schema-only --into={_NEW}"),
    Run("restore, swapped", "restore {label} --database={live} --confirm={live}"),
    # Confirmed beforehand, it does not ask what was written: it counts that afterwards.
    Run("undo-restore", "undo-restore --database={live} --confirm={live}"),
    Run("drop-kept", "drop-kept {kept} --database={live} --confirm={kept}"),
    Run("rotate", "rotate --apply"),
    Run("audit verify", "audit verify"),
    Run("audit verify --anchor", "audit verify --anchor=latest"),
    Run("access --backup", "access --backup=latest"),
    Run("documents check", "documents check --bucket={documents}"),
)
"""In an order in which each finds what it needs."""
SEED = Run("seed", "seed")
DUMP_FAR = Run("dump to S3", "dump", turns=5)
RUNS_FAR = (
    DUMP_FAR,
    Run("verify from S3", "verify latest --key={key}"),
    Run("restore from S3", f"restore latest --key={{key}} --into={_NEW} --confirm={_NEW}"),
)
"""The same into a bucket, encrypted, and back. How many parts are in flight when most are goes by
turns, so that one would tell little."""
LEFT_OUT: Mapping[str, str] = {
    "up": "a dump and a drill in one process, as here in two",
    "reset": "as up",
    "down": "no rows",
    "server": "no rows",
    "status": "manifests and reports, no rows",
    "backups": "manifests and reports, no rows",
    "shell": "pgcli's memory, not ours",
    "query": "a page of rows, or some for each user",
    "explain": "plans; the server throws the rows away",
    "migrate": "the catalog; before data are lost, the same dump and verification as here",
    "expire": "as rotate",
    "report-failure": "no rows",
    "audit show": "one case",
    "key": "no rows",
    "host": "no rows",
    "tune": "no rows",
    "rehearse": "no rows",
    "bench": "what measures",
    "compose": "no rows",
    "mark": "no rows",
    "check": "the catalog",
    "prisma": "the catalog",
    "config": "no rows",
}
"""Verbs, or groups of them, that meet no more where there are more rows; and why."""


def footprints(
    site: Site, admin: Conninfo, place: Path, *, live: str = DATABASE, runs: tuple[Run, ...] = RUNS
) -> Iterator[tuple[str, Peaks]]:
    """Yield the peaks of `runs` on the server of `admin`, with a store in the new folder `place`.

    `live` is the database that a restore replaces and its undo brings back.
    """
    store = str(place / "store")
    place.mkdir()
    (place / "casedb.toml").write_text(f'store = "{store}"\n')
    for run in runs:
        with ExitStack() as stack:
            bucket = listed.bucket_of(admin.replace(dbname=DATABASE))
            known: dict[str, Callable[[], str]] = {
                "live": lambda: live,
                "label": lambda: resolve_label(open_store(store), DATABASE, LATEST).label,
                "kept": lambda: _kept(admin, live)[0],
                # Its session would be in the way of a swap.
                "documents": partial(stack.enter_context, bucket),
            }
            words = _words(run, known)
            site.tell(f"memory of {run.name}")
            yield run.name, footprint(site, admin, place, words, **listed.CREDENTIALS)


def footprints_far(
    site: Site, admin: Conninfo, place: Path, server: Server
) -> Iterator[tuple[str, Peaks]]:
    """Yield the peaks of RUNS_FAR with a bucket of `server`, which is empty afterwards."""
    url = server.new_store()
    place.mkdir()
    public = new_key(place / "key")
    (place / "casedb.toml").write_text(f'store = "{url}"\nrecipients = ["{public}"]\n')
    try:
        for run in RUNS_FAR:
            site.tell(f"memory of {run.name}")
            words = _words(run, {"key": lambda: str(place / "key")})
            turns = [footprint(site, admin, place, words, **CREDENTIALS) for _ in range(run.turns)]
            yield run.name, middle(turns)
    finally:
        server.empty(url)


def middle(turns: Sequence[Peaks]) -> Peaks:
    """Return the one of an odd number of `turns` whose programs had neither most nor least."""
    return sorted(turns, key=lambda found: found.programs)[len(turns) // 2]


def footprint(
    site: Site, admin: Conninfo, place: Path, words: list[str], **environment: str
) -> Peaks:
    """Return the most memory of one command, which logs in as the role it is for.

    A new database that it was to make is removed.
    """
    where = admin.replace(user=None, dbname=None).dsn
    try:
        return peaks_of(
            command(*words, f"--conninfo={where}"),
            env=clean_environment(PG_BIN=str(site.tools.bindir), **environment),
            cwd=place,
        )
    finally:
        if f"--into={_NEW}" in words:
            site.drop(_NEW, admin)


@contextmanager
def cloned(site: Site) -> Iterator[None]:
    """Let LIVE be there for the length of the block, and nothing of it afterwards."""
    with site.database(LIVE, template=DATABASE):
        try:
            yield
        finally:
            for name in _kept(site.own.admin, LIVE):
                site.drop(name)


def _kept(admin: Conninfo, live: str) -> list[str]:
    """Return the databases that are kept of `live`, the newest first."""
    with connect(admin, purpose="bench") as connection:
        return [found.name for found in kept_databases(connection, live)]


def _words(run: Run, known: Mapping[str, Callable[[], str]]) -> list[str]:
    """Return the words of a command; only what it names is asked for."""
    named = {field for _, field, _, _ in Formatter().parse(run.words) if field}
    return run.words.format_map({name: known[name]() for name in named}).split()
