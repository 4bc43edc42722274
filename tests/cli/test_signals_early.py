"""A run that fails before it has looked at anything is told of like any other."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Casedb
from tests.cli.test_signals import lines_of

_DESTROYS = ("--confirm", "case_management")


def signals(folder: Path) -> dict[str, str]:
    """Return the settings by which all signals of a run lie in `folder`."""
    return {
        "CASEDB_LOG_FILE": str(folder / "runs.jsonl"),
        "CASEDB_METRICS_FILE": str(folder / "x.prom"),
        "CASEDB_ON_SUCCESS": f"/usr/bin/tee -a {folder / 'succeeded'}",
        "CASEDB_ON_FAILURE": f"/usr/bin/tee -a {folder / 'failed'}",
    }


def assert_told(folder: Path, command: str, stores: list[str]) -> None:
    """Hold log, metrics and hooks to a failure with exit code 3, one for each of `stores`."""
    found = lines_of(folder / "runs.jsonl")
    assert [(run["command"], run["outcome"], run["exit_code"], run["store"]) for run in found] == [
        (command, "failure", 3, [store]) for store in stores
    ]
    assert lines_of(folder / "failed") == found
    assert not (folder / "succeeded").exists()
    about = f'{{command="{command}",database="case_management"}}'
    assert f"casedb_run_last_exit_code{about} 3\n" in (folder / "x.prom").read_text()


@pytest.mark.parametrize(
    "words",
    [("verify",), ("drill",), ("rotate", "--apply"), ("restore", *_DESTROYS)],
    ids=lambda words: words[0],
)
def test_a_key_of_the_settings_that_is_gone(
    brought_up: Casedb, tmp_path: Path, words: tuple[str, ...]
) -> None:
    key = tmp_path / "nokey"

    result = brought_up(*words, CASEDB_KEY_FILE=str(key), **signals(tmp_path))

    assert result.code == 3, result.err
    assert f"the key {key} cannot be read" in result.err
    assert_told(tmp_path, words[0], [str(brought_up.folder / ".casedb/backups")])


@pytest.mark.parametrize("verb", ["verify", "drill"])
def test_a_key_of_the_command_line_that_others_may_read(
    brought_up: Casedb, tmp_path: Path, verb: str
) -> None:
    key = tmp_path / "key"
    assert brought_up("key", "new", str(key)).code == 0
    key.chmod(0o755)

    result = brought_up(verb, "--key", str(key), **signals(tmp_path))

    assert result.code == 3, result.err
    assert "can be read by others" in result.err
    assert_told(tmp_path, verb, [str(brought_up.folder / ".casedb/backups")])


@pytest.mark.parametrize(
    "words",
    [
        ("dump",),
        ("verify",),
        ("verify", "--chain"),
        ("drill",),
        ("rotate", "--apply"),
        ("expire", "x", "--confirm", "x"),
        ("restore", *_DESTROYS),
        ("undo-restore", *_DESTROYS),
        ("drop-kept", "x", "--confirm", "x"),
    ],
    ids=" ".join,
)
def test_a_store_whose_address_makes_no_sense(
    brought_up: Casedb, tmp_path: Path, words: tuple[str, ...]
) -> None:
    result = brought_up(*words, "--store", "s3://bucket?x=1", **signals(tmp_path))

    assert result.code == 3, result.err
    assert_told(tmp_path, words[0], ["s3://bucket"])


def test_a_drill_of_all_stores_tells_of_each(brought_up: Casedb, tmp_path: Path) -> None:
    stores = [str(tmp_path / name) for name in ("one", "two")]

    result = brought_up(
        "drill", "--all-stores", "--json", CASEDB_STORE=";".join(stores),
        CASEDB_KEY_FILE=str(tmp_path / "nokey"), **signals(tmp_path),
    )  # fmt: skip

    assert result.code == 3, result.err
    assert result.json == {"drills": []}
    assert_told(tmp_path, "drill", stores)


def test_a_key_out_of_a_pipe_is_read_once_for_all_stores(
    brought_up: Casedb, tmp_path: Path
) -> None:
    """As in `--key <(pass show casedb)`: a second look finds nothing."""
    assert brought_up("key", "new", str(tmp_path / "key")).code == 0
    stores = [tmp_path / name for name in ("one", "two")]
    for store in stores:
        store.mkdir()
    reading, writing = os.pipe()
    os.write(writing, (tmp_path / "key").read_bytes())
    os.close(writing)
    environment = brought_up.environ(CASEDB_STORE=";".join(map(str, stores)), **signals(tmp_path))

    code = subprocess.call(
        brought_up.argv("drill", "--all-stores", "--key", f"/dev/fd/{reading}"),
        cwd=brought_up.folder, env=environment, pass_fds=(reading,), stderr=subprocess.DEVNULL,
    )  # fmt: skip

    os.close(reading)
    assert code == 3
    assert {line["message"] for line in lines_of(tmp_path / "runs.jsonl")} == {
        'there is no good backup of database "case_management"'
    }
    assert_told(tmp_path, "drill", [str(store) for store in stores])
