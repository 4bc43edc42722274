"""What cannot end well is refused, with the exit code that says why, and nothing is left of it."""

import hashlib

import pytest

from backups.catalog import read_backup, read_manifest
from backups.manifest import GLOBALS, MANIFEST, ExtensionFacts, FileFacts
from backups.sealing import new_key
from casedb.tools import wheel_tools
from tests.backup_faults.site import DATABASE, Site, add_old
from tests.matrix.clock import wrong_clock
from tests.matrix.table import leave_row


def test_of_two_runs_at_once_the_second_is_turned_away(
    site: Site, request: pytest.FixtureRequest
) -> None:
    process = site.start("step:reading the archive back", "dump")
    site.wait_until_stopped()
    assert site.partial()
    assert "manifest.json" not in site.partial()

    codes = [site.run("dump")[0], site.run("rotate", "--apply")[0]]
    shown = site.labels()
    site.marker.unlink()
    process.communicate(timeout=120)

    assert codes == [8, 8]
    assert shown == [site.first]
    assert process.returncode == 0
    (label,) = site.new_labels()
    site.require_whole(label)
    again = site.require_next_dump()
    row = ("08 read back", "two runs at once", "files: the first has no manifest yet")
    leave_row(request, "dump", *row, "exit 8 and 8, the first: complete", again)


@pytest.mark.parametrize(
    ("user", "code", "words", "fault"),
    [
        ("nobody_here", 4, 'role "nobody_here" does not exist', "missing role"),
        ("case_migrator", 7, "BYPASSRLS", "role under row security"),
    ],
)
def test_a_role_that_does_not_see_everything_takes_no_backup(
    site: Site, request: pytest.FixtureRequest, user: str, code: int, words: str, fault: str
) -> None:
    found, printed = site.run("dump", CASEDB_DUMP_USER=user)

    assert found == code, printed
    assert words in printed
    assert site.labels() == [site.first]
    assert site.debris() == []
    proof = "the server's own words" if code == 4 else "pg_roles, asked before"
    again = site.require_next_dump()
    leave_row(request, "dump", "preflight", fault, proof, f"exit {code}, nothing left", again)


def change_set(site: Site, **update: object) -> None:
    """Change the manifest of the first backup, whose checksums then are right."""
    manifest = read_manifest(site.opened(), DATABASE, site.first)
    changed = manifest.model_copy(update=update)
    (site.folder / site.first / MANIFEST).write_bytes(changed.to_bytes())


def test_a_backup_that_lost_a_role_does_not_pass_its_drill(
    site: Site, request: pytest.FixtureRequest
) -> None:
    path = site.folder / site.first / GLOBALS
    lines = [line for line in path.read_text().splitlines() if "case_clerk" not in line]
    path.write_text("\n".join(lines))
    data = path.read_bytes()
    facts = FileFacts(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    manifest = read_manifest(site.opened(), DATABASE, site.first)
    change_set(site, files={**manifest.files, GLOBALS: facts})

    code, printed = site.run("drill")

    assert code == 9, printed
    assert '"case_clerk" does not exist' in printed
    drilled = read_backup(site.opened(), DATABASE, site.first).drilled
    assert drilled is not None
    assert drilled.outcome == "failed"
    row = ("roles", "missing role", "PostgreSQL's own words")
    leave_row(
        request, "drill", *row, "exit 9, recorded as failed", site.require_next_dump(altered=True)
    )


def test_a_missing_extension_is_no_verdict_on_the_backup(
    site: Site, request: pytest.FixtureRequest
) -> None:
    manifest = read_manifest(site.opened(), DATABASE, site.first)
    extra = ExtensionFacts(name="not_here", version="1")
    change_set(site, extensions=(*manifest.extensions, extra))

    code, printed = site.run("drill")

    assert code == 10, printed
    assert "not_here" in printed
    assert read_backup(site.opened(), DATABASE, site.first).drilled is None
    row = ("extensions", "missing extension", "pg_available_extensions")
    leave_row(request, "drill", *row, "exit 10, not recorded", site.require_next_dump(altered=True))


def test_a_wrong_key_or_none_is_no_verdict_either(
    site: Site, request: pytest.FixtureRequest
) -> None:
    keys = [site.home / name for name in ("right.key", "wrong.key")]
    public = [new_key(path) for path in keys]
    code, printed = site.run("dump", f"--recipient={public[0]}")
    assert code == 0, printed
    (label,) = site.new_labels()

    codes = [site.run("drill", f"--key={keys[1]}")[0], site.run("drill")[0]]

    assert codes == [10, 10]
    assert read_backup(site.opened(), DATABASE, label).drilled is None
    code, printed = site.run("drill", f"--key={keys[0]}")
    assert code == 0, printed
    row = ("opening", "wrong key; no key", "age: no matching keys")
    leave_row(request, "drill", *row, "exit 10 and 10, not recorded", "with the right key: exit 0")


def test_programs_of_another_version_are_refused(
    site: Site, request: pytest.FixtureRequest
) -> None:
    other = wheel_tools(18 if site.server.tools.major != 18 else 16)

    codes = [site.run(verb, PG_BIN=str(other.bindir))[0] for verb in ("dump", "drill")]

    assert codes == [3, 3]
    assert site.labels() == [site.first]
    assert read_backup(site.opened(), DATABASE, site.first).drilled is None
    proof = f"PostgreSQL {other.major} on {site.server.tools.major}"
    again = site.require_next_dump()
    leave_row(request, "dump", "preflight", "wrong version", proof, "exit 3; drill exit 3", again)


@pytest.mark.parametrize("by", ["+400d", "-400d"])
def test_a_clock_that_jumped_deletes_nothing(
    site: Site, request: pytest.FixtureRequest, by: str
) -> None:
    old = add_old(site)

    code, printed = site.run("rotate", "--apply", "--keep-last=1", **wrong_clock(by))

    assert code == 7, printed
    assert ("clock" in printed) or ("jumped" in printed)
    assert site.labels() == [old, site.first]
    assert not (site.folder / "records" / f"{old}.expired.json").exists()
    code, printed = site.run("rotate", "--apply", "--keep-last=1")
    assert code == 0, printed
    assert site.labels() == [site.first]
    proof = "libfaketime: the refusal names the clock"
    leave_row(
        request, "rotate", "deciding", f"clock {by}", proof, "exit 7, nothing gone", "rotated"
    )
