"""Standard streams that are closed or full change no outcome but that of what has to be printed."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from backups.manifest import MANIFEST
from tests.cli.conftest import Casedb, Result

LABEL = "case_management-20200101T000000Z"
REDIRECTIONS = [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full"]


def in_shell(casedb: Casedb, redirection: str, *words: str, **environment: str) -> Result:
    """Run casedb as somebody types it, with what a shell does with its streams."""
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(casedb.argv(*words))} {redirection}"],
        cwd=casedb.folder,
        env=casedb.environ(**environment),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("redirection", REDIRECTIONS)
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_an_error_keeps_its_code_whatever_the_streams_are(
    brought_up: Casedb, redirection: str, more: list[str]
) -> None:
    assert in_shell(brought_up, redirection, "verify", LABEL, *more).code == 3


@pytest.mark.parametrize("redirection", REDIRECTIONS)
def test_a_dump_is_done_whatever_the_streams_are(
    brought_up: Casedb, tmp_path: Path, redirection: str
) -> None:
    store, log = tmp_path / "store", tmp_path / "log"

    result = in_shell(
        brought_up, redirection, "dump", "--store", str(store), CASEDB_LOG_FILE=str(log)
    )

    assert result.code == 0, result.err
    (made,) = store.glob(f"*/*/{MANIFEST}")
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["label"], line["outcome"]) == (made.parent.name, "success")
    # Nothing that was printed has gone into a file of the backup.
    assert brought_up("verify", "latest", "--store", str(store)).code == 0


@pytest.mark.parametrize(
    ("redirection", "code"),
    [(">&-", 0), ("2>&-", 0), ("2>/dev/full", 0), (">/dev/full", 141)],
)
def test_a_result_that_cannot_be_written_is_code_141_and_said(
    brought_up: Casedb, redirection: str, code: int
) -> None:
    result = in_shell(brought_up, redirection, "verify", "latest")

    assert result.code == code, result.err
    assert ("standard output cannot be written: No space left" in result.err) == (code == 141)
