"""The heads of the audit trail beside a backup: written, drilled, and not trusted blindly."""

import hashlib
import io
import time
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from backups.anchors import _Pieces, check, read_heads, same_roots
from backups.attempt import Wish
from backups.catalog import read_backup
from backups.drill import drill
from backups.dump import dump
from backups.manifest import HEADS, MANIFEST, FileFacts, Manifest
from backups.restore import restore
from backups.stores import LocalStore
from backups.streams import HashingReader, compress, decompressed
from backups.verify import verify
from casedb import audit
from casedb.audit_blocks import Head
from casedb.conninfo import Conninfo
from casedb.database import connect, scalar
from casedb.errors import BackupDamagedError, ConfigurationError, DifferenceError, UnverifiedError
from casedb.tools import PostgresTools
from tests.backups.conftest import Made
from tests.database.audit_world import text_of_old_heads

HASH = "$2b$10$" + "a" * 53
CLERK, CASE = UUID(int=1), UUID(int=11)


@pytest.fixture
def told(database: Conninfo) -> Conninfo:
    """A database with a user and a case of two entries."""
    with connect(database.replace(user="case_seed"), purpose="test") as seed:
        seed.execute(
            "INSERT INTO public.users (id, email, password, role, first_name, last_name)"
            " VALUES (%s, 'a@example.com', %s, 'CLERK', 'a', 'b')",
            (CLERK, HASH),
        )
        seed.execute(
            "INSERT INTO public.cases (id, title, description, created_by)"
            " VALUES (%s, 't', '', %s)",
            (CASE, CLERK),
        )
        seed.execute("SELECT set_config('app.user_id', %s, false)", (str(CLERK),))
        seed.execute("UPDATE public.cases SET priority = 'HIGH'")
    return database


@pytest.fixture
def taken(told: Conninfo, tools: PostgresTools, tmp_path: Path) -> tuple[LocalStore, Manifest]:
    """A backup of it."""
    store = LocalStore(tmp_path / "store")
    return store, dump(told.replace(user="case_backup"), store, tools=tools)


def packed(data: bytes) -> bytes:
    sink = io.BytesIO()
    compress(io.BytesIO(data), sink)
    return sink.getvalue()


def unpacked(data: bytes) -> bytes:
    return b"".join(decompressed(HashingReader(io.BytesIO(data))))


def rewrite_heads(store: LocalStore, manifest: Manifest, data: bytes) -> Manifest:
    """Replace the heads and put the manifest right, as somebody could who writes to the store."""
    folder = store.root / manifest.database / manifest.label
    (folder / HEADS).write_bytes(data)
    facts = FileFacts(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    changed = manifest.model_copy(update={"files": {**manifest.files, HEADS: facts}})
    (folder / MANIFEST).write_bytes(changed.to_bytes())
    return changed


# The digits of a chain's number, each in a line: it is the only one in its batch.
SECOND, THIRD = (b"\n" + 7 * b"0\n" + last for last in (b"2\n", b"3\n"))


def one_entry_more(store: LocalStore, manifest: Manifest) -> None:
    """Let the heads say that the case has an entry more than the archive holds."""
    path = store.root / manifest.database / manifest.label / HEADS
    text = unpacked(path.read_bytes())
    assert text.count(SECOND) == 1
    rewrite_heads(store, manifest, packed(text.replace(SECOND, THIRD)))


def as_of_earlier_versions(told: Conninfo, store: LocalStore, manifest: Manifest) -> Manifest:
    """Let the backup have its heads as earlier versions wrote them."""
    return rewrite_heads(store, manifest, packed(text_of_old_heads(told).encode()))


def test_a_backup_keeps_the_head_of_every_chain(
    told: Conninfo, taken: tuple[LocalStore, Manifest], tools: PostgresTools
) -> None:
    store, manifest = taken
    with connect(told, purpose="test") as admin:
        last = scalar(admin, "SELECT hash FROM public.case_logs WHERE seq = 2")

    case, user = read_heads(store, manifest)

    entry = CASE.bytes + (2).to_bytes(4, "big") + last
    assert (case.kind, case.digest) == ("case", hashlib.sha256(entry).digest())
    assert case.heads == (Head(CASE.hex[:14], 2, last[:1]),)
    assert (user.kind, user.heads[0].known) == ("user", CLERK.hex[:14])
    assert verify(store, manifest.label, tools=tools).outcome == "passed"


def test_the_heads_are_of_the_backups_own_moment(
    told: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """An entry that is written during the dump is in neither, or in both."""

    def write_on(_progress: object) -> None:
        with psycopg.connect(told.replace(user="case_seed").dsn) as seed:
            seed.execute("SELECT set_config('app.user_id', %s, true)", (str(CLERK),))
            seed.execute("UPDATE public.cases SET title = title || 'x'")

    store = LocalStore(tmp_path)
    manifest = dump(told.replace(user="case_backup"), store, tools=tools, on_progress=write_on)

    assert drill(store, manifest.label, tools=tools).outcome == "passed"


def test_a_restored_database_verifies_against_its_backup(
    taken: tuple[LocalStore, Manifest], tools: PostgresTools
) -> None:
    store, manifest = taken

    assert drill(store, manifest.label, tools=tools).outcome == "passed"


def test_a_drill_finds_heads_that_are_not_those_of_the_archive(
    taken: tuple[LocalStore, Manifest], tools: PostgresTools
) -> None:
    store, manifest = taken
    one_entry_more(store, manifest)

    with pytest.raises(DifferenceError) as caught:
        drill(store, manifest.label, tools=tools)

    assert f"audit trail: case {CASE}: entry 3 is gone" in (caught.value.detail or "")


def test_a_restore_finds_heads_that_are_not_those_of_the_archive(
    taken: tuple[LocalStore, Manifest], cluster: Conninfo, tools: PostgresTools
) -> None:
    """Every row and fact is as the manifest says; the chain alone does not end where it did."""
    store, manifest = taken
    one_entry_more(store, manifest)

    with pytest.raises(DifferenceError) as caught:
        restore(store, Wish(manifest.label, f"{manifest.database}_new"), cluster, tools=tools)

    assert caught.value.detail == (
        "audit trail: the heads of its chains are not those of the backup"
    )


def test_a_drill_tells_of_a_trail_that_was_broken_before_the_dump(
    told: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    """It restores what was dumped; but nobody should take that for the truth."""
    with connect(told, purpose="test") as admin:
        admin.execute("ALTER TABLE public.case_logs DISABLE TRIGGER USER")
        admin.execute("UPDATE public.case_logs SET action = 'forged' WHERE seq = 1")
        admin.execute("ALTER TABLE public.case_logs ENABLE TRIGGER USER")
    store = LocalStore(tmp_path)
    manifest = dump(told.replace(user="case_backup"), store, tools=tools)

    with pytest.raises(DifferenceError) as caught:
        drill(store, manifest.label, tools=tools)

    assert f"audit trail: case {CASE}: entry 1 is not what was written" in (
        caught.value.detail or ""
    )


def without_heads(store: LocalStore, manifest: Manifest) -> None:
    """Take the heads away and put the manifest right, as somebody could who writes to the store."""
    folder = store.root / manifest.database / manifest.label
    (folder / HEADS).unlink()
    files = {name: facts for name, facts in manifest.files.items() if name != HEADS}
    changed = manifest.model_copy(update={"files": files})
    (folder / MANIFEST).write_bytes(changed.to_bytes())


def test_a_trail_without_heads_is_not_checked_and_does_not_pass(
    taken: tuple[LocalStore, Manifest], tools: PostgresTools
) -> None:
    store, manifest = taken
    without_heads(store, manifest)

    with pytest.raises(UnverifiedError, match="audit trail could not be checked"):
        drill(store, manifest.label, tools=tools)

    assert read_backup(store, manifest.database, manifest.label).drilled is None


def test_a_broken_chain_is_found_without_heads_too(
    told: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    with connect(told, purpose="test") as admin:
        admin.execute("ALTER TABLE public.case_logs DISABLE TRIGGER USER")
        admin.execute("UPDATE public.case_logs SET action = 'forged' WHERE seq = 1")
        admin.execute("ALTER TABLE public.case_logs ENABLE TRIGGER USER")
    store = LocalStore(tmp_path)
    manifest = dump(told.replace(user="case_backup"), store, tools=tools)
    without_heads(store, manifest)

    with pytest.raises(DifferenceError) as caught:
        drill(store, manifest.label, tools=tools)

    assert f"case {CASE}: entry 1 is not what was written" in (caught.value.detail or "")


def test_an_anchor_tells_of_what_was_cut_off_since(
    told: Conninfo, taken: tuple[LocalStore, Manifest]
) -> None:
    store, manifest = taken
    with connect(told, purpose="test") as admin:
        assert check(admin, store, manifest) == []
        admin.execute("ALTER TABLE public.case_logs DISABLE TRIGGER USER")
        admin.execute("DELETE FROM public.case_logs WHERE seq = 2")

        admin.execute("ALTER TABLE public.case_logs ENABLE ALWAYS TRIGGER case_logs_append_only")
        admin.execute("ALTER TABLE public.case_logs ENABLE ALWAYS TRIGGER case_logs_chain")
        admin.execute("ALTER TABLE public.case_logs ENABLE ALWAYS TRIGGER case_logs_bulk_load")

        assert audit.verify(admin).problems == (
            "trigger public.case_logs.case_logs_no_truncate is missing, switched off"
            " or not ENABLE ALWAYS",
        )
        [found, _] = check(admin, store, manifest)
    gone = f"audit trail: case {CASE}: entry 2 is gone, which backup {manifest.label} vouches for"
    assert found == gone


def test_the_heads_of_a_backup_by_an_earlier_version_are_compared(
    told: Conninfo, taken: tuple[LocalStore, Manifest], tools: PostgresTools
) -> None:
    store, manifest = taken
    manifest = as_of_earlier_versions(told, store, manifest)

    assert [block.digest for block in read_heads(store, manifest)] == [None, None]
    assert drill(store, manifest.label, tools=tools).outcome == "passed"
    with connect(told, purpose="test") as admin:
        assert same_roots(admin, store, manifest) is True
        assert check(admin, store, manifest) == []
        admin.execute("ALTER TABLE public.case_logs DISABLE TRIGGER USER")
        admin.execute("UPDATE public.case_logs SET hash = sha256(hash) WHERE seq = 2")
        assert same_roots(admin, store, manifest) is False
        assert (
            f"audit trail: case {CASE}: entry 2 is not the one that backup {manifest.label}"
            " vouches for: it or an earlier one was rewritten"
        ) in check(admin, store, manifest)


def test_a_backup_by_an_earlier_version_is_restored(
    told: Conninfo, taken: tuple[LocalStore, Manifest], cluster: Conninfo, tools: PostgresTools
) -> None:
    store, manifest = taken
    as_of_earlier_versions(told, store, manifest)
    wish = Wish(manifest.label, f"{manifest.database}_new")

    assert restore(store, wish, cluster, tools=tools).same_roots is True


def test_one_head_that_is_not_the_backups_is_a_difference(
    told: Conninfo, taken: tuple[LocalStore, Manifest]
) -> None:
    store, manifest = taken
    with connect(told, purpose="test") as admin:
        assert same_roots(admin, store, manifest) is True
        admin.execute("ALTER TABLE public.case_logs DISABLE TRIGGER USER")
        # The first byte, which the backup notes, stays.
        admin.execute(
            "UPDATE public.case_logs SET hash = substring(hash FOR 1) || substring(sha256(hash)"
            " FOR 31) WHERE seq = 2"
        )
        assert same_roots(admin, store, manifest) is False


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "no text", "half a line"])
def test_heads_that_are_damaged_are_not_an_anchor(
    taken: tuple[LocalStore, Manifest], damage: str
) -> None:
    store, manifest = taken
    path = store.root / manifest.database / manifest.label / HEADS
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[:-3])
    elif damage == "changed":
        path.write_bytes(packed(unpacked(data).replace(SECOND, THIRD)))
    elif damage == "gone":
        path.unlink()
    elif damage == "half a line":
        manifest = rewrite_heads(store, manifest, packed(unpacked(data) + b"case\t"))
    else:
        manifest = rewrite_heads(store, manifest, packed(b"nothing\n"))

    with pytest.raises(BackupDamagedError):
        list(read_heads(store, manifest))


def test_a_database_without_an_audit_trail_has_no_heads(made: Made) -> None:
    assert HEADS not in made.manifest.files
    with pytest.raises(ConfigurationError, match="keeps no heads"):
        list(read_heads(made.store, made.manifest))


def test_pieces_are_read_in_any_size() -> None:
    for size in (1, 3, 100):
        pieces = _Pieces(iter([b"ab", b"", b"cdef", b"g"]))
        read = []
        deadline = time.monotonic() + 60
        while chunk := pieces.read(size):
            read.append(chunk)
            assert time.monotonic() < deadline
        assert b"".join(read) == b"abcdefg"
        assert all(len(chunk) <= size for chunk in read)
