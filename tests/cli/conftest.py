"""`casedb` as a person runs it: a process of its own, in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from casedb.errors import ConfigurationError
from casedb.server import EmbeddedServer
from casedb.tools import PostgresTools, tools_of


@dataclass(frozen=True)
class Result:
    """What one run printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Casedb:
    """The command in one folder, with nobody's settings but those given."""

    folder: Path
    tools: PostgresTools
    environment: dict[str, str] = field(default_factory=dict)

    def environ(self, **more: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        return {**inherited, "PG_BIN": str(self.tools.bindir), **self.environment, **more}

    def has_programs(self) -> bool:
        """Whether casedb finds those of this major version where PG_BIN does not name them."""
        try:
            tools_of(self.tools.major)
        except ConfigurationError:
            return False
        return True

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "casedb", *words]

    def __call__(self, *words: str, stdin: str = "", **environment: str) -> Result:
        done = subprocess.run(
            self.argv(*words),
            cwd=self.folder,
            env=self.environ(**environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert "Traceback" not in done.stderr or "--debug" in words, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.folder,
            env=self.environ(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def server(self) -> EmbeddedServer:
        return EmbeddedServer(self.folder / ".casedb")


@pytest.fixture
def casedb(tmp_path: Path, tools: PostgresTools) -> Iterator[Casedb]:
    """The command in a new, empty folder; a server it starts is stopped afterwards."""
    (tmp_path / "casedb.toml").touch()
    command = Casedb(tmp_path, tools)
    yield command
    if command.server.home.exists():
        command.server.stop()


@pytest.fixture(scope="session")
def brought_up(tmp_path_factory: pytest.TempPathFactory, tools: PostgresTools) -> Iterator[Casedb]:
    """The command in a folder where `casedb up` has run once; tests leave it as they find it."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "casedb.toml").touch()
    command = Casedb(folder, tools)
    result = command("up")
    assert result.code == 0, result.err
    yield command
    command.server.stop()
