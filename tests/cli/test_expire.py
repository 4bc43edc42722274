"""`casedb expire` as the on-call types it: asked first, told what is left, in every store."""

import json
import re

import pytest

from backups.manifest import MANIFEST
from tests.cli.conftest import Casedb
from tests.matrix.clock import wrong_clock


@pytest.fixture
def twice(casedb: Casedb) -> tuple[Casedb, list[str]]:
    """Two backups in two stores, and their labels."""
    assert casedb("up").code == 0
    (casedb.folder / "casedb.toml").write_text('store = ["one", "two"]\nlog_file = "log"\n')
    return casedb, [casedb("dump", "--json").json["label"] for _ in range(2)]


def sets(casedb: Casedb, store: str) -> list[str]:
    home = casedb.folder / store / "case_management"
    return sorted(path.parent.name for path in home.glob(f"*/{MANIFEST}"))


def test_nothing_goes_without_its_label_typed_and_then_it_goes_from_every_store(
    twice: tuple[Casedb, list[str]],
) -> None:
    casedb, (old, new) = twice

    for answer in ("", "yes\n", f"{new}\n"):
        refused = casedb("expire", old, stdin=answer)
        assert refused.code == 7
        assert "not confirmed, nothing was done" in refused.err
    assert re.search(rf'This deletes backup "{old}" \([0-9.]+ [KM]iB, taken at ', refused.err)
    for store in ("one", "two"):
        assert f"The newest left in {casedb.folder / store}: {new}, " in refused.err
    assert sets(casedb, "one") == sets(casedb, "two") == [old, new]

    done = casedb("expire", old, "--reason", "tried", stdin=f"{old}\n")

    assert done.code == 0, done.err
    assert [line for line in done.out.splitlines() if line.startswith("deleted")] == [
        f"deleted {old} from {casedb.folder / store}" for store in ("one", "two")
    ]
    assert sets(casedb, "one") == sets(casedb, "two") == [new]
    chain = casedb("verify", "--chain", "--json").json["chain"]
    assert [entry["state"] for entry in chain][:2] == ["whole", "expired"]
    last = json.loads((casedb.folder / "log").read_text().splitlines()[-2])
    assert (last["command"], last["label"], last["exit_code"]) == ("expire", old, 0)

    only = casedb("expire", new, "--confirm", new, "--json")
    assert only.code == 7
    assert "it is the only good one" in only.json["error"]["message"]
    assert sets(casedb, "one") == [new]


def test_a_store_that_is_gone_keeps_all_until_the_others_are_named(
    twice: tuple[Casedb, list[str]],
) -> None:
    casedb, (old, new) = twice
    (casedb.folder / "two").rename(casedb.folder / "unmounted")

    refused = casedb("expire", old, "--confirm", old)

    assert refused.code == 3
    assert f"there is no store at {casedb.folder / 'two'}" in refused.err
    assert sets(casedb, "one") == [old, new]
    assert casedb("expire", old, "--confirm", old, "--store", "one", "--json").json == {
        "label": old,
        "reason": "expired by hand",
        "stores": [str(casedb.folder / "one")],
        "expired_before": [],
    }
    assert sets(casedb, "one") == [new]


def test_given_again_it_says_so_and_removes_what_a_killed_run_left(
    twice: tuple[Casedb, list[str]],
) -> None:
    casedb, (old, new) = twice
    assert casedb("expire", old, "--confirm", old, "--reason", "tried", "--store", "one").code == 0
    home = casedb.folder / "one" / "case_management"
    hidden = home / f".deleting-{old}"
    hidden.mkdir()
    (hidden / "archive.dump.zst").touch()

    ended = casedb("expire", old, "--confirm", old)

    assert ended.code == 0, ended.err
    assert f"deleted {old} from {casedb.folder / 'two'}\n" in ended.out
    assert re.search(rf"{old} expired in {casedb.folder / 'one'} at .* UTC: tried\n", ended.out)
    assert sets(casedb, "one") == sets(casedb, "two") == [new]
    assert not hidden.exists()
    # Nothing is left to confirm.
    assert casedb("expire", old, "--json").json["expired_before"] == [
        str(casedb.folder / store) for store in ("one", "two")
    ]


def test_no_word_stands_for_a_label(brought_up: Casedb) -> None:
    for word in ("latest", "latest-drilled"):
        refused = brought_up("expire", word, "--confirm", word)
        assert refused.code == 2
        assert "has to be named" in refused.err


@pytest.mark.parametrize("reason", ["", " ", "one\ntwo", "no UTF-8: \udcff"])
def test_a_reason_is_one_line_of_text(brought_up: Casedb, reason: str) -> None:
    label = brought_up("backups", "--json").json["backups"][0]["label"]

    refused = brought_up("expire", label, "--confirm", label, "--reason", reason)

    assert refused.code == 2
    assert "it takes one line of text" in refused.err


def test_a_backup_of_a_clock_that_was_ahead_no_longer_stops_rotation(casedb: Casedb) -> None:
    assert casedb("up").code == 0
    # A command that sleeps cannot keep the other clock right under libfaketime.
    in_400_days = {**wrong_clock("+400d"), "FAKETIME_DONT_FAKE_MONOTONIC": "0"}
    ahead = casedb("dump", "--json", **in_400_days).json["label"]

    stopped = casedb("rotate", "--apply")
    assert stopped.code == 7
    assert f"`casedb expire {ahead}`" in stopped.err
    assert f"casedb expire {ahead}" in casedb("status", "--json").out

    assert casedb("expire", ahead, "--confirm", ahead).code == 0

    assert casedb("rotate", "--apply").code == 0
    assert "from the future" not in casedb("status").out
    assert casedb("dump").code == 0
    chain = casedb("verify", "--chain", "--json").json
    assert chain["whole"]
    assert {entry["label"]: entry["state"] for entry in chain["chain"]}[ahead] == "expired"
