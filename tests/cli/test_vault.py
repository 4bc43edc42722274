"""Several stores, encryption, chain and retention, as a person uses them."""

import shutil
from pathlib import Path

from tests.cli.conftest import Casedb


def test_two_stores_a_key_a_drill_from_the_second_alone_and_the_chain(casedb: Casedb) -> None:
    assert casedb("up").code == 0
    public = casedb("key", "new", "secret.key").out.strip()
    (casedb.folder / "casedb.toml").write_text(
        f'store = ["one", "two"]\nrecipients = ["{public}"]\n'
    )

    labels = [casedb("dump", "--json").json["label"] for _ in range(2)]

    listed = casedb("backups", "--json").json["stores"]
    assert [[b["label"] for b in store["backups"]] for store in listed] == [labels[::-1]] * 2
    assert "encrypted" in casedb("backups").out
    assert casedb("verify", "latest").code == 0
    without = casedb("drill", "--store", "two")
    assert without.code == 10
    assert "there is no key" in without.err

    # A machine that has only the store and the key.
    casedb.server.stop()
    elsewhere = casedb.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "casedb.toml").touch()
    shutil.move(casedb.folder / "two", elsewhere / "two")
    shutil.copy(casedb.folder / "secret.key", elsewhere)
    there = Casedb(elsewhere, casedb.tools)
    drilled = there("drill", "--newest-undrilled", "--store", "two", "--key", "secret.key")
    assert drilled.code == 0, drilled.err
    assert "restored and equal" in drilled.out

    assert casedb("verify", "--chain", "--store", "one").code == 0
    shutil.rmtree(casedb.folder / "one" / "case_management" / labels[1])
    missing = casedb("verify", "--chain", "--store", "one", "--json")
    assert missing.code == 6
    assert f"{labels[1]} is missing" in missing.err
    assert {"label": labels[1], "state": "missing"} in missing.json["chain"]


def test_a_dump_says_for_how_many_it_is_encrypted_and_makes_none_in_clear_by_mistake(
    brought_up: Casedb, tmp_path: Path
) -> None:
    keys = [brought_up("key", "new", str(tmp_path / name)).out.strip() for name in ("a", "b")]
    where = ("dump", f"--store={tmp_path / 'store'}")

    assert brought_up(*where).out.endswith(", not encrypted\n")
    assert brought_up(*where, "--recipient", keys[0]).out.endswith(", encrypted for 1 recipient\n")
    both = brought_up(*where, CASEDB_RECIPIENTS=";".join(keys))
    assert both.out.endswith(", encrypted for 2 recipients\n")
    assert brought_up(*where, "--json", CASEDB_RECIPIENTS=keys[1]).json["recipients"] == [keys[1]]

    config = tmp_path / "casedb.toml"
    config.write_text(f'recipients = ["{keys[0]}"]\n')
    refused = brought_up(*where, f"--config={config}", CASEDB_RECIPIENTS=";")
    assert refused.code == 3
    assert 'setting "recipients"' in refused.err
    assert "HINT:" in refused.err
    assert len(list((tmp_path / "store").rglob("manifest.json"))) == 4


def test_a_store_that_fails_is_named_and_the_other_has_the_backup(casedb: Casedb) -> None:
    assert casedb("up").code == 0
    (casedb.folder / "in the way").touch()
    stores = ("--store", "in the way", "--store", "good")

    result = casedb("dump", *stores)

    assert result.code == 5
    assert "complete, but not in every store" in result.err
    assert "in%20the%20way" in result.err
    assert casedb("verify", "latest", "--store", "good").code == 0


def test_the_rules_of_retention_can_be_given_each_time(brought_up: Casedb) -> None:
    result = brought_up("rotate", "--keep-within", "0s", "--keep-daily", "3", "--json")

    assert result.code == 0
    (entry,) = result.json["entries"]
    assert entry["kept"]
    assert "daily" in entry["reason"]


def test_metrics_are_written_after_a_dump_and_cannot_fail_it(casedb: Casedb) -> None:
    assert casedb("up").code == 0
    metrics = casedb.folder / "casedb.prom"

    assert casedb("dump", CASEDB_METRICS_FILE=str(metrics)).code == 0

    lines = metrics.read_text().splitlines()
    counts = [line for line in lines if line.startswith("casedb_backups{")]
    assert [line.split()[-1] for line in counts] == ["2"]
    nowhere = casedb("dump", CASEDB_METRICS_FILE="/nowhere/casedb.prom")
    assert nowhere.code == 0
    assert "metrics cannot be written" in nowhere.err
