"""Real Debian hosts in Docker, provisioned once a run: pytest -m hosts tests/hosts

REHEARSAL_HOME=DIR keeps the hosts and uses them again, for whoever works on these tests.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
            self.argv, input=script, capture_output=True, text=True, check=False, timeout=900
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
            # Two bare hosts on a busy machine took more than ten minutes.
            check=False, timeout=1800,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def inventory(self, *gone: str, **spoiled: dict[str, Any]) -> Path:
        """Write an inventory of both hosts, some of them with other data; return its path.

        `gone` are hosts that nobody can reach.
        """
        return self.grouped((), *gone, **spoiled)

    def grouped(self, pgadmin: Sequence[str], *gone: str, **spoiled: dict[str, Any]) -> Path:
        """Write such an inventory with the hosts `pgadmin` in the group of that name."""
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
        path.write_text(f"some = {listed!r}\npgadmin = {list(pgadmin)!r}\n")
        return path

    def host(self, verb: str, *words: str, inventory: Path = INVENTORY) -> tuple[int, Any]:
        """Run one `casedb host` command with --json; return its code and its answer."""
        done = self.casedb("host", verb, str(inventory), "--json", *words)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


@dataclass(frozen=True)
class Administered:
    """One host with pgAdmin."""

    rehearsal: Rehearsal
    host: Host

    @property
    def folder(self) -> Path:
        return self.rehearsal.folder

    @property
    def email(self) -> str:
        return "admin@example.com"

    @property
    def password(self) -> str:
        return (self.folder / "pgadmin-password").read_text().strip()

    @property
    def readonly(self) -> str:
        return (self._passwords / "case_readonly").read_text().strip()

    @property
    def _passwords(self) -> Path:
        return self.folder / ".casedb" / "rehearsal" / "passwords"

    def run(self, verb: str, *words: str, **data: Any) -> tuple[int, Any]:
        """Run one `casedb host` command on this host alone, as member of group pgadmin."""
        chosen = {
            "pgadmin_password": f"file:{self.folder / 'pgadmin-password'}",
            "passwords": {"case_readonly": f"file:{self._passwords / 'case_readonly'}"},
            **data,
        }
        name = self.host.name
        inventory = self.rehearsal.grouped([name], **{name: chosen})
        return self.rehearsal.host(verb, "--limit", name, *words, inventory=inventory)

    def take_away(self) -> None:
        """Apply the inventory in which the host is in no such group."""
        code, found = self.rehearsal.host("apply", "--yes", "--limit", self.host.name)
        assert code == 0, found

    def requirements_of(self, version: str) -> str:
        """Return hashed requirements of another version, as the host's pip would choose them."""
        report = self.host.run(
            "/opt/pgadmin/current/bin/python -m pip install --quiet --dry-run --ignore-installed"
            f" --report - pgadmin4=={version} gunicorn 2>/dev/null"
        )
        lines = []
        for found in json.loads(report)["install"]:
            about = found["metadata"]
            sha256 = found["download_info"]["archive_info"]["hashes"]["sha256"]
            lines.append(f"{about['name']}=={about['version']} --hash=sha256:{sha256}\n")
        return "".join(lines)

    @contextmanager
    def tunnel(self) -> Iterator[int]:
        """Forward a port of this machine to pgAdmin's, as its users do; yield the port."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        forward = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{port}:127.0.0.1:8443"]
        argv = self.host.argv[: self.host.argv.index("sudo")]
        process = subprocess.Popen([*argv[:1], *forward, *argv[1:]], stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait()


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


@pytest.fixture(scope="module", params=list(MAJORS))
def pgadmin(
    request: pytest.FixtureRequest, rehearsal: Rehearsal, proof: dict[str, Any]
) -> Iterator[Administered]:
    """Each host in turn with pgAdmin, which goes again: no other test's inventory has it."""
    password = rehearsal.folder / "pgadmin-password"
    if not password.exists():
        password.touch(mode=0o600)
        # What a shell, a URL and a form could each get wrong.
        password.write_text("it's & <b> \"" + secrets.token_urlsafe(16) + "\n")
    ready = Administered(rehearsal, rehearsal.hosts[request.param])
    code, found = ready.run("apply", "--yes")
    assert code == 0, found
    yield ready
    ready.take_away()
