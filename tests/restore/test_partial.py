"""A part of a backup beside the living database, and the difference between the two."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backups import fill
from backups.attempt import Wish
from backups.dump import dump
from backups.fingerprint import Fact
from backups.partial import PartialReport, restore_part
from backups.sealing import new_key, read_keys
from backups.stores import LocalStore
from backups.stores.base import Resumed
from backups.table_diff import Difference
from casedb.cli.main import run
from casedb.database import connect
from casedb.errors import (
    BackupDamagedError,
    ConfigurationError,
    DifferenceError,
    RefusedError,
)
from tests.restore.conftest import Night


@pytest.fixture
def name(night: Night) -> str:
    """A name for the new database, which the night's end drops."""
    return f"{night.name}_part"


def part(night: Night, name: str, *tables: str) -> PartialReport:
    wish = Wish(night.label, name, part=tables)
    return restore_part(night.store, wish, night.admin, tools=night.tools, live=night.name)


def test_one_table_comes_back_alone_and_its_changed_rows_are_named(night: Night, name: str) -> None:
    clerk, chair = night.user("CLERK"), night.user("CHAIR")
    night.do(
        "ALTER TABLE users DISABLE TRIGGER ALL;"
        f"UPDATE users SET first_name = 'Wrong' WHERE id = '{clerk}';"
        f"ALTER TABLE case_logs DISABLE TRIGGER ALL; ALTER TABLE cases DISABLE TRIGGER ALL;"
        f"SET session_replication_role = replica; DELETE FROM users WHERE id = '{chair}'"
    )

    report = part(night, name, "users")

    (found,) = report.tables
    assert (found.changed, found.only_in_backup, found.only_in_live) == (1, 1, 0)
    assert set(found.shown) == {
        (Difference.CHANGED, (str(clerk),)),
        (Difference.ONLY_IN_BACKUP, (str(chair),)),
    }
    assert night.ask(f"SELECT first_name FROM users WHERE id = '{clerk}'", name) == "John"
    assert night.ask("SELECT count(*) FROM users", name) == 3
    assert night.ask("SELECT count(*) FROM cases", name) == 0
    assert night.ask("SELECT count(*) FROM users") == 2


def test_what_was_written_since_is_only_in_the_live_database(night: Night, name: str) -> None:
    night.write_case("since the backup")

    report = part(night, name, "cases", "public.case_logs")

    assert [(t.table, t.only_in_live, t.only_in_backup, t.changed) for t in report.tables] == [
        ("public.cases", 1, 0, 0),
        ("public.case_logs", 1, 0, 0),
    ]


def test_a_part_is_closed_to_whom_the_whole_is_closed(night: Night, name: str) -> None:
    """A copy without its policies would show every row to everybody who may connect."""
    part(night, name, "cases")

    query = "SELECT count(*) FROM pg_policies"
    assert night.ask(query, name) == night.ask(query)
    forced = "SELECT count(*) FROM pg_class WHERE relforcerowsecurity"
    assert night.ask(forced, name) == night.ask(forced)
    with connect(night.admin.replace(dbname=name, user="case_app"), purpose="test") as app:
        row = app.execute("SELECT has_table_privilege('public.cases', 'SELECT')").fetchone()
    assert row == (False,)


def test_the_schema_alone_and_what_was_changed_in_the_live_one(night: Night, name: str) -> None:
    night.do("DROP INDEX idx_pending_assignments; GRANT SELECT ON cases TO PUBLIC")

    report = part(night, name)

    assert any("idx_pending_assignments is missing" in line for line in report.schema or ())
    assert any("public.cases" in line for line in report.schema or ())
    assert night.ask("SELECT count(*) FROM users", name) == 0
    assert night.ask("SELECT to_regclass('idx_pending_assignments') IS NOT NULL", name)


def test_an_unchanged_schema_has_no_difference(night: Night, name: str) -> None:
    assert part(night, name).schema == ()


def test_a_table_with_a_new_column_is_compared_on_the_others(night: Night, name: str) -> None:
    night.do("ALTER TABLE users ADD COLUMN nickname text")

    (found,) = part(night, name, "users").tables

    assert found.changed == 0
    assert "nickname" in (found.note or "")


def test_an_unknown_table_shows_the_nearest_and_leaves_nothing(night: Night, name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        part(night, name, "case")

    assert "public.cases" in (caught.value.hint or "")
    assert night.databases() == [night.name]


@pytest.mark.parametrize("more", [["--table", "cases"], ["--schema-only"]], ids=" ".join)
def test_what_was_there_of_the_download_and_what_was_removed_is_said(
    night: Night,
    name: str,
    more: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @contextmanager
    def resuming(store: LocalStore, _label: str, _folder: Path) -> Iterator[Resumed]:
        yield Resumed(store, found_bytes=3 << 20)

    monkeypatch.setattr(LocalStore, "resuming", resuming)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PG_BIN", str(night.tools.bindir))
    half = f"{name}_restoring_0a1b2c"
    night.do(f"CREATE DATABASE {half}", "postgres")

    code = run(["restore", *night.words, "--into", name, *more])

    said = capsys.readouterr().err
    assert code == 0, said
    assert "note: 3.0 MiB of the download were there from an earlier run" in said
    assert f'note: removed "{half}"' in said


def test_never_into_the_living_database(night: Night) -> None:
    with pytest.raises(RefusedError, match="exists already"):
        part(night, night.name, "cases")


def test_a_table_comes_out_of_an_encrypted_backup_too(
    night: Night, name: str, tmp_path: Path
) -> None:
    recipient = new_key(tmp_path / "key")
    store = LocalStore(tmp_path / "sealed")
    manifest = dump(
        night.live.replace(user="case_backup"), store, tools=night.tools, recipients=[recipient]
    )
    report = restore_part(
        store,
        Wish(manifest.label, name, part=("users",)),
        night.admin,
        tools=night.tools,
        live=night.name,
        keys=read_keys(tmp_path / "key"),
    )

    assert report.tables[0].is_equal
    assert night.ask("SELECT count(*) FROM users", name) == 3


@pytest.mark.parametrize(
    ("tables", "harm", "told"),
    [
        (
            ("users",),
            "UPDATE public.users SET first_name = 'Wrong' WHERE role = 'CLERK'",
            "content",
        ),
        (("users",), "DELETE FROM public.users WHERE role = 'CLERK'", "has 2"),
        (("users",), "DROP POLICY {policy} ON public.cases", "policy"),
        (("cases",), "INSERT INTO padding VALUES (1)", "padding"),
        ((), "INSERT INTO padding VALUES (1)", "padding"),
    ],
)
def test_a_part_that_is_not_what_was_dumped_fails_and_leaves_nothing(
    night: Night,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tables: tuple[str, ...],
    harm: str,
    told: str,
) -> None:
    night.do("CREATE TABLE public.padding (n int)")
    night = dataclasses.replace(
        night,
        manifest=dump(night.live.replace(user="case_backup"), night.store, tools=night.tools),
    )
    policy = night.ask(
        "SELECT quote_ident(policyname) FROM pg_policies WHERE tablename = 'cases' LIMIT 1"
    )
    load = fill.load

    def load_and_harm(*words: Any, **more: Any) -> None:
        load(*words, **more)
        with connect(words[4], purpose="test") as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("SET search_path = public")
            connection.execute(harm.format(policy=policy).encode())

    monkeypatch.setattr(fill, "load", load_and_harm)

    with pytest.raises(DifferenceError) as caught:
        part(night, name, *tables)

    assert told in (caught.value.detail or "")
    assert night.databases() == [night.name]


def test_a_part_of_a_damaged_backup_is_refused(night: Night, name: str) -> None:
    path = night.store.root / night.name / night.label / "database.dump.zst"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(BackupDamagedError):
        part(night, name, "users")

    assert night.databases() == [night.name]


def test_a_part_tells_of_its_phases_and_has_statistics(night: Night, name: str) -> None:
    report = part(night, name, "users")

    assert list(report.phases_s) == ["verify", "restore", "compare", "analyze", "diff"]
    assert report.rows == 3
    assert report.catalog_rows > 100
    assert night.ask("SELECT reltuples FROM pg_class WHERE oid = 'users'::regclass", name) == 3


def test_unfilled_views_and_other_majors_are_no_difference_of_the_schema(
    night: Night, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy's and the live catalog are of one server, whatever wrote the backup."""
    night.do("CREATE MATERIALIZED VIEW public.names AS SELECT 1 AS n")
    manifest = dump(night.live.replace(user="case_backup"), night.store, tools=night.tools)
    older = manifest.model_copy(update={"server_major": night.tools.major - 1})
    monkeypatch.setattr("backups.attempt.full_manifest", lambda *_words: older)
    catalog = (
        Fact("schema", "public", ""),
        Fact("extension", "plpgsql", ""),
        Fact("view", "public.v", "in an old form"),
    )
    monkeypatch.setattr("backups.fill.read_catalog", lambda *_words: catalog)

    report = part(dataclasses.replace(night, manifest=manifest), name)

    assert report.schema == ()
    assert any("the catalog was not compared" in note for note in report.notes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DROP TABLE public.padding", "there is no such table in the live database"),
        ("INSERT INTO public.padding VALUES (7)", "it has no primary key to compare by"),
    ],
)
def test_a_table_that_cannot_be_compared_is_not_said_to_be_equal(
    night: Night,
    name: str,
    change: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    night.do("CREATE TABLE public.padding (n int)")
    dump(night.live.replace(user="case_backup"), night.store, tools=night.tools)
    night.do(change)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PG_BIN", str(night.tools.bindir))

    code = run(["restore", "latest", *night.words, "--into", name, "--table", "padding"])

    said = capsys.readouterr()
    assert code == 0, said.err
    assert f"public.padding: not compared: {reason}\n" in said.out
    assert "0 rows changed" not in said.out
