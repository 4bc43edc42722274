"""A rotation or `expire` killed half-way in a bucket leaves whole backups; the next one ends it.

Its request is held by the proxy when the signal comes, so nobody is left who would go on.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import pytest

from tests.backup_faults.bucket import Bucketful
from tests.backup_faults.site import DATABASE, DELETING, add_old, wait, wait_until
from tests.matrix.table import leave_row

pytestmark = pytest.mark.real_s3

EXIT = {"SIGKILL": -9, "SIGTERM": 143}
WORDS = DELETING["rotate"]


@dataclass(frozen=True)
class Place:
    """The request at which a rotation is hit: the `nth` of `method` with `part` in its path.

    Those after it are held as well: who has waited for long makes it again.
    """

    method: str
    part: str
    nth: int = 1
    is_carried_out: bool = False
    """Whether the server gets it all the same, after the run was killed."""


PLACES = {
    "tombstone": Place("PUT", "/records/{old}.expired.json"),
    "before the manifest goes": Place("DELETE", "/{old}/manifest.json"),
    "manifest gone unanswered": Place("DELETE", "/{old}/manifest.json", is_carried_out=True),
    "half removed": Place("DELETE", "/{old}/", nth=3),
    "set removed": Place("DELETE", "/records/{old}.verify.json"),
}
VISIBLE = {"tombstone", "before the manifest goes"}
"""Where the old backup is still one."""


@pytest.fixture
def site(bucketful: Bucketful) -> Bucketful:
    return bucketful


def versions(site: Bucketful, rest: str) -> set[tuple[str, str]]:
    """Return key and id of every version of what lies at `rest`."""
    listing = site.opened().bucket.listing(f"casedb/{DATABASE}/{rest}")
    return {(found.key, found.version_id) for found in listing.versions}


def removed(site: Bucketful, label: str) -> list[str]:
    """Return the names of the set's files that the server was made to delete, in that order."""
    paths = [
        one.path.partition("?")[0]
        for one in site.wall.seen
        if one.method == "DELETE" and one.status == 204 and f"/{label}/" in one.path
    ]
    # A lease lies elsewhere, in a folder of the same name.
    return [path.rpartition("/")[2] for path in paths if "/.leases/" not in path]


def kill_half_way(
    site: Bucketful, old: str, place: Place, fault: str, words: Sequence[str] = WORDS
) -> None:
    """Hit a run where `place` is asked for, and see that it ends of that."""
    numbers, part = count(1), place.part.format(old=old)
    site.wall.hold = lambda method, path: (
        method == place.method and f"/{DATABASE}{part}" in path and next(numbers) >= place.nth
    )
    process = site.start("nowhere", *words)
    site.wait_for(site.wall.held.is_set, "the request was never made")
    process.send_signal(signal.Signals[fault])
    code, printed = wait(process)
    assert code == EXIT[fault], printed
    site.wall.drop = not place.is_carried_out
    asked = len(site.wall.seen)
    site.let_pass()
    wait_until(lambda: len(site.wall.seen) > asked, "the proxy still holds it")


def require_the_next_ends_it(
    site: Bucketful, old: str, words: Sequence[str] = WORDS, **environment: str
) -> None:
    """Run it again: of the old backup nothing stays but the word that it has expired."""
    code, printed = site.run(*words, **environment)
    assert code == 0, printed
    assert site.labels() == [site.first]
    assert site.debris() == []
    assert versions(site, f"{old}/") == set()
    left = {key.rpartition("/")[2] for key, _ in versions(site, f"records/{old}.")}
    assert left == {f"{old}.expired.json"}


@pytest.mark.parametrize("fault", EXIT)
@pytest.mark.parametrize("phase", PLACES)
@pytest.mark.parametrize("verb", DELETING)
def test_what_is_killed_half_way_is_ended_by_the_next(
    site: Bucketful, request: pytest.FixtureRequest, verb: str, phase: str, fault: str
) -> None:
    old, place = add_old(site), PLACES[phase]
    words = [word.format(old=old) for word in DELETING[verb]]
    kept, files = versions(site, f"{site.first}/"), len(versions(site, f"{old}/"))

    kill_half_way(site, old, place, fault, words)

    left = len(versions(site, f"{old}/"))
    gone = {"half removed": 2, "manifest gone unanswered": 1, "set removed": files}.get(phase, 0)
    assert left == files - gone
    assert removed(site, old)[:1] == (["manifest.json"] if gone else [])
    shown = {backup.label for backup in site.good()}
    assert shown == ({old, site.first} if phase in VISIBLE else {site.first})
    for label in shown:
        # Neither its lock nor its tombstone keeps anybody from reading.
        site.require_whole(label)
    require_the_next_ends_it(site, old, words)
    assert removed(site, old)[0] == "manifest.json"
    assert versions(site, f"{site.first}/") == kept
    again = site.require_next_dump()
    proof = f"the proxy held its {place.method}; {left} of {files} files left"
    outcome = f"{len(shown)} visible, all whole"
    row = (f"{list(PLACES).index(phase) + 1} {phase}", fault, proof, outcome)
    leave_row(request, f"{verb} on S3", *row, f"ended; dump {again}")


def test_a_rotation_that_the_server_fails_half_way_is_ended_by_the_next(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    old = add_old(site)
    numbers = count(1)

    def fault(method: str, path: str) -> int | None:
        is_of_set = method == "DELETE" and f"/{DATABASE}/{old}/" in path
        return 503 if is_of_set and next(numbers) > 2 else None

    site.wall.fault = fault
    code, printed = site.run(*WORDS)
    site.wall.fault = lambda _method, _path: None

    assert code == 5, printed
    refused = site.wall.count(503)
    assert refused >= 3
    assert len(removed(site, old)) == 2
    assert [backup.label for backup in site.good()] == [site.first]
    site.require_whole(site.first)
    require_the_next_ends_it(site, old)
    again = site.require_next_dump()
    row = ("4 half removed", "503 for ever", f"{refused} requests refused")
    leave_row(request, "rotate on S3", *row, "exit 5, 1 visible, all whole", f"ended; dump {again}")


def test_the_lock_of_a_rotation_killed_on_another_host_ends_by_itself(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    old = add_old(site)
    kill_half_way(site, old, PLACES["half removed"], "SIGKILL")

    # As on another machine, nobody can tell there whether its holder lives.
    site.wrapper = ("unshare", "--pid", "--fork", "--mount-proc")
    code, printed = site.run(*WORDS)
    reading = site.run("verify", site.first)

    assert code == 8, printed
    assert "a killed run's lock ends by itself after 10 minutes" in printed
    assert reading[0] == 0, reading[1]
    require_the_next_ends_it(site, old, DRIVER_S3_LIFETIME_S="1")
    row = ("4 half removed", "SIGKILL on another host", "the proxy held its DELETE")
    outcome = "exit 8 for up to 10 minutes, verify exit 0"
    leave_row(request, "rotate on S3", *row, outcome, "then rotated")


def test_the_lease_of_a_killed_reader_ends_by_itself(
    site: Bucketful, request: pytest.FixtureRequest
) -> None:
    old = add_old(site)
    site.wall.hold = lambda method, path: method == "GET" and f"/{old}/database.dump" in path
    process = site.start("nowhere", "verify", old)
    site.wait_for(site.wall.held.is_set, "the archive was never read")
    process.kill()
    wait(process)
    site.let_pass()
    leases = len(versions(site, f".leases/{old}/"))
    assert leases == 1

    code, printed = site.run(*WORDS)

    assert code == 0, printed
    assert "in use, kept" in printed
    assert site.labels() == [old, site.first]
    site.require_whole(old)
    require_the_next_ends_it(site, old, DRIVER_S3_LIFETIME_S="1")
    row = ("archive", "SIGKILL", f"the proxy held its GET, {leases} lease left")
    outcome = "killed; rotate exit 0, kept as in use for 10 minutes"
    leave_row(request, "verify from S3", *row, outcome, "then rotated")
