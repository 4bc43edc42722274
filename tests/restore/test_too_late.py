"""A signal that comes when the names have changed changes nothing more; what was done is told."""

import dataclasses
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from unittest.mock import MagicMock

import pytest

from backups import kept, swap
from backups.attempt import Wish
from backups.kept import drop_kept
from backups.partial import restore_part
from backups.records import read_record
from backups.reports import DropReport, UndoReport
from backups.restore_facts import kept_databases
from backups.stores import LocalStore
from backups.undo import plan_undo, undo_restore
from casedb.cli.main import run
from casedb.database import connect
from casedb.errors import TerminatedError, ToolFailedError
from tests.restore.conftest import Night


@pytest.fixture(autouse=True)
def front_door() -> Iterator[None]:
    """SIGTERM raises, as it does in the command."""

    def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TerminatedError

    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGTERM, terminate)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signal_at(monkeypatch: pytest.MonkeyPatch, place: str, *, after: bool) -> list[str]:
    """Send two signals when the function `place` is called, or when it has returned; tell when."""
    module, _, name = place.rpartition(".")
    function = getattr(import_module(module), name)
    sent: list[str] = []

    def send() -> None:
        if not sent:
            sent.append(place)
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    def and_signal(*words: Any, **more: Any) -> Any:
        if not after:
            send()
        found = function(*words, **more)
        if after:
            send()
        return found

    monkeypatch.setattr(import_module(module), name, and_signal)
    return sent


@pytest.mark.parametrize(
    ("place", "after"),
    [
        ("backups.swap._committed", True),
        ("backups.replace.swap_names", True),
        ("backups.replace._count_lost", False),
        ("backups.replace._count_lost", True),
        ("backups.restore.RestoreReport", False),
        ("backups.restore.write_record", False),
        ("backups.restore.write_record", True),
    ],
)
def test_a_restore_that_has_swapped_says_so_and_keeps_its_report(
    night: Night, monkeypatch: pytest.MonkeyPatch, place: str, after: bool
) -> None:
    told: list[object] = []
    sent = signal_at(monkeypatch, place, after=after)

    report = night.restore(on_done=told.append)

    assert sent == [place]
    assert told == [()]
    assert report.swap
    assert night.databases() == sorted([night.name, report.swap.kept])
    assert night.reports() == [report]
    seen = "_record" not in place and "Report" not in place
    assert (swap.TOO_LATE in report.notes) is seen
    night.write_case("the application goes on")


def test_counting_is_ended_by_a_signal_and_nothing_else_is(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the old database may take long: it is what a person may still stop."""

    def slow(connection: Any) -> list[Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        connection.execute("SELECT pg_sleep(60)")
        return []

    monkeypatch.setattr(kept, "read_state", slow)

    report = night.restore()

    assert report.swap
    assert report.swap.not_restored is None
    assert swap.TOO_LATE in report.notes


@pytest.mark.parametrize("place", ["backups.replace.swap_names", "backups.swap._oid"])
def test_a_signal_that_comes_in_time_stops_the_swap(
    night: Night, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    told: list[object] = []
    sent = signal_at(monkeypatch, place, after=False)

    with pytest.raises(TerminatedError):
        night.restore(on_done=told.append)

    assert sent == [place]
    assert told == []
    assert night.databases() == [night.name]
    night.write_case("nothing has happened")


@pytest.mark.parametrize("place", ["backups.beside.drop_statement", "backups.kept.unfreeze"])
def test_a_signal_does_not_cut_short_what_cleans_up_after_an_error(
    night: Night, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fails(*_words: object) -> NoReturn:
        raise ToolFailedError("it does not load")

    monkeypatch.setattr("backups.fill.load", fails)
    sent = signal_at(monkeypatch, place, after=False)

    with pytest.raises(ToolFailedError, match="it does not load"):
        night.restore(dataclasses.replace(night.wish, freeze=True))

    assert sent == [place]
    assert night.databases() == [night.name]
    night.write_case("the application goes on")


def test_afterwards_signals_are_heard_again(night: Night) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    night.restore()

    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == before


def test_an_error_after_the_swap_is_a_note_and_not_a_failure(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def lease(_store: object, _database: str, _label: str) -> Iterator[tuple[str, ...]]:
        yield ()
        raise ToolFailedError("the lease could not be given back", detail="The store is gone.")

    monkeypatch.setattr(LocalStore, "lease", lease)

    report = night.restore()

    assert report.swap
    assert any("the lease could not be given back" in note for note in report.notes)


@pytest.mark.parametrize(
    ("place", "after"),
    [
        ("backups.swap._committed", True),
        ("backups.undo.swap_names", True),
        ("backups.undo._changes", True),
        ("backups.undo.write_record", False),
    ],
)
def test_an_undo_that_has_swapped_says_so(
    night: Night, monkeypatch: pytest.MonkeyPatch, place: str, after: bool
) -> None:
    restored = night.restore()
    plan = plan_undo(night.admin, night.name)
    told: list[object] = []
    sent = signal_at(monkeypatch, place, after=after)

    report = undo_restore(night.admin, plan, confirmed=True, store=night.store, on_done=told.append)

    assert sent == [place]
    assert told == [()]
    assert restored.swap
    assert report.now == restored.swap.kept
    assert night.databases() == sorted([night.name, report.kept])
    assert read_record(night.store, night.name, report.label, UndoReport) == report


@pytest.mark.parametrize("place", ["backups.kept.write_record", "backups.kept.DropReport"])
def test_a_kept_database_is_dropped_and_told_of_or_it_is_there(
    night: Night, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    night.restore()
    with connect(night.admin, purpose="test") as connection:
        (found,) = kept_databases(connection, night.name)
    sent = signal_at(monkeypatch, place, after=False)
    done: list[bool] = []

    try:
        report = drop_kept(night.admin, found, store=night.store, on_done=lambda: done.append(True))
    except TerminatedError:
        assert done == []
        assert found.name in night.databases()
    else:
        assert done == [True]
        assert found.name not in night.databases()
        assert read_record(night.store, night.name, report.label, DropReport) == report
    assert sent == [place]


@pytest.mark.parametrize("tables", [("cases",), ()])
def test_a_part_that_has_its_name_is_named_when_the_comparison_is_interrupted(
    night: Night, monkeypatch: pytest.MonkeyPatch, tables: tuple[str, ...]
) -> None:
    name = f"{night.name}_part"
    place = "backups.partial.diff_table" if tables else "backups.partial._schema"
    sent = signal_at(monkeypatch, place, after=False)

    with pytest.raises(TerminatedError) as caught:
        restore_part(
            night.store, Wish(night.label, name, part=tables), night.admin,
            tools=night.tools, live=night.name,
        )  # fmt: skip

    assert sent == [place]
    assert name in night.databases()
    (note,) = caught.value.__notes__
    assert f'DROP DATABASE "{name}"' in note


LEFT = "Let them go: psql 'dbname=pgbouncer' -c 'RESUME \"x\"'"


class _Kept:
    """A bucket's download of which something is kept."""

    found_bytes = 0

    def __init__(self, store: LocalStore) -> None:
        self.store = store

    def kept_bytes(self) -> int:
        return 1


@contextmanager
def _resuming(store: LocalStore, _label: str, _folder: Path) -> Iterator[_Kept]:
    yield _Kept(store)


@pytest.mark.parametrize(
    ("more", "place", "word"),
    [
        (
            ["--table", "cases", "--into", "NAME_part"],
            "backups.partial.diff_table",
            "DROP DATABASE",
        ),
        (["--into", "NAME_copy"], "backups.fill.load", "What was downloaded is kept in"),
        (["--pooler", "host=/nowhere dbname=pgbouncer"], "backups.swap._attempts", "RESUME"),
    ],
)
def test_the_command_tells_what_an_interrupt_leaves(
    night: Night,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    place: str,
    word: str,
) -> None:
    monkeypatch.setattr(LocalStore, "resuming", _resuming)
    monkeypatch.setattr("backups.pooler._reach", lambda _console: MagicMock())
    monkeypatch.setattr("backups.pooler._pause", lambda *_words: None)
    monkeypatch.setattr("backups.pooler._resume", lambda *_words: [LEFT])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PG_BIN", str(night.tools.bindir))
    sent = signal_at(monkeypatch, place, after=False)
    words = [word.replace("NAME", night.name) for word in more]

    code = run(["restore", "latest", "--confirm", night.name, *night.words, *words])

    said = capsys.readouterr().err
    assert sent == [place]
    assert code == 130, said
    assert word in said.partition("cleaned up, except for this:")[2]


def test_a_new_database_that_has_its_name_is_told_of(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{night.name}_copy"
    told: list[object] = []
    sent = signal_at(monkeypatch, "backups.restore.named", after=True)

    report = night.restore(Wish(night.label, name), on_done=told.append)

    assert sent
    assert told == [()]
    assert report.database == name
    assert name in night.databases()


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize("undo", [False, True])
def test_what_is_left_to_do_is_the_last_word_and_code_5(
    night: Night,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    undo: bool,
    interrupted: bool,
) -> None:
    def with_some_left(*words: Any, **more: Any) -> swap.SwapReport:
        return dataclasses.replace(swap.swap_names(*words, **more), left=(LEFT,))

    command = ["restore", "latest", "--confirm", night.name]
    stands, printing = f'is now database "{night.name}"', "casedb.cli.restore.print_report"
    if undo:
        night.restore()
        command = ["undo-restore"]
        stands, printing = f'is database "{night.name}" again', "casedb.cli.undo_restore._print"
    monkeypatch.setattr(f"backups.{'undo' if undo else 'replace'}.swap_names", with_some_left)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PG_BIN", str(night.tools.bindir))
    if interrupted:
        signal_at(monkeypatch, printing, after=False)

    code = run([*command, *night.words])

    said = capsys.readouterr().err
    assert code == 5, said
    assert f"{stands}, but something is left to do" in said
    assert LEFT in said.partition("HINT:")[2]
    assert ("too late" in said) is interrupted
