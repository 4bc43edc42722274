"""The runbook's commands are run in its order, and print what it shows.

RUNBOOK_UPDATE=1 writes what they print today into the page.
"""

import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from casedb.tools import PostgresTools
from tests.cli.conftest import Casedb, Result
from tests.s3.servers import Server, moto

PAGE = Path(__file__).parents[2] / "docs" / "runbooks" / "restore.md"
# A block with a language is not a command with its output; the group is empty then.
_BLOCK = re.compile(r"^```(?:\n(.*?)|\w+\n.*?)^```\n", re.M | re.S)
_KEPT = re.compile(r"case_management_kept_\d{8}T\d{6}Z")
# What differs from night to night: numbers, folders, lengths of time, how wide a column is.
_VARIES = (
    (re.compile(r" \(Debian [^)]*\)"), ""),
    (re.compile(r"file://\S+|/\S+"), "PATH"),
    (re.compile(r"\d+\.\d+\.?\d*|\d+"), "N"),
    (re.compile(r"\b(N|Nd|Nh|Nm|Ns)( (Nh|Nm|Ns|s))?\b"), "N"),
    (re.compile(r"\b(KiB|MiB|GiB|B)\b"), "SIZE"),
    (re.compile(r"─+"), "─"),
    (re.compile(r"\s+"), " "),
)


@pytest.fixture
def bucket() -> Iterator[Server]:
    with moto() as server:
        server.client().create_bucket(Bucket="case-documents")
        yield server


@pytest.fixture
def night(tools: PostgresTools) -> Iterator[Casedb]:
    """The command in a folder whose path is as short as a host's, so that no table breaks it."""
    with tempfile.TemporaryDirectory(prefix="n", dir="/tmp") as folder:
        command = Casedb(Path(folder), tools)
        (command.folder / "casedb.toml").touch()
        yield command
        command.server.stop()


def settled(line: str) -> str:
    for pattern, word in _VARIES:
        line = pattern.sub(word, line)
    return line.strip()


def shown(result: Result) -> list[str]:
    return [line.rstrip() for line in (result.out + result.err).splitlines() if line.strip()]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield each command of the page, and the lines it shows below it."""
    for block in _BLOCK.findall(PAGE.read_text()):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *lines = part.splitlines()
            yield command, [line for line in lines if line.strip()]


def test_the_runbook_prints_what_it_shows(night: Casedb, bucket: Server) -> None:
    environment = {
        "CASEDB_DOCUMENTS": f"s3://case-documents?endpoint={bucket.endpoint}&region=us-east-1",
        "AWS_ACCESS_KEY_ID": "access-pruner",
        "AWS_SECRET_ACCESS_KEY": "secret-pruner",
    }
    assert night("up").code == 0
    kept, pages = "", PAGE.read_text()
    for command, wanted in commands():
        program, *words = shlex.split(command)
        assert program == "casedb"
        words = [kept if word == "KEPT" or _KEPT.fullmatch(word) else word for word in words]
        result = night(*words, **environment)
        assert result.code == 0, f"{command}: {result.out}{result.err}"
        found = shown(result)
        if names := _KEPT.findall(result.out):
            kept = names[-1]
        if os.environ.get("RUNBOOK_UPDATE"):
            old = "\n".join([f"$ {command}", *wanted])
            new = "\n".join([f"$ {command.replace('KEPT', kept)}", *map(tidy, found)])
            pages = pages.replace(old + "\n", new + "\n", 1)
            continue
        assert settled(" ".join(wanted)) == settled(" ".join(map(tidy, found))), command
    if os.environ.get("RUNBOOK_UPDATE"):
        PAGE.write_text(pages)


def tidy(line: str) -> str:
    """Return `line` with the folders of this run as they are on a host."""
    line = re.sub(r"file:///\S*/backups\b", "file:///var/backups/casedb", line)
    return re.sub(r"/\S*/\.casedb:\d+", "the local socket:5432", line)


def test_the_runbook_names_every_command_of_a_night() -> None:
    text = "\n".join(command for command, _ in commands())

    for verb in (
        "restore latest --plan",
        "undo-restore",
        "drop-kept",
        "documents check",
        "--table",
    ):
        assert verb in text
