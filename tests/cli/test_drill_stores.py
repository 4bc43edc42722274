"""`casedb drill` for timers, and from a bucket alone."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Casedb
from tests.s3.servers import PRUNER, Server, ceph, why_no_ceph


def records(folder: Path, label: str) -> bool:
    return (folder / "case_management" / "records" / f"{label}.drill.json").exists()


def test_each_store_is_drilled_and_a_damaged_one_does_not_keep_the_other_from_it(
    casedb: Casedb,
) -> None:
    assert casedb("up").code == 0
    (casedb.folder / "casedb.toml").write_text('store = ["one", "two"]\n')
    label = casedb("dump", "--json").json["label"]

    both = casedb("drill", "--all-stores", "--json")

    assert both.code == 0, both.err
    found = {Path(d["store"]).name: d["report"]["outcome"] for d in both.json["drills"]}
    assert found == {"one": "passed", "two": "passed"}
    assert all(records(casedb.folder / store, label) for store in ("one", "two"))

    newer = casedb("dump", "--json").json["label"]
    with (casedb.folder / "one" / "case_management" / newer / "globals.sql").open("r+b") as file:
        file.write(b"X")
    damaged = casedb("drill", newer, "--all-stores")
    assert damaged.code == 6
    assert "globals.sql" in damaged.err
    assert not records(casedb.folder / "one", newer)
    assert records(casedb.folder / "two", newer)


def test_the_newest_undrilled_is_drilled_until_there_is_none(casedb: Casedb) -> None:
    assert casedb("up").code == 0
    (casedb.folder / "casedb.toml").write_text('store = ["one"]\n')
    labels = [casedb("dump", "--json").json["label"] for _ in range(2)]

    drilled = [casedb("drill", "--newest-undrilled", "--json").json for _ in range(3)]

    assert [d.get("label") for d in drilled] == [labels[1], labels[0], None]
    last = casedb("drill", "--newest-undrilled")
    assert last.code == 0
    assert "every good backup has passed a drill" in last.err
    assert casedb("drill", "--newest-undrilled", labels[0]).code == 2


@pytest.mark.parametrize("left", ["no backup", "a damaged one", "backups of another database"])
def test_where_there_is_no_good_one_the_newest_undrilled_is_an_error(
    brought_up: Casedb, tmp_path: Path, left: str
) -> None:
    """A timer would be green for ever, on a store that nobody writes to."""
    store = tmp_path / "store"
    store.mkdir()
    if left != "no backup":
        shutil.copytree(brought_up.folder / ".casedb/backups", store, dirs_exist_ok=True)
    if left == "a damaged one":
        for archive in store.glob("*/*/database.dump.zst"):
            archive.write_bytes(b"")
    database = "case_managment" if left == "backups of another database" else "case_management"
    words = ("--database", database, "--store", str(store))

    failed = brought_up("drill", "--newest-undrilled", "--json", *words)

    assert failed.code == failed.json["error"]["exit_code"] == 3
    assert f'there is no good backup of database "{database}"' in failed.err
    assert failed.err == brought_up("drill", "latest", *words).err


def test_of_several_stores_the_one_without_a_good_backup_fails(
    brought_up: Casedb, tmp_path: Path
) -> None:
    stores = [str(tmp_path / name) for name in ("proven", "empty")]
    shutil.copytree(brought_up.folder / ".casedb/backups", stores[0])
    Path(stores[1]).mkdir()
    proven = brought_up("drill", "--newest-undrilled", "--json", "--store", stores[0])

    result = brought_up(
        "drill", "--newest-undrilled", "--all-stores", "--json", CASEDB_STORE=";".join(stores),
        CASEDB_LOG_FILE=str(tmp_path / "runs.jsonl"),
    )  # fmt: skip

    assert (proven.code, proven.json) == (0, {})
    assert result.code == 3
    assert result.json == {"drills": []}
    assert f"{stores[0]}: every good backup has passed a drill" in result.err
    assert "there is no good backup" in result.err
    runs = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [(run["store"], run["exit_code"]) for run in runs] == [
        ([stores[0]], 0),
        ([stores[1]], 3),
    ]


def test_latest_is_the_newest_also_when_its_manifest_is_destroyed(casedb: Casedb) -> None:
    assert casedb("up").code == 0
    (casedb.folder / "casedb.toml").write_text('store = ["one"]\n')
    older, newer = (casedb("dump", "--json").json["label"] for _ in range(2))
    (casedb.folder / "one" / "case_management" / newer / "manifest.json").write_text("")

    verified = casedb("verify", "latest")
    drilled = casedb("drill", "latest", "--json")

    assert verified.code == 6
    assert newer in verified.err
    # What is good is still proven, and what is not is told of.
    assert drilled.code == 0
    assert drilled.json["label"] == older
    assert f"WARNING: {newer} is newer, and damaged" in drilled.err


@pytest.fixture
def server() -> Iterator[Server]:
    if reason := why_no_ceph():
        pytest.skip(reason)
    with ceph() as started:
        yield started


@pytest.mark.real_s3
def test_a_drill_needs_the_bucket_and_the_key_and_nothing_else(
    casedb: Casedb, server: Server
) -> None:
    """Everything of the host that dumped is gone, its memory of the backups included."""
    url = f"s3://{server.new_bucket(versions=True)}/casedb?endpoint={server.endpoint}"
    assert casedb("up").code == 0
    public = casedb("key", "new", "secret.key").out.strip()
    dumped = casedb("dump", f"--store={url}", f"--recipient={public}", "--json", **PRUNER)
    assert dumped.code == 0, dumped.err
    casedb.server.stop()

    with tempfile.TemporaryDirectory(prefix="m-") as machine:
        home = Path(machine)
        shutil.move(casedb.folder / "secret.key", home / "secret.key")
        shutil.rmtree(casedb.folder)
        (home / "tmp").mkdir()
        there = _Alone(home, casedb.tools, {**PRUNER, "TMPDIR": str(home / "tmp")})
        drilled = there("drill", f"--store={url}", f"--key={home / 'secret.key'}", "--json")
        listed = there("backups", f"--store={url}", "--json")
        without = there("drill", f"--store={url}")
        left = sorted(path.name for path in home.iterdir())
    casedb.folder.mkdir()

    assert drilled.code == 0, drilled.err
    assert drilled.json["label"] == dumped.json["label"]
    assert drilled.json["outcome"] == "passed"
    assert drilled.json["notes"] == []
    assert "passed" in listed.out
    assert without.code == 10
    # It left nothing behind.
    assert left == ["secret.key", "tmp"]


class _Alone(Casedb):
    """The command with an empty home, an empty folder, and hardly an environment."""

    def environ(self, **more: str) -> dict[str, str]:
        path = "/usr/local/bin:/usr/bin:/bin"
        programs = {} if self.has_programs() else {"PG_BIN": str(self.tools.bindir)}
        return {"PATH": path, "HOME": str(self.folder), **programs, **self.environment, **more}
