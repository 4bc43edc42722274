"""Real Debian hosts in Docker, provisioned once a run: pytest -m hosts tests/hosts

REHEARSAL_HOME=DIR keeps the hosts and uses them again, for whoever works on these tests.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from casedb import rehearse
from casedb.errors import ConfigurationError
from casedb.rehearse import RehearsalHost
from deploy.sending import configuring_program

ROOT = Path(__file__).parents[2]
INVENTORY = ROOT / "inventories" / "containers.py"
MAJORS = {"bookworm": 15, "trixie": 17}


@dataclass(frozen=True)
class Host:
    """One host, reached past everything that is tested."""

    about: RehearsalHost

    @property
    def name(self) -> str:
        return self.about.name

    @property
    def major(self) -> int:
        return MAJORS[self.about.release]

    @property
    def etc(self) -> str:
        return f"/etc/postgresql/{self.major}/main"

    def run(self, command: str, text: str = "", *, check: bool = True) -> str:
        """Run a shell command as root and return what it printed."""
        done = self.start(command, text)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    @property
    def argv(self) -> list[str]:
        """The words that start a root shell on the host, which reads its script from input."""
        return [
            "ssh", "-q", "-i", self.about.key, "-o", f"UserKnownHostsFile={self.about.known_hosts}",
            "-o", "StrictHostKeyChecking=yes", "-p", str(self.about.port),
            f"{self.about.user}@{self.about.address}", "sudo", "sh", "-s",
        ]  # fmt: skip

    def start(self, command: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        script = self._heredoc(command, text)
        return subprocess.run(
            self.argv, input=script, capture_output=True, text=True, check=False, timeout=300
        )

    def sql(self, sql: str, database: str = "case_management") -> str:
        return self.run(
            f"cd / && runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d {database} -f -", sql
        )

    def files(self) -> dict[str, dict[str, str]]:
        """Return the configuration that is in place, in the form that configure.py is asked for."""
        found = {}
        for name, mode in (("postgresql.conf", "644"), ("pg_hba.conf", "640")):
            path = f"{self.etc}/{name}"
            content = self.run(f"cat {path}") + "\n"
            found[path] = {
                "content": content,
                "user": "postgres",
                "group": "postgres",
                "mode": mode,
            }
        return found

    @staticmethod
    def _heredoc(command: str, text: str) -> str:
        # The command and its input both travel on standard input. In braces, because the input
        # is for the first program of a pipe, and not for its last.
        return f"{{ {command}\n}} <<'END_OF_TEXT'\n{text}\nEND_OF_TEXT\n"

    def asking(self, files: dict[str, dict[str, str]], **asked: Any) -> str:
        """Return configure.py with what is asked of it."""
        whole = {
            "major": self.major,
            "cluster": "main",
            "files": files,
            "restart": True,
            "timeout_s": 20,
            "memory_limit_bytes": 2 * 1024**3,
            **asked,
        }
        return configuring_program(whole)

    def popen(self, files: dict[str, dict[str, str]]) -> "subprocess.Popen[str]":
        """Start configure.py on the host and return the connection, for a test to break."""
        process = subprocess.Popen(
            self.argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert process.stdin
        process.stdin.write(self._heredoc("python3 -", self.asking(files)))
        process.stdin.close()
        return process

    def configure(self, files: dict[str, dict[str, str]], **asked: Any) -> dict[str, Any]:
        """Run configure.py on the host, past pyinfra."""
        done = self.start("python3 -", self.asking(files, **asked))
        assert done.stdout, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@dataclass(frozen=True)
class Rehearsal:
    """The hosts, and `casedb` in a folder of its own."""

    folder: Path
    hosts: dict[str, Host]

    def casedb(self, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        done = subprocess.run(
            [sys.executable, "-m", "casedb", *words],
            cwd=self.folder, env=inherited, input=stdin, capture_output=True, text=True,
            check=False, timeout=600,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def inventory(self, *gone: str, **spoiled: dict[str, Any]) -> Path:
        """Write an inventory of both hosts, some of them with other data; return its path.

        `gone` are hosts that nobody can reach.
        """
        listed = []
        for host in self.hosts.values():
            about = host.about
            data = {
                "ssh_hostname": about.address,
                "ssh_port": about.port,
                "ssh_user": about.user,
                "ssh_key": about.key,
                "ssh_known_hosts_file": about.known_hosts,
                "_sudo": True,
                "databases": {"case_management": "development"},
                **spoiled.get(host.name, {}),
            }
            listed.append((host.name, data))
        listed += [(n, {"ssh_hostname": "127.0.0.1", "ssh_port": 1}) for n in gone]
        path = self.folder / "some.py"
        path.write_text(f"some = {listed!r}\n")
        return path

    def host(self, verb: str, *words: str, inventory: Path = INVENTORY) -> tuple[int, Any]:
        """Run one `casedb host` command with --json; return its code and its answer."""
        done = self.casedb("host", verb, str(inventory), "--json", *words)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Both releases, provisioned from bare."""
    if os.geteuid() != 0:
        pytest.skip("rehearsal hosts need root")
    kept = os.environ.get("REHEARSAL_HOME")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("rehearsal")
    (folder / "casedb.toml").touch()
    cache = Path("~/.cache/casedb/rehearsal").expanduser()
    try:
        found = rehearse.up(folder / ".casedb" / "rehearsal", cache=cache)
    except ConfigurationError as error:
        pytest.skip(f"no rehearsal hosts: {error}")
    ready = Rehearsal(folder, {host.name: Host(host) for host in found})
    try:
        yield ready
    finally:
        if not kept:
            rehearse.down(folder / ".casedb" / "rehearsal")
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def proof(rehearsal: Rehearsal) -> dict[str, Any]:
    """What `casedb host prove` said of the bare hosts; after it they are provisioned."""
    code, found = rehearsal.host("prove", "--yes")
    assert code == 0, found
    answer: dict[str, Any] = found
    return answer


@pytest.fixture(params=list(MAJORS))
def host(request: pytest.FixtureRequest, rehearsal: Rehearsal, proof: dict[str, Any]) -> Host:
    """Each provisioned host in turn; a test leaves it as it found it."""
    return rehearsal.hosts[request.param]
