"""A dump that begins anew leaves nothing of its first attempt in the backup."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backups import dump_archive, dump_set, snapshot
from backups.drill import drill
from backups.dump import dump
from backups.manifest import GLOBALS, HEADS
from backups.sealing import new_key
from backups.stores import LocalStore
from backups.verify import verify
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import LockedError
from casedb.tools import PostgresTools
from tests.backups.conftest import keys, store_in
from tests.backups.test_snapshot import truncating
from tests.s3.servers import Server


@pytest.mark.usefixtures("as_pruner")
@pytest.mark.parametrize("lock", ["", "&lock_days=1&lock_mode=GOVERNANCE"])
def test_what_an_attempt_wrote_that_came_to_nothing_is_not_taken_for_the_next_ones(
    database: Conninfo,
    server: Server,
    lock: str,
    tools: PostgresTools,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a file with several versions a bucket's readers take the first."""
    with connect(database, purpose="test") as connection:
        connection.execute("CREATE TABLE public.one ()")
    store = store_in(server, server.new_bucket(versions=True, lock=bool(lock)), lock)
    stack: list[object] = []
    take = snapshot._take

    def overtaken_once(connection: object) -> snapshot.Snapshot:
        found = take(connection)  # type: ignore[arg-type]
        if not stack:
            stack.append(context := truncating(database, "public.one"))
            context.__enter__()
        return found

    monkeypatch.setattr(snapshot, "_take", overtaken_once)
    phases: list[str] = []

    manifest = dump(
        database,
        store,
        tools=tools,
        recipients=(new_key(tmp_path / "key"),),
        lock_wait_s=2,
        on_progress=lambda p: phases.append(p.phase),
    )

    assert any("letting another session go first" in phase for phase in phases)
    assert HEADS in {name.removesuffix(".age") for name in manifest.files}
    assert verify(store, manifest.label, tools=tools).outcome == "passed"
    files = [key for key in keys(store) if manifest.label in key and "/records/" not in key]
    assert sorted(files) == sorted({*files})
    # What is left of the attempt, which a lock keeps, hinders nobody.
    again = dump(database, store, tools=tools)
    assert store.labels(database.dbname) == [manifest.label, again.label]
    assert verify(store, again.label, tools=tools).outcome == "passed"


@contextmanager
def a_role_made_late(small: Conninfo, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let somebody make a role, once, when a dump has written the roles; it is gone afterwards."""
    write = dump_archive.proven_archive
    made: list[str] = []

    def and_before(*words: Any) -> Any:
        if not made:
            made.append("late_reader")
            with connect(small, purpose="test") as connection:
                connection.execute("CREATE ROLE late_reader; GRANT SELECT ON one TO late_reader")
        return write(*words)

    monkeypatch.setattr(dump_set, "proven_archive", and_before)
    try:
        yield
    finally:
        with connect(small, purpose="test") as connection:
            connection.execute("DROP OWNED BY late_reader; DROP ROLE late_reader")


def test_a_role_that_was_made_after_the_roles_were_written_is_in_the_backup(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive grants to it, and could not be restored otherwise."""
    store, phases = LocalStore(tmp_path), list[str]()

    with a_role_made_late(small, monkeypatch):
        manifest = dump(small, store, tools=tools, on_progress=lambda p: phases.append(p.phase))

    assert any("roles of this database were changed" in phase for phase in phases)
    folder = tmp_path / small.dbname / manifest.label
    assert "CREATE ROLE late_reader;" in (folder / GLOBALS).read_text()
    assert store.labels(small.dbname) == [manifest.label]
    assert drill(store, manifest.label, tools=tools, with_access=False).outcome == "passed"


def test_who_changes_roles_each_time_is_not_said_to_keep_a_table(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)

    with (
        a_role_made_late(small, monkeypatch),
        pytest.raises(LockedError, match="changed something") as caught,
    ):
        dump(small, store, tools=tools, attempts=1)

    assert "roles of this database were changed" in str(caught.value.detail)
    assert store.labels(small.dbname) == []
