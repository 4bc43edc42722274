"""A dump with its proof, against the plan's script, pg_dump at its best, and the limit."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from psycopg import sql

from backups import content, snapshot
from backups.anchors import compressed_heads
from backups.archive_form import USUAL, ArchiveForm
from backups.archive_stream import archive_stream
from backups.dump import LOCK_WAIT_S, dump
from backups.manifest import DUMP, MANIFEST, TableFacts
from backups.stores import LocalStore
from backups.streams import compress
from benchmarks.bench import Bench, Found, at_least, at_most
from benchmarks.figures import plain_figure, ratio_figure, self_noise, size_figure
from benchmarks.harness import AGAIN, Contestant, Did, alternate
from benchmarks.rounds import by_round
from benchmarks.site import Site
from benchmarks.statements import read_sql
from casedb import tools as programs
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.tools import PostgresTools

HALVED_BYTES = 100 << 20
IN_TWO = ArchiveForm(jobs=2)
SMALL_LEVEL = 9
_LABEL = "20260101T000000Z"
FASTER = "faster than the plan's script"
SIZE = "size, of the plan's"
LIMIT = "without the proof, of the COPY limit"
PROOF = "what the proof adds: hashes, heads and catalog"
ANCHOR = "anchoring the audit trail, of the dump's CPU"


def plan(target: Conninfo, tools: PostgresTools, place: Path) -> Path:
    """Run the plan's script, section 8, and return what it wrote."""
    file = place / "backup.sql"
    with file.open("wb") as out:
        environment = programs.child_environment(target)
        subprocess.run([tools["pg_dump"]], env=environment, stdout=out, check=True)
    subprocess.run(["gzip", str(file)], check=True)
    return file.with_suffix(".sql.gz")


def copy_all(target: Conninfo, tools: PostgresTools, *, binary: bool = False) -> None:
    """Read every table to nowhere, two at a time and large ones in halves."""
    into = sql.SQL("TO STDOUT (FORMAT binary)" if binary else "TO STDOUT")
    with connect(target, purpose="bench") as connection:
        statements = []
        for schema, name, size, pages in connection.execute(read_sql("tables.sql")):
            table = sql.Identifier(schema, name)
            if size < HALVED_BYTES:
                statements.append(sql.SQL("COPY {} {}").format(table, into).as_string(connection))
                continue
            middle = sql.Literal(f"({pages // 2},1)")
            for side in (sql.SQL("<"), sql.SQL(">=")):
                rows = sql.SQL("COPY (SELECT * FROM {} WHERE ctid {} {}) {}")
                statements.append(rows.format(table, side, middle, into).as_string(connection))

    def one(statement: str) -> None:
        argv = [tools["psql"], "--no-psqlrc", "--quiet", f"--command={statement}"]
        environment = programs.child_environment(target)
        subprocess.run(argv, env=environment, stdout=subprocess.DEVNULL, check=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, statements))


def bare(target: Conninfo, tools: PostgresTools, place: Path, form: ArchiveForm = USUAL) -> int:
    """Put the archive of a dump into a store, without any proof; return the bytes written.

    As a dump does it: flushed to the disk, and read back.
    """
    store = LocalStore(place / "store")
    with connect(target, purpose="bench") as connection:
        snapshot.prepare_session(connection, content.SETTINGS)
        with (
            snapshot.hold(connection, lock_wait_s=LOCK_WAIT_S) as held,
            archive_stream(
                connection,
                target,
                tools=tools,
                snapshot=held.identifier,
                form=form,
                lock_wait_ms=int(LOCK_WAIT_S * 1000),
            ) as stream,
            store.lock(target.dbname),
            store.new_set(target.dbname, _LABEL) as new,
        ):
            with new.create(DUMP) as file:
                written = compress(stream, file, form.compress_level, stream.is_accelerated)
            found = new.read_back(DUMP)
            assert found
            assert found.same_bytes(written)
            # It stays, as a dump's set does: to delete it takes time as well.
            with new.create(MANIFEST):
                pass
            new.commit()
            return written.size_bytes


def best(target: Conninfo, tools: PostgresTools, folder: Path) -> int:
    """Run pg_dump in parallel with its fastest compression; return the bytes written."""
    # Without zstd, gzip's lowest level is the fastest.
    packed = "--compress=zstd:3" if knows_zstd(tools) else "--compress=1"
    argv = [tools["pg_dump"], "--format=directory", "--jobs=2", packed, f"--file={folder}"]
    programs.run(argv, target=target)
    return sum(path.stat().st_size for path in folder.iterdir())


def knows_zstd(tools: PostgresTools) -> bool:
    """Whether this pg_dump can compress with zstd: from 16 on, where it was built with it."""
    if tools.major < 16 or not Path(tools["pg_config"]).exists():
        return False
    return "--with-zstd" in programs.run([tools["pg_config"], "--configure"])


def heads(target: Conninfo, place: Path) -> int:
    """Read the heads of all chains of the audit trail as a dump does; return the bytes written."""
    with connect(target, purpose="bench") as connection, (place / "heads").open("wb") as file:
        snapshot.prepare_session(connection, content.SETTINGS)
        return compressed_heads(connection, file).size_bytes


def hashes(target: Conninfo) -> list[TableFacts]:
    """Return what every table holds, one after the other."""
    with connect(target, purpose="bench") as connection:
        snapshot.prepare_session(connection, content.SETTINGS)
        relations = [r for r in snapshot.read_relations(connection) if r.has_rows]
        columns = content.read_columns(connection, relations)
        return [content.read_content(connection, r, columns[r.oid]) for r in relations]


def measure(site: Site) -> Found:
    """Measure."""
    target, tools = site.filled.target, site.tools

    def proven(place: Path, form: ArchiveForm = USUAL) -> Did:
        store = LocalStore(place / "store")
        manifest = dump(target, store, tools=tools, form=form)
        return Did(manifest.size_bytes)

    def copied(_place: Path) -> None:
        copy_all(target, tools)

    def copied_in_binary(_place: Path) -> None:
        copy_all(target, tools, binary=True)

    def hashed(_place: Path) -> None:
        hashes(target)

    arms = alternate(
        [
            Contestant(
                "plan",
                "pg_dump into a file, then gzip, as the plan's script has it",
                lambda place: Did(plan(target, tools, place).stat().st_size),
            ),
            Contestant("dump", "casedb dump: with proof, read back, flushed to the disk", proven),
            Contestant(
                "bare",
                "a dump without its proof: the archive alone, read back and flushed",
                lambda place: Did(bare(target, tools, place)),
            ),
            Contestant(
                "bare in two",
                "the same with --jobs 2: two sessions read each large table",
                lambda place: Did(bare(target, tools, place, IN_TWO)),
            ),
            Contestant("copy", "COPY of every table to nowhere, two at a time: the limit", copied),
            Contestant("copy in binary", "the same in COPY's binary format", copied_in_binary),
            Contestant(
                "dump in two",
                "casedb dump --jobs 2",
                lambda place: proven(place, IN_TWO),
            ),
            Contestant(
                "dump in text",
                "casedb dump --copy-format text",
                lambda place: proven(place, ArchiveForm(binary=False)),
            ),
            Contestant(
                "small dump",
                f"casedb dump --compress {SMALL_LEVEL}",
                lambda place: proven(place, ArchiveForm(compress_level=SMALL_LEVEL)),
            ),
            Contestant(
                "best pg_dump",
                "pg_dump alone at its best: two jobs, "
                + ("zstd level 3" if knows_zstd(tools) else "gzip level 1"),
                lambda place: Did(best(target, tools, place / "directory")),
            ),
            Contestant(
                "heads",
                "the heads of the audit trail alone, which are part of the dump",
                lambda place: Did(heads(target, place)),
            ),
            Contestant(
                "hashes",
                "the content hashes of all tables alone, which are part of the dump",
                hashed,
            ),
        ],
        rounds=site.rounds,
        meter=site.meter(),
        again="bare",
        often={"dump", "bare", "bare in two", "copy"},
        folder=site.folder,
        tell=site.tell,
    )
    floor = self_noise(arms["bare"], arms["bare" + AGAIN])
    sizes = {name: arm.size_bytes or 0 for name, arm in arms.items()}
    targets = BENCH.targets

    def share(part: str) -> list[float]:
        costs = ([cost.cpu_s for cost in arms[name].costs] for name in (part, "dump"))
        return [of_it / whole * 100 for of_it, whole in by_round(*costs)]

    return Found(
        list(arms.values()),
        [
            ratio_figure(FASTER, arms["plan"], arms["dump"], targets=targets, floor=floor),
            size_figure(SIZE, sizes["dump"], sizes["plan"], targets=targets),
            ratio_figure(LIMIT, arms["bare in two"], arms["copy"], targets=targets, floor=floor),
            ratio_figure(
                PROOF, arms["dump"], arms["bare"], targets=targets, floor=floor, percent_more=True
            ),
            plain_figure(ANCHOR, share("heads"), "%", targets=targets),
            plain_figure("content hashes, of the dump's CPU", share("hashes"), "%"),
            ratio_figure(
                "without the proof, of a COPY in binary",
                arms["bare in two"],
                arms["copy in binary"],
                floor=floor,
            ),
            ratio_figure("dump --jobs 2, of dump", arms["dump in two"], arms["dump"], floor=floor),
            ratio_figure(
                "dump --copy-format text, of dump", arms["dump in text"], arms["dump"], floor=floor
            ),
            ratio_figure(
                f"dump --compress {SMALL_LEVEL}, faster than the plan's script",
                arms["plan"],
                arms["small dump"],
                floor=floor,
            ),
            size_figure(
                f"size with --compress {SMALL_LEVEL}, of the plan's",
                sizes["small dump"],
                sizes["plan"],
                targets=targets,
            ),
            ratio_figure(
                "dump with proof, of the best pg_dump",
                arms["dump"],
                arms["best pg_dump"],
                floor=floor,
            ),
        ],
    )


BENCH = Bench(
    "dump",
    "How fast and how large is a backup with its proof?",
    measure,
    minutes=10,
    targets=(
        at_least(FASTER, 5.5),
        at_most(SIZE, 0.80),
        at_most(LIMIT, 1.4),
        at_most(PROOF, 30, "%"),
        at_most(ANCHOR, 10, "%"),
    ),
)
