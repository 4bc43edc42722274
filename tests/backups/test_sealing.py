"""What is encrypted can be read by its recipients only, and proven by them all the same."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest
from psycopg import sql

from backups.attempt import Wish
from backups.catalog import read_backup, read_manifest
from backups.compare import compare
from backups.drill import drill
from backups.dump import dump
from backups.load import analyze
from backups.manifest import Manifest
from backups.restore import restore
from backups.sealing import Keys, new_key, read_keys
from backups.stores import LocalStore
from backups.verify import read_catalog, verify
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import BackupDamagedError, DifferenceError, UnverifiedError
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools
from tests.backups.conftest import SAMPLE
from tests.backups.test_restore import run_all

# What only somebody with the key may find: a title, a role, a policy, a column, a verifier.
SECRETS = (b"case 77", b"sample_reader", b"cases_never_closed", b"SCRAM-SHA-256", b"app.cases")


@dataclass(frozen=True)
class Sealed:
    """A store with one encrypted backup, and the key to it."""

    store: LocalStore
    manifest: Manifest
    key_file: Path

    @property
    def keys(self) -> Keys:
        return read_keys(self.key_file)

    @property
    def folder(self) -> Path:
        return self.store.root / SAMPLE / self.manifest.label


def public_half(key: Path) -> str:
    (identity,) = read_keys(key).identities
    return str(identity.to_public())


@pytest.fixture(scope="module")
def sealed(
    sample: Conninfo, tools: PostgresTools, tmp_path_factory: pytest.TempPathFactory
) -> Sealed:
    home = tmp_path_factory.mktemp("sealed")
    public = new_key(home / "key")
    store = LocalStore(home / "store")
    with connect(sample, purpose="test") as connection:
        connection.execute("ALTER ROLE sample_reader PASSWORD 'hush-hush'")
    manifest = dump(sample.replace(user="sample_backup"), store, tools=tools, recipients=[public])
    with connect(sample, purpose="test") as connection:
        connection.execute("ALTER ROLE sample_reader PASSWORD NULL")
    return Sealed(store, manifest, home / "key")


@pytest.fixture
def copied_seal(sealed: Sealed, tmp_path: Path) -> Sealed:
    shutil.copytree(sealed.store.root, tmp_path / "store")
    return Sealed(LocalStore(tmp_path / "store"), sealed.manifest, sealed.key_file)


def test_nothing_of_the_content_lies_in_the_store_in_clear(sealed: Sealed) -> None:
    for path in sealed.folder.iterdir():
        data = path.read_bytes()
        for secret in SECRETS:
            assert secret not in data, (path.name, secret)
    clear = {p.name for p in sealed.folder.iterdir() if p.suffix != ".age"}
    assert clear == {"manifest.json", "RESTORE.txt"}
    public = read_manifest(sealed.store, SAMPLE, sealed.manifest.label)
    assert public.tables == ()
    assert public.roles == ()
    assert public.recipients == (public_half(sealed.key_file),)


def assert_nothing_lies_in_clear(store: LocalStore, secrets: Sequence[bytes]) -> None:
    """Wherever in the store: what is found about a backup says as much as the backup."""
    paths = [path for path in store.root.rglob("*") if path.is_file()]
    assert [path for path in paths if path.parent.name == "records"]
    for path in paths:
        data = path.read_bytes()
        assert [secret for secret in secrets if secret in data] == [], path.name


def unsealed_record(path: Path, key: Path) -> dict[str, Any]:
    """Return what only the recipients can read of a report."""
    identities = list(read_keys(key).identities)
    sealed = json.loads(path.read_text())["sealed"]
    found = json.loads(pyrage.decrypt(sealed.encode(), identities))
    assert isinstance(found, dict)
    return found


def test_what_a_failed_drill_found_is_encrypted_as_the_backup_is(
    copied_seal: Sealed, tools: PostgresTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def and_spoil(target: Conninfo) -> None:
        analyze(target)
        with connect(target, purpose="spoil") as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("UPDATE app.cases SET title = 'x'")
            connection.execute("DROP POLICY cases_never_closed ON app.cases")
            connection.execute("ALTER DATABASE \"sample db\" SET work_mem = '77MB'")

    monkeypatch.setattr("backups.drill.analyze", and_spoil)
    store, label = copied_seal.store, copied_seal.manifest.label

    with pytest.raises(DifferenceError) as caught:
        drill(store, label, tools=tools, keys=copied_seal.keys, with_access=False)

    told = (caught.value.detail or "").splitlines()
    assert len(told) == 3
    assert_nothing_lies_in_clear(store, (*SECRETS, b"app.", b"77MB"))
    # Whoever has no key goes on by what is in clear.
    backup = read_backup(store, SAMPLE, label)
    assert backup.drilled
    assert backup.drilled.outcome == "failed"
    assert backup.drilled.recovery_s > 0
    record = store.root / SAMPLE / "records" / f"{label}.drill.json"
    assert unsealed_record(record, copied_seal.key_file)["differences"] == told


def test_what_pg_restore_prints_of_a_row_is_encrypted_as_the_backup_is(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    with connect(small, purpose="test") as connection:
        connection.execute(
            "CREATE TABLE people AS SELECT 'jane@example.com' AS email;"
            "CREATE FUNCTION fine(text) RETURNS bool LANGUAGE sql"
            " AS $$SELECT current_setting('search_path') <> ''$$;"
            "ALTER TABLE people ADD CHECK (fine(email))"
        )
    store = LocalStore(tmp_path / "store")
    manifest = dump(small, store, tools=tools, recipients=[new_key(tmp_path / "key")])

    with pytest.raises(DifferenceError, match="does not restore") as caught:
        drill(store, manifest.label, tools=tools, keys=read_keys(tmp_path / "key"))

    assert "jane@example.com" in (caught.value.detail or "")
    assert_nothing_lies_in_clear(store, (b"jane", b"people", b"COPY", b"fine"))


def test_a_report_of_a_passed_drill_or_a_restore_says_no_more(
    copied_seal: Sealed, cluster: Conninfo, tools: PostgresTools
) -> None:
    store, label = copied_seal.store, copied_seal.manifest.label
    name = "sealed_reported"
    drilled = drill(store, label, tools=tools, keys=copied_seal.keys, with_access=False)
    try:
        wish = Wish(label, name)
        restored = restore(store, wish, cluster, tools=tools, keys=copied_seal.keys)
    finally:
        with connect(cluster, purpose="test") as connection:
            statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
            connection.execute(statement)

    assert any("app.stale" in note for note in drilled.notes)
    assert any("app.stale" in note for note in restored.notes)
    assert_nothing_lies_in_clear(store, (*SECRETS, b"app."))
    for name, report in ((f"{label}.drill", drilled), (f"{restored.record}.restore", restored)):
        record = store.root / SAMPLE / "records" / f"{name}.json"
        assert json.loads(record.read_text())["rows"] == 0
        assert unsealed_record(record, copied_seal.key_file) == report.model_dump(mode="json")


def test_its_bytes_can_be_verified_without_the_key(sealed: Sealed, tools: PostgresTools) -> None:
    report = verify(sealed.store, sealed.manifest.label, tools=tools)

    assert report.outcome == "passed"
    assert report.notes == ("encrypted: its bytes are right, what is in it was not looked at",)


def test_a_drill_with_the_key_proves_it_and_brings_the_passwords(
    sealed: Sealed, tools: PostgresTools
) -> None:
    report = drill(
        sealed.store,
        sealed.manifest.label,
        tools=tools,
        keys=sealed.keys,
        with_access=False,
    )

    assert report.outcome == "passed"
    assert report.rows == sealed.manifest.rows > 400


def test_a_drill_without_the_key_or_with_another_proves_nothing(
    sealed: Sealed, tools: PostgresTools, tmp_path: Path
) -> None:
    new_key(tmp_path / "other")

    with pytest.raises(UnverifiedError, match="there is no key"):
        drill(sealed.store, sealed.manifest.label, tools=tools)
    with pytest.raises(UnverifiedError, match="does not open this backup"):
        drill(sealed.store, sealed.manifest.label, tools=tools, keys=read_keys(tmp_path / "other"))


def test_it_restores_into_a_living_server(
    sealed: Sealed, cluster: Conninfo, tools: PostgresTools
) -> None:
    name = "sealed_restored"
    try:
        report = restore(
            sealed.store, Wish(sealed.manifest.label, name), cluster, tools=tools, keys=sealed.keys
        )
        assert report.rows == sealed.manifest.rows
    finally:
        with connect(cluster, purpose="test") as connection:
            statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
            connection.execute(statement)


def test_the_instructions_restore_it_with_age_and_without_casedb(
    sealed: Sealed, tools: PostgresTools, tmp_path: Path
) -> None:
    if shutil.which("age") is None or shutil.which("zstd") is None:
        pytest.skip("there is no age or no zstd program")
    text = (sealed.folder / "RESTORE.txt").read_text()
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    folder = tmp_path / "set"
    shutil.copytree(sealed.folder, folder)
    shutil.copy(sealed.key_file, tmp_path / "key")

    with throwaway_cluster(tools) as server:
        run_all(commands, folder, server, tools)
        with connect(server.replace(dbname="sample_db_restored"), purpose="test") as connection:
            catalog = read_catalog(sealed.store, sealed.manifest, sealed.keys)
            found = compare(connection, sealed.manifest, catalog, with_roles=True)
            verifier = connection.execute(
                "SELECT rolpassword FROM pg_authid WHERE rolname = 'sample_reader'"
            ).fetchone()

    assert found.differences == ()
    assert verifier
    assert str(verifier[0]).startswith("SCRAM-SHA-256$")


@pytest.mark.parametrize("position", [10, -10, 0.5])
def test_a_flipped_bit_in_any_file_is_found_without_the_key(
    copied_seal: Sealed, tools: PostgresTools, position: float
) -> None:
    for path in sorted(copied_seal.folder.iterdir()):
        data = path.read_bytes()
        changed = bytearray(data)
        changed[int(position * len(data)) if position == 0.5 else int(position)] ^= 1
        path.write_bytes(changed)
        with pytest.raises(BackupDamagedError):
            verify(copied_seal.store, copied_seal.manifest.label, tools=tools)
        path.write_bytes(data)
    assert verify(copied_seal.store, copied_seal.manifest.label, tools=tools).problems == ()
