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

from casedb.conninfo import Conninfo
from casedb.throwaway import throwaway_cluster
from casedb.tools import PostgresTools
from tests.cli.conftest import Casedb, Result
from tests.s3.servers import PRUNER, SERVERS, Server, s3_server

_UPDATE = bool(os.environ.get("RUNBOOK_UPDATE"))
PAGE = Path(__file__).parents[2] / "docs" / "runbooks" / "restore.md"
GONE = "## 7. The server is gone"
# A block with a language is not a command with its output; the group is empty then.
_BLOCK = re.compile(r"^```(?:\n(.*?)|\w+\n.*?)^```\n", re.M | re.S)
# Backups and kept databases: their names end in the moment they were made.
_NAME = re.compile(r"case_management(?:_kept_|-)\d{8}T\d{6}Z")
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


@pytest.fixture(params=SERVERS)
def bucket(request: pytest.FixtureRequest) -> Iterator[Server]:
    with s3_server(request.param) as server:
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


def commands(page: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of the page, and the lines it shows below it."""
    for block in _BLOCK.findall(page):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *lines = part.splitlines()
            yield command, [line for line in lines if line.strip()]


class Names:
    """What the backups and kept databases of the page are called tonight, by what was printed."""

    def __init__(self) -> None:
        self._tonight: dict[str, str] = {}

    def learn(self, written: str, found: str) -> None:
        """Take the names of an output in turn: each is one of tonight, and no other is."""
        pairs = [*zip(_NAME.findall(written), _NAME.findall(found), strict=not _UPDATE)]
        for name, real in pairs:
            assert self._tonight.get(name, real) == real or _UPDATE, f"{name} is {real} by now"
            self._tonight[name] = real
        assert len(set(self._tonight.values())) == len(self._tonight) or _UPDATE, "two names of one"

    def translate(self, command: str) -> str:
        """Return the command as it has to be typed tonight."""
        for name in _NAME.findall(command):
            assert name in self._tonight, f"no output above shows {name}: {command}"
        return _NAME.sub(lambda name: self._tonight[name[0]], command)


def play(page: str, casedb: Casedb, **environment: str) -> str:
    """Run the commands of a page, and hold their output to what it shows; return it as of today."""
    names, today = Names(), page
    for command, wanted in commands(page):
        typed = names.translate(command)
        program, *words = shlex.split(typed)
        assert program == "casedb"
        result = casedb(*words, **environment)
        assert result.code == 0, f"{command}: {result.out}{result.err}"
        found = [*map(tidy, shown(result))]
        names.learn("\n".join(wanted), "\n".join(found))
        if _UPDATE:
            old, new = ("\n".join(lines) for lines in ([command, *wanted], [typed, *found]))
            today = today.replace(f"$ {old}\n", f"$ {new}\n", 1)
        else:
            assert settled(" ".join(wanted)) == settled(" ".join(found)), command
    return today


@pytest.fixture
def elsewhere(tools: PostgresTools) -> Iterator[Conninfo]:
    """A server with nothing on it."""
    with throwaway_cluster(tools) as admin:
        yield admin


def test_the_runbook_prints_what_it_shows(
    night: Casedb, elsewhere: Conninfo, bucket: Server
) -> None:
    environment = {
        "CASEDB_DOCUMENTS": f"s3://case-documents?endpoint={bucket.endpoint}&region=us-east-1",
        **PRUNER,
    }
    assert night("up").code == 0
    before, gone, after = PAGE.read_text().partition(GONE)
    before = play(before, night, **environment)
    # Nothing is left of the first server but its backups.
    night.server.stop()
    conninfo = f"host={elsewhere.get('host')} port={elsewhere.get('port')}"
    after = play(after, night, CASEDB_CONNINFO=conninfo)
    if _UPDATE:
        PAGE.write_text(before + gone + after)


def tidy(line: str) -> str:
    """Return `line` with the folders and servers of this run as they are on a host."""
    line = re.sub(r"\?endpoint=\S+", "", line)
    line = re.sub(r"file:///\S*/backups\b", "file:///var/backups/casedb", line)
    return re.sub(r"(?<= on )/\S+:\d+", "the local socket:5432", line)


def test_the_runbook_names_every_command_of_a_night() -> None:
    text = "\n".join(command for command, _ in commands(PAGE.read_text()))

    for verb in (
        "restore latest --plan",
        "undo-restore",
        "drop-kept",
        "documents check",
        "--table",
    ):
        assert verb in text
