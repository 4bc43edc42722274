"""A rotation or `expire` killed half-way leaves whole backups, or none; the next one ends it."""

import signal

import pytest

from tests.backup_faults.site import DELETING, Site, add_old
from tests.matrix.disk import SmallDisk
from tests.matrix.table import leave_row

PLACES = {
    "before the set is hidden": "event:os.rename:.deleting-",
    "set hidden": "event:shutil.rmtree:.deleting-",
    "half removed": "event:os.remove:json:2",
    "set removed": "event:os.remove:{old}.verify.json",
}
EXIT = {"SIGKILL": -9, "SIGTERM": 143}


@pytest.mark.parametrize("fault", EXIT)
@pytest.mark.parametrize("phase", PLACES)
@pytest.mark.parametrize("verb", DELETING)
def test_what_is_killed_half_way_is_ended_by_the_next(
    site: Site, request: pytest.FixtureRequest, verb: str, phase: str, fault: str
) -> None:
    old = add_old(site)
    files = len(list((site.folder / old).iterdir()))
    words = [word.format(old=old) for word in DELETING[verb]]
    process = site.start(PLACES[phase].format(old=old), *words)
    site.wait_until_stopped()
    hidden = site.folder / f".deleting-{old}"
    tombstone = site.folder / "records" / f"{old}.expired.json"
    assert tombstone.exists()
    if phase == "before the set is hidden":
        assert old in site.labels()
        proof = "files: tombstone there, set visible"
    else:
        assert old not in site.labels()
        left = len(list(hidden.iterdir())) if hidden.exists() else 0
        assert left in {"set hidden": [files], "set removed": [0]}.get(phase, range(1, files))
        proof = f"files: hidden, {left} of {files} left"

    process.send_signal(signal.Signals[fault])
    process.communicate(timeout=120)
    site.marker.unlink(missing_ok=True)

    assert process.returncode == EXIT[fault]
    shown = {backup.label for backup in site.good()}
    assert shown == ({old, site.first} if phase == "before the set is hidden" else {site.first})
    for label in shown:
        site.require_whole(label)
    outcome = f"{len(shown)} visible, all whole"
    code, printed = site.run(*words)
    assert code == 0, printed
    assert site.labels() == [site.first]
    assert site.debris() == []
    # Of the old one nothing stays but the word that it has expired.
    assert list(tombstone.parent.glob(f"{old}.*")) == [tombstone]
    again = site.require_next_dump()
    place = f"{list(PLACES).index(phase) + 1} {phase}"
    leave_row(request, verb, place, fault, proof, outcome, f"ended; dump {again}")


def test_a_rotation_on_a_full_disk_deletes_nothing_that_it_cannot_tell_of(
    site_on_disk: Site, disk: SmallDisk, request: pytest.FixtureRequest
) -> None:
    site = site_on_disk
    old = add_old(site)
    words = DELETING["rotate"]

    taken = disk.fill()
    code, printed = site.run(*words)

    assert code == 5, printed
    assert not (site.folder / "records" / f"{old}.expired.json").exists()
    assert site.labels() == [old, site.first]
    for label in site.labels():
        site.require_whole(label)
    disk.make_room()
    code, printed = site.run(*words)
    assert code == 0, printed
    assert site.labels() == [site.first]
    again = site.require_next_dump()
    row = ("00 tombstone", "disk full", f"{taken >> 20} MB filled", "exit 5, 2 visible, all whole")
    leave_row(request, "rotate", *row, f"ended; dump {again}")
