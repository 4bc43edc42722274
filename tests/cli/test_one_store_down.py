"""One of several stores is gone: what the other has is shown and done, and the exit code tells."""

from pathlib import Path

import pytest

from backups.manifest import MANIFEST
from tests.cli.conftest import Casedb


@pytest.fixture
def halved(casedb: Casedb) -> tuple[Casedb, list[str]]:
    """Two backups in two stores, of which the first is gone; their labels."""
    assert casedb("up").code == 0
    (casedb.folder / "casedb.toml").write_text('store = ["one", "two"]\n')
    labels = [casedb("dump", "--json").json["label"] for _ in range(2)]
    (casedb.folder / "one").rename(casedb.folder / "unmounted")
    return casedb, labels


def test_a_store_that_is_gone_hides_no_backup_of_the_other(
    halved: tuple[Casedb, list[str]],
) -> None:
    casedb, labels = halved

    listed = casedb("backups")

    assert listed.code == 3
    assert all(label in listed.out for label in labels)
    assert f"there is no store at {casedb.folder / 'one'}" in listed.err

    rotated = casedb("rotate", "--apply", "--keep-last=1", "--keep-within=0h")

    assert rotated.code == 3
    assert "deleted" in rotated.out
    assert sorted(p.name for p in home(casedb, "two").glob(f"*/{MANIFEST}")) == [MANIFEST]
    assert f"there is no store at {casedb.folder / 'one'}" in rotated.err

    for verb in (["backups"], ["rotate", "--apply", "--keep-last=1"]):
        machines = casedb(*verb, "--json")
        assert machines.code == 3
        assert [store["store"] for store in machines.json["stores"]] == [str(casedb.folder / "two")]
        assert "ERROR:  there is no store" in machines.err

    # What reads one store takes the first, and says where else there is one.
    for words in (("restore", "--plan"), ("verify",), ("drill",)):
        refused = casedb(*words)
        assert refused.code == 3
        assert f"--store {casedb.folder / 'two'}" in refused.err
    assert casedb("restore", "--plan", f"--store={casedb.folder / 'two'}").code == 0


def home(casedb: Casedb, store: str) -> Path:
    return casedb.folder / store / "case_management"
