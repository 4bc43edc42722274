"""Every byte counts: whatever is cut off or flipped in any file of a set is found and named."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from backups.dump import dump
from backups.manifest import Manifest
from backups.sealing import Keys, new_key, read_keys
from backups.stores import LocalStore
from backups.verify import verify
from casedb.conninfo import Conninfo
from casedb.errors import BackupDamagedError
from casedb.tools import PostgresTools
from tests.matrix.table import leave_row

PLACES = 9


@dataclass(frozen=True)
class Set:
    store: LocalStore
    manifest: Manifest
    keys: Keys | None

    @property
    def folder(self) -> Path:
        return self.store.root / self.manifest.database / self.manifest.label


@pytest.fixture(scope="module", params=["clear", "encrypted"])
def taken(
    request: pytest.FixtureRequest,
    cluster: Conninfo,
    template: str,
    tools: PostgresTools,
    tmp_path_factory: pytest.TempPathFactory,
) -> Set:
    home = tmp_path_factory.mktemp("bytes")
    sealed = request.param == "encrypted"
    recipients = (new_key(home / "key"),) if sealed else ()
    store = LocalStore(home / "store")
    target = cluster.replace(dbname=template, user="case_backup")
    made = dump(target, store, tools=tools, recipients=recipients)
    return Set(store, made, read_keys(home / "key") if sealed else None)


def is_found(taken: Set, tools: PostgresTools, name: str) -> bool:
    """Whether verify finds damage and names the file; for a set in clear the archive is opened."""
    try:
        verify(taken.store, taken.manifest.label, tools=tools)
    except BackupDamagedError as error:
        return name in f"{error.message} {error.detail}"
    return False


def flipped(data: bytes) -> list[bytes]:
    places = sorted({len(data) * n // (PLACES - 1) for n in range(PLACES - 1)} | {len(data) - 1})
    return [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in places]


def cut_short(data: bytes) -> list[bytes]:
    return [data[:size] for size in sorted({0, 1, len(data) // 2, len(data) - 1})]


@pytest.mark.parametrize(("fault", "spoil"), [("flipped byte", flipped), ("truncated", cut_short)])
def test_damage_to_any_file_of_a_set_is_found_and_named(
    taken: Set,
    tools: PostgresTools,
    request: pytest.FixtureRequest,
    fault: str,
    spoil: Callable[[bytes], list[bytes]],
) -> None:
    kind = "encrypted set" if taken.keys else "clear set"
    assert verify(taken.store, taken.manifest.label, tools=tools).outcome == "passed"
    tried, missed = 0, []
    names = sorted(path.name for path in taken.folder.iterdir())
    assert {*taken.manifest.files, "manifest.json"} == set(names)

    for name in names:
        path = taken.folder / name
        whole = path.read_bytes()
        for number, broken in enumerate(spoil(whole)):
            assert broken != whole
            path.write_bytes(broken)
            tried += 1
            if not is_found(taken, tools, name):
                missed.append((name, number))
        path.write_bytes(whole)

    assert missed == []
    # Proves that it was the damage that was found, each time.
    passed = verify(taken.store, taken.manifest.label, tools=tools, keys=taken.keys)
    assert passed.outcome == "passed"
    proof = f"{tried} changes in {len(names)} files"
    leave_row(request, "verify", kind, fault, proof, f"{tried} found and named", "whole: passed")
