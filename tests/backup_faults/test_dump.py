"""A dump is hit at every phase: no false success, nothing that counts, and the next one works.

Each cell proves from the server's views and the store's files that it hits its phase, or fails.
"""

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from backups.chain import read_head
from tests.backup_faults.site import DATABASE, Site, thaw, wait, wait_until
from tests.matrix.disk import SmallDisk
from tests.matrix.server import CRASHED
from tests.matrix.table import leave_row

OURS = f"datname = '{DATABASE}' AND application_name = 'casedb dump'"
THEIRS = f"datname = '{DATABASE}' AND application_name LIKE 'casedb dump for %'"
HELD = (
    f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND backend_xmin IS NOT NULL"
    " AND xact_start IS NOT NULL"
)
LOCKED = (
    "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
    " WHERE l.relation = 'public.cases'::regclass AND l.mode = 'AccessShareLock' AND l.granted"
    " AND a.application_name = 'casedb dump'"
)
PROGRAMS = f"SELECT count(*) FROM pg_stat_activity WHERE {THEIRS}"
SESSIONS = (
    f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{DATABASE}'"
    " AND application_name LIKE 'casedb dump%'"
)
COPYING = (
    f"SELECT count(*) FROM pg_stat_activity WHERE {THEIRS} AND state = 'active'"
    " AND query LIKE 'COPY padding.two %'"
)
READING = (
    f"SELECT count(*) FROM pg_stat_activity WHERE {THEIRS} AND state = 'active'"
    " AND query LIKE 'COPY %padding.one %TO STDOUT (FORMAT binary);'"
)

MISSES = 5
"""So many dumps may be done with their programs before these are caught."""


@dataclass(frozen=True)
class Caught:
    """A dump that stands where it is to be hit."""

    process: "subprocess.Popen[str]"
    proof: str
    frozen: tuple[int, ...] = ()

    def go_on(self, site: Site) -> None:
        """Let it go on as far as it can."""
        site.marker.unlink(missing_ok=True)
        thaw(self.frozen)


def globals_taken(site: Site) -> Caught:
    process = site.start("event:open:/.partial-.*/globals.sql", "dump")
    site.wait_until_stopped()
    assert site.ask(LOCKED) == 0
    assert site.partial() == set()
    return Caught(process, "files: none; no table locked yet")


def snapshot_held(site: Site) -> Caught:
    process = site.start("event:subprocess.Popen:--snapshot", "dump")
    site.wait_until_stopped()
    assert site.ask(HELD) == 1
    assert site.ask(LOCKED) == 1
    assert site.ask(PROGRAMS) == 1
    return Caught(process, "pg_locks: tables locked, a reader, no pg_dump")


def archive_being_written(site: Site, *words: str) -> Caught:
    process, frozen = _caught(site, "pg_dump", lambda: site.ask(COPYING) >= 1, *words)
    return Caught(process, "pg_stat_activity: pg_dump in COPY", frozen)


def readers_at_work(site: Site, count: int) -> Caught:
    process, frozen = _caught(
        site, "psql", lambda: site.ask(READING) == count, "--jobs", str(count)
    )
    return Caught(process, f"pg_stat_activity: {count} in COPY", frozen)


def _caught(
    site: Site, program: str, is_there: Callable[[], bool], *words: str
) -> tuple["subprocess.Popen[str]", tuple[int, ...]]:
    """Start a dump, and stop its programs at their work, which they go on with while it waits."""
    never = f"{program} was never seen at its work"
    for _ in range(MISSES):
        process = site.start("step:proving the tables", "dump", *words)
        if frozen := site.catch(program, is_there, never, may_miss=True):
            site.wait_until_stopped()
            assert any("database.dump" in name for name in site.partial())
            assert not any("manifest" in name for name in site.partial())
            return process, frozen
        # On a busy machine they can be done before anybody has looked.
        process.terminate()
        assert wait(process)[0] == 128 + signal.SIGTERM
        site.marker.unlink()
    raise AssertionError(f"{never}, in {MISSES} dumps")


def proof_taken(site: Site) -> Caught:
    process = site.start("step:anchoring the audit trail", "dump")
    site.wait_until_stopped()
    site.wait_for(lambda: site.ask(PROGRAMS) == 0, "pg_dump and its reader did not end")
    assert site.ask(HELD) == 1
    assert not any("heads" in name for name in site.partial())
    return Caught(process, "pg_stat_activity: snapshot, programs gone")


def heads_taken(site: Site) -> Caught:
    process = site.start("event:open:heads.txt", "dump")
    site.wait_until_stopped()
    assert site.ask(HELD) == 1
    assert "globals.sql" in site.partial()
    assert not any("heads" in name or "catalog" in name for name in site.partial())
    return Caught(process, "snapshot; heads about to be opened")


def catalog_taken(site: Site) -> Caught:
    process = site.start("event:open:/.partial-.*/catalog.json", "dump")
    site.wait_until_stopped()
    assert site.ask(HELD) == 0
    assert any("heads" in name for name in site.partial())
    assert not {"catalog.json", "RESTORE.txt"} & site.partial()
    return Caught(process, "files: heads there, no catalog yet")


def instructions_written(site: Site) -> Caught:
    process = site.start("event:open:/.partial-.*/RESTORE.txt", "dump")
    site.wait_until_stopped()
    assert "catalog.json" in site.partial()
    assert "RESTORE.txt" not in site.partial()
    return Caught(process, "files: catalog there, no RESTORE.txt yet")


def read_back(site: Site) -> Caught:
    process = site.start("step:reading the archive back", "dump")
    site.wait_until_stopped()
    assert site.ask(HELD) == 0
    assert "RESTORE.txt" in site.partial()
    assert "manifest.json" not in site.partial()
    return Caught(process, "files: all but the manifest")


def manifest_written(site: Site) -> Caught:
    process = site.start("event:open:/.partial-.*/manifest.json", "dump")
    site.wait_until_stopped()
    assert "RESTORE.txt" in site.partial()
    assert "manifest.json" not in site.partial()
    return Caught(process, "files: manifest about to be opened")


def before_commit(site: Site) -> Caught:
    process = site.start("event:os.rename:.partial-", "dump")
    site.wait_until_stopped()
    assert "manifest.json" in site.partial()
    assert site.new_labels() == []
    return Caught(process, "files: manifest there, set hidden")


def after_commit(site: Site) -> Caught:
    process = site.start("event:open:/chain/case_management.", "dump")
    # The first time the memory of the host is read, before anything else is decided.
    site.wait_until_stopped()
    assert site.new_labels() == []
    site.marker.unlink()
    process.communicate(timeout=120)
    # Before the commit: twice what was announced and once the head are read, then it announces.
    process = site.start("event:open:/chain/case_management.:5", "dump")
    site.wait_until_stopped()
    assert site.partial() == set()
    label = max(site.new_labels())
    head = read_head(site.home / "data" / "chain", DATABASE)
    assert head is not None
    assert head.label != label
    return Caught(process, "files: set visible, host unaware")


CATCH: dict[str, Callable[[Site], Caught]] = {
    "globals": globals_taken,
    "snapshot held": snapshot_held,
    "archive being written": archive_being_written,
    "reader": partial(readers_at_work, count=1),
    "two readers (--jobs 2)": partial(readers_at_work, count=2),
    "proof": proof_taken,
    "heads": heads_taken,
    "catalog": catalog_taken,
    "RESTORE.txt": instructions_written,
    "read back": read_back,
    "manifest": manifest_written,
    "before commit": before_commit,
    "after commit": after_commit,
}
COMPLETE = {"after commit"}
LATE = {"before commit", "after commit"}
"""Nothing is written any more but a name, and a signal stops nothing."""
UNASKED = {*LATE, "catalog", "RESTORE.txt", "read back", "manifest"}
"""Nothing is asked of the server any more."""


def crash(site: Site) -> None:
    crashes = site.server.log.count(CRASHED)
    site.server.kill()
    site.server.start()
    assert site.server.log.count(CRASHED) == crashes + 1


def drop(site: Site) -> None:
    # The server says who was there, and the wire whom it led to.
    assert site.ask(SESSIONS) >= 1
    assert site.wire.cut() >= 1
    wait_until(lambda: not site.ask(SESSIONS), "a session outlived its connection")


def strike(site: Site, caught: Caught, fault: str, phase: str) -> int:
    """Do the harm, let the run go on as far as it can, and return its exit code."""
    if fault in ("SIGKILL", "SIGTERM"):
        caught.process.send_signal(signal.Signals[fault])
    elif fault == "server crash":
        crash(site)
    elif fault == "connection dropped":
        drop(site)
    if fault != "SIGTERM" or phase in LATE:
        # Who was killed makes no use of it; who was not goes on, and finds what happened. Once it
        # is being committed, a signal stops nothing any more.
        site.marker.unlink(missing_ok=True)
    thaw(caught.frozen)
    caught.process.communicate(timeout=120)
    site.marker.unlink(missing_ok=True)
    return caught.process.returncode


def judge(site: Site, before: set[str], code: int, fault: str, phase: str) -> str:
    """Look at what is there between the fault and the next run; say it in words."""
    site.good()
    new = set(site.labels()) - before
    if code == 0 or phase in COMPLETE:
        # Said or not: what is visible is whole.
        (label,) = new
        site.require_whole(label)
    else:
        assert new == set()
    if fault != "SIGKILL":
        assert site.debris() == []
    late = phase in (UNASKED if fault in ("server crash", "connection dropped") else LATE)
    stopped = {"SIGTERM": 143, "server crash": 4, "connection dropped": 4}.get(fault, 5)
    assert code == (-9 if fault == "SIGKILL" else 0 if late else stopped)
    left = "hidden debris" if site.debris() else "nothing left"
    shown = f"exit {code}" if code >= 0 else "killed"
    return f"{shown}, {'complete' if new else left}"


@pytest.mark.parametrize("fault", ["SIGKILL", "SIGTERM", "server crash", "connection dropped"])
@pytest.mark.parametrize("phase", CATCH)
def test_a_dump_that_is_hit_leaves_nothing_that_looks_whole(
    site: Site, request: pytest.FixtureRequest, phase: str, fault: str
) -> None:
    caught = CATCH[phase](site)
    before = set(site.labels()) - ({max(site.new_labels())} if phase in COMPLETE else set())

    code = strike(site, caught, fault, phase)
    outcome = judge(site, before, code, fault, phase)
    again = site.require_next_dump()

    assert site.debris() == []
    place = f"{list(CATCH).index(phase) + 1:02} {phase}"
    leave_row(request, "dump", place, fault, caught.proof, outcome, again)


@pytest.mark.parametrize("phase", CATCH)
def test_a_disk_that_fills_up_is_told_and_harms_nothing(
    site_on_disk: Site, disk: SmallDisk, request: pytest.FixtureRequest, phase: str
) -> None:
    site = site_on_disk
    caught = CATCH[phase](site)
    before = set(site.labels()) - ({max(site.new_labels())} if phase in COMPLETE else set())

    taken = disk.fill()
    code = strike(site, caught, "disk full", phase)
    outcome = judge(site, before, code, "disk full", phase)
    disk.make_room()
    again = site.require_next_dump()

    place = f"{list(CATCH).index(phase) + 1:02} {phase}"
    proof = f"{caught.proof}; {taken >> 20} MB filled"
    leave_row(request, "dump", place, "disk full", proof, outcome, again)
