"""While a backup is loaded, it is told into which table, and how much is there by now."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from backups.attempt import Wish
from backups.dump import dump
from backups.load import seen
from backups.progress import Progress
from backups.restore import restore
from backups.sealing import new_key, read_keys
from backups.stores import LocalStore
from casedb.database import connect
from tests.restore.conftest import Night


def test_a_copy_into_a_table_is_told_of(night: Night) -> None:
    night.do("CREATE TABLE public.padding (n int)")
    with (
        psycopg.connect(night.live.dsn) as loading,
        loading.cursor().copy("COPY public.padding FROM STDIN") as copy,
        connect(night.live, purpose="test") as watching,
    ):
        copy.write(b"1\n" * 100_000)
        found = seen(watching, night.manifest)

    assert found.phase == "loading padding"
    assert found.unit == "bytes"
    assert found.total
    assert 0 < found.done <= found.total


@contextmanager
def being_indexed(night: Night) -> Iterator[None]:
    """An index of public.padding is being made until the block ends, by way of a lock."""
    night.do(
        "CREATE TABLE public.padding AS SELECT 1 AS n;"
        "CREATE FUNCTION public.waits(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_lock(4711); RETURN n; END $$"
    )
    index = "CREATE INDEX ON public.padding (public.waits(n))"
    making = threading.Thread(target=night.do, args=(index,))
    with connect(night.live, purpose="test") as holder:
        holder.execute("SELECT pg_advisory_lock(4711)")
        making.start()
        try:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not night.ask(waiting):
                assert making.is_alive()
            yield
        finally:
            holder.execute("SELECT pg_advisory_unlock(4711)")
            making.join()


def test_an_index_that_is_made_is_told_of(night: Night) -> None:
    with being_indexed(night), connect(night.live, purpose="test") as watching:
        found = seen(watching, night.manifest)

    assert found.phase == "indexing padding"


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_restore_tells_how_far_it_is(
    night: Night, encrypted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backups.pg_restore._TOLD_EVERY_S", 0.001)
    recipients = [new_key(tmp_path / "key")] if encrypted else []
    store = LocalStore(tmp_path / "other")
    manifest = dump(
        night.live.replace(user="case_backup"), store, tools=night.tools, recipients=recipients
    )
    told: list[Progress] = []

    restore(
        store,
        Wish(manifest.label, f"{night.name}_copy"),
        night.admin,
        tools=night.tools,
        keys=read_keys(tmp_path / "key") if encrypted else None,
        on_progress=told.append,
    )

    restoring = [p.phase for p in told].index("restoring")
    comparing = [p.phase for p in told].index("comparing with the manifest")
    sizes = [p for p in told[restoring + 1 : comparing] if p.unit == "bytes"]
    assert sizes
    assert all(p.total and 0 < p.done <= p.total for p in sizes)
