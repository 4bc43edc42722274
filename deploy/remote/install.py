"""Install casedb on this host: a virtual environment of its own, whole or not at all.

Runs as root with ASKED set. What ran before stays in place until the new one works.
"""

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ASKED: dict[str, Any] = globals().get("ASKED", {})
INSTALLED = "installed"
_QUIET = ("--no-input", "--no-cache-dir", "--root-user-action=ignore")


def run(*argv: str) -> None:
    """Run one program; its last words are the reason if it fails."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/",
        env={**kept, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    if done.returncode != 0:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        sys.exit(f"{Path(argv[0]).name} failed: " + "; ".join(said[-3:]))


def pip(place: Path, *words: str) -> None:
    python = str(place / "bin/python")
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *_QUIET, *words)


def make(place: Path, requirements: str, complete: Callable[[], None]) -> None:
    """Make the environment `place`, of `requirements` and of what `complete` adds and tries.

    What fails half-way is removed: it may have been the full disk.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(mode=0o755, exist_ok=True)
    try:
        run(sys.executable, "-m", "venv", str(place))
        listed = place / "requirements.txt"
        listed.write_text(requirements, "utf-8")
        # Every package with its hash: a mirror cannot slip another one in.
        pip(place, "--require-hashes", "-r", str(listed))
        complete()
        # Written last: half an environment has no name.
        (place / INSTALLED).write_text(place.name + "\n")
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def switch(current: Path, identity: str) -> None:
    """Let the link `current` lead to `identity`, from one moment to the next."""
    making = current.with_name(current.name + ".new")
    making.unlink(missing_ok=True)
    making.symlink_to(identity)
    making.replace(current)


def in_use(current: Path) -> str:
    """Return where the link `current` leads; nothing: there is none."""
    return current.readlink().name if current.is_symlink() else ""


def tidy(folder: Path, *kept: str) -> None:
    """Remove all environments but `kept`."""
    for other in folder.iterdir():
        if other.name not in (*kept, "current"):
            shutil.rmtree(other, ignore_errors=True)


def install(folder: Path, identity: str) -> None:
    place, current = folder / identity, folder / "current"

    def complete() -> None:
        wheel = place / ASKED["wheel_name"]
        wheel.write_bytes(base64.b64decode(ASKED["wheel"]))
        pip(place, "--no-deps", "--no-index", str(wheel))
        wheel.unlink()
        run(str(place / "bin/casedb"), "--version")

    make(place, ASKED["requirements"], complete)
    before = in_use(current)
    switch(current, identity)
    # The one before stays: a dump may be running in it, and it is the way back.
    tidy(folder, identity, before)


if __name__ == "__main__":
    os.umask(0o022)
    install(Path(ASKED["folder"]), ASKED["identity"])
