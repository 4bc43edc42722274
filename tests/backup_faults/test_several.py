"""Two stores, of which one is hit: each has whole backups only, and the other has this one."""

from pathlib import Path

import pytest

from backups.catalog import catalog
from backups.stores import LocalStore, Store
from backups.verify import verify
from tests.backup_faults.site import DATABASE, Site
from tests.matrix.disk import SmallDisk
from tests.matrix.table import leave_row


def whole(site: Site, store: Store) -> set[str]:
    """Return what `store` shows, every byte of which is read."""
    found = catalog(store, DATABASE)
    assert all(backup.is_good for backup in found)
    for backup in found:
        assert verify(store, backup.label, tools=site.server.tools).outcome == "passed"
    return {backup.label for backup in found}


def require_next_dump(site: Site, other: LocalStore) -> str:
    """Dump again into both, at once and with nothing done before."""
    before = whole(site, other) | set(site.labels())
    code, printed = site.run("dump", f"--store={other.root}")
    assert code == 0, printed
    (new,) = set(site.labels()) - before
    assert new in whole(site, other)
    site.require_whole(new)
    assert site.debris() == []
    return "exit 0, verified in both"


def test_killed_between_two_commits_one_has_it_and_the_other_nothing(
    site: Site, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    other = LocalStore(tmp_path / "other")
    # Named first, so committed first.
    process = site.start(r"event:os.rename:/\.partial-:2", "dump", f"--store={other.root}")
    site.wait_until_stopped()
    assert len(whole(site, other)) == 1
    assert "manifest.json" in site.partial()

    process.kill()
    process.communicate(timeout=120)
    site.marker.unlink()
    site.wait_for_gone("casedb dump")

    assert len(whole(site, other)) == 1
    assert site.new_labels() == []
    again = require_next_dump(site, other)
    row = ("between two commits", "SIGKILL", "files: visible in one, hidden in the other")
    leave_row(request, "dump to two stores", *row, "killed, complete in one", again)


def test_a_disk_full_in_one_store_leaves_the_other_whole(
    site_on_disk: Site, disk: SmallDisk, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    site, other = site_on_disk, LocalStore(tmp_path / "other")
    process = site.start("step:reading the archive back", "dump", f"--store={other.root}")
    site.wait_until_stopped()
    assert "RESTORE.txt" in site.partial()
    assert "manifest.json" not in site.partial()

    taken = disk.fill()
    site.marker.unlink()
    printed = process.communicate(timeout=120)

    assert process.returncode == 5, printed
    assert len(whole(site, other)) == 1
    assert site.new_labels() == []
    assert site.debris() == []
    disk.make_room()
    again = require_next_dump(site, other)
    row = ("read back", "disk full in one", f"files: all but the manifest; {taken >> 20} MB filled")
    leave_row(request, "dump to two stores", *row, "exit 5, complete in the other", again)
