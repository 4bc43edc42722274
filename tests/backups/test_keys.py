"""Whose keys there can be, several of them, and what is refused."""

import shutil
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backups.catalog import read_backup, read_manifest
from backups.contents import full_manifest
from backups.drill import drill
from backups.dump import dump
from backups.sealing import new_key, read_keys, require_recipients
from backups.stores import LocalStore
from backups.tombstones import Tombstone, read_tombstones
from casedb.conninfo import Conninfo
from casedb.errors import ConfigurationError, UnverifiedError
from casedb.tools import PostgresTools
from tests.backups.test_sealing import public_half


def test_each_of_several_recipients_can_open_it_alone(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    publics = [new_key(tmp_path / name) for name in ("one", "two")]
    store = LocalStore(tmp_path / "store")

    manifest = dump(small, store, tools=tools, recipients=publics)

    for name in ("one", "two"):
        found = full_manifest(
            store,
            read_manifest(store, small.dbname, manifest.label),
            read_keys(tmp_path / name),
        )
        assert found.tables == manifest.tables
        assert len(found.tables) == 2


def test_after_a_rotation_of_keys_one_file_with_both_opens_what_either_was_for(
    small: Conninfo, tools: PostgresTools, tmp_path: Path
) -> None:
    store, old, new = LocalStore(tmp_path / "store"), tmp_path / "old", tmp_path / "new"
    publics = [new_key(old), new_key(new)]
    gone, first, second = (
        dump(small, store, tools=tools, recipients=[public]).label
        for public in (publics[0], *publics)
    )
    tombstone = Tombstone.of(
        read_backup(store, small.dbname, gone),
        at=datetime.now(UTC),
        reason="no rule keeps it",
        keys=read_keys(old),
    )
    store.delete(small.dbname, gone, tombstone.to_bytes())
    both = tmp_path / "both"
    # The new one first: it is the one that vouches from now on.
    both.write_text(new.read_text() + old.read_text())
    both.chmod(0o600)

    for label in (first, second):
        report = drill(store, label, tools=tools, keys=read_keys(both), with_access=False)
        assert report.outcome == "passed"
    left = read_tombstones(store, small.dbname)[gone]
    assert left.is_vouched(read_keys(both))

    # The file with the new one alone is no better than another's.
    assert not left.is_vouched(read_keys(new))
    with pytest.raises(UnverifiedError, match="does not open this backup"):
        drill(store, first, tools=tools, keys=read_keys(new), with_access=False)


def ssh_key(path: Path, kind: str, passphrase: str = "") -> str:
    """Make a key for SSH and return its public half."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("there is no ssh-keygen program")
    argv = ["ssh-keygen", "-q", *kind.split(), "-N", passphrase, "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return path.with_name(f"{path.name}.pub").read_text().strip()


@pytest.mark.parametrize("kind", ["-t ed25519", "-t rsa -b 2048", "-t rsa -b 2048 -m PEM"])
def test_what_is_encrypted_to_an_ssh_key_is_opened_and_vouched_for_with_it(
    small: Conninfo, tools: PostgresTools, tmp_path: Path, kind: str
) -> None:
    public, other = ssh_key(tmp_path / "key", kind), ssh_key(tmp_path / "other", kind)
    store = LocalStore(tmp_path / "store")
    label = dump(small, store, tools=tools, recipients=[public]).label

    keys = read_keys(tmp_path / "key")
    assert drill(store, label, tools=tools, keys=keys, with_access=False).outcome == "passed"
    with pytest.raises(UnverifiedError, match="does not open this backup"):
        drill(store, label, tools=tools, keys=read_keys(tmp_path / "other"), with_access=False)

    backup = read_backup(store, small.dbname, label)
    left = Tombstone.of(backup, at=datetime.now(UTC), reason="no rule keeps it", keys=keys)
    # Another process reads the file anew.
    assert left.is_vouched(read_keys(tmp_path / "key"))
    assert not left.is_vouched(read_keys(tmp_path / "other"))
    assert "PRIVATE" not in repr(keys)
    assert other != public


def test_an_ssh_key_that_cannot_be_used_is_told_from_no_key(tmp_path: Path) -> None:
    public = ssh_key(tmp_path / "locked", "-t ed25519", "a passphrase")
    unknown = ssh_key(tmp_path / "ecdsa", "-t ecdsa")
    require_recipients([public])

    with pytest.raises(ConfigurationError, match="cannot be used") as caught:
        read_keys(tmp_path / "locked")
    assert "must be decrypted" in (caught.value.detail or "")
    assert "passphrase" in (caught.value.hint or "")
    with pytest.raises(ConfigurationError, match="no public key"):
        require_recipients([unknown])
    (tmp_path / "locked").chmod(0o640)
    with pytest.raises(ConfigurationError, match="can be read by others"):
        read_keys(tmp_path / "locked")


def test_a_key_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    public = new_key(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public_half(path) == public
    assert "SECRET" not in repr(read_keys(path))
    with pytest.raises(ConfigurationError, match="no key can be written"):
        new_key(path)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="can be read by others"):
        read_keys(path)


def test_recipients_that_make_no_sense_are_refused_and_secrets_not_repeated(
    tmp_path: Path,
) -> None:
    new_key(tmp_path / "key")
    secret = (tmp_path / "key").read_text().splitlines()[1]

    ssh_key(tmp_path / "ssh", "-t ed25519")
    for text in (secret, (tmp_path / "ssh").read_text()):
        with pytest.raises(ConfigurationError, match="secret key is among") as caught:
            require_recipients([text])
        assert text not in str(caught.value)
    with pytest.raises(ConfigurationError, match="no public key"):
        require_recipients(["age1nonsense"])
