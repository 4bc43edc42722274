"""The stack, in a folder of its own, on images built here: pytest -m compose tests/compose

The registry of the real images may be out of reach, so images/ has stand-ins that take the same
variables and files. COMPOSE_IMAGES=real takes the images that docker-compose.yml names.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from tempfile import gettempdir
from typing import Any

import pytest

from casedb.errors import ConfigurationError
from casedb.server import free_port
from casedb.tools import tools_of

ROOT = Path(__file__).parents[2]
IMAGES = Path(__file__).with_name("images")
_PACKAGES = "postgresql-15,pgbouncer,wget,netcat-openbsd,python3"
_BASE = f"casedb-compose-base:{sha256(_PACKAGES.encode()).hexdigest()[:12]}"
_PORTS = ("POSTGRES_PORT", "PGADMIN_PORT", "POOLER_PORT")


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
class Site:
    """A folder with a stack: what a clone has of it, and `casedb` run there."""

    folder: Path
    images: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        docker = {k: v for k, v in os.environ.items() if k.startswith("DOCKER_")}
        return {**kept, **docker, **self.images}

    def __call__(self, *words: str, stdin: str = "", **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "casedb", *words],
            cwd=self.folder, env={**self.environment, **environment}, input=stdin,
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def docker(self, *words: str, check: bool = True) -> str:
        """Run docker in the folder; return what it printed, errors included."""
        done = subprocess.run(
            ["docker", *words], cwd=self.folder, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def container(self, service: str) -> str:
        return self.docker("compose", "ps", "--quiet", service).strip()

    @property
    def env(self) -> dict[str, str]:
        lines = (self.folder / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    def make_env(self) -> None:
        """Make .env, with ports and a name for the stack that no other test run has."""
        assert self("compose", "env").code == 0
        ports = {name: str(free_port()) for name in _PORTS}
        self.set(**ports, COMPOSE_PROJECT_NAME=f"casedb-test-{token_hex(4)}")

    def set(self, **values: str) -> None:
        """Change lines of .env."""
        path = self.folder / ".env"
        kept = [line for line in path.read_text().splitlines() if line.split("=")[0] not in values]
        path.write_text("\n".join([*kept, *(f"{k}={v}" for k, v in values.items())]) + "\n")

    @property
    def conninfo(self) -> str:
        port = self.env["POSTGRES_PORT"]
        return f"host=127.0.0.1 port={port} passfile={self.folder}/.casedb/compose.pgpass"

    def remove(self) -> None:
        if (self.folder / ".env").exists():
            self.docker("compose", "--profile=pooler", "down", "-v", "-t", "2", check=False)


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The variables that name the images, which are built if need be: by one worker."""
    with (Path(gettempdir()) / "casedb-compose-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _images()


def _images() -> dict[str, str]:
    for words in (["info"], ["compose", "version"]):
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"docker {' '.join(words)}: {done.stderr.strip()}")
    if os.environ.get("COMPOSE_IMAGES") == "real":
        return {}
    if _docker("images", "--quiet", _BASE) == "":
        if not shutil.which("mmdebstrap"):
            pytest.skip("there is no mmdebstrap to make the stand-ins of the images")
        make = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}"]
        with subprocess.Popen([*make, "bookworm", "-"], stdout=subprocess.PIPE) as making:
            load = ["docker", "import", "-", _BASE]
            subprocess.run(load, stdin=making.stdout, check=True, capture_output=True)
        assert making.returncode == 0
    names = {}
    for name in ("postgres", "pgadmin", "pgbouncer"):
        tag = f"casedb-compose-{name}:stand-in"
        _docker("build", "--quiet", f"--build-arg=BASE={_BASE}", f"--tag={tag}",
                f"--file={IMAGES / f'Dockerfile.{name}'}", str(IMAGES))  # fmt: skip
        names[f"{name.upper()}_IMAGE"] = tag
    return names


@pytest.fixture(scope="session")
def client_programs() -> None:
    """What dump and drill need: programs of the composed server's version."""
    try:
        tools_of(15)
    except ConfigurationError as error:
        pytest.skip(str(error))


NewSite = Callable[[], Site]


@pytest.fixture(scope="session")
def new_site(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewSite]:
    """Make a folder with what a clone has of the stack; what runs in it ends with the tests."""
    made: list[Site] = []

    def make() -> Site:
        folder = tmp_path_factory.mktemp("stack")
        shutil.copy(ROOT / "docker-compose.yml", folder)
        shutil.copy(ROOT / "casedb.toml", folder)
        shutil.copytree(ROOT / "docker", folder / "docker")
        shutil.copytree(ROOT / "sql" / "roles", folder / "sql" / "roles")
        site = Site(folder, images)
        made.append(site)
        return site

    yield make
    for site in made:
        site.remove()


@pytest.fixture
def site(new_site: NewSite) -> Iterator[Site]:
    """A new folder with an .env, nothing started."""
    fresh = new_site()
    fresh.make_env()
    yield fresh
    fresh.remove()


@pytest.fixture(scope="session")
def running(new_site: NewSite) -> Site:
    """The stack with its pooler, brought up once; tests leave it as they find it."""
    site = new_site()
    site.make_env()
    done = site("compose", "up", "--pooler")
    assert done.code == 0, done.err
    return site


def _docker(*words: str) -> str:
    done = subprocess.run(
        ["docker", *words], capture_output=True, text=True, check=False,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
