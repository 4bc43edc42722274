"""Install casedb on this host: a virtual environment of its own, whole or not at all.

Runs as root with ASKED set. What ran before stays in place until the new one works.
"""

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ASKED: dict[str, Any] = globals().get("ASKED", {})


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


def install(folder: Path, identity: str) -> None:
    place = folder / identity
    shutil.rmtree(place, ignore_errors=True)
    folder.mkdir(mode=0o755, exist_ok=True)
    run(sys.executable, "-m", "venv", str(place))
    requirements = place / "requirements.txt"
    requirements.write_text(ASKED["requirements"], "utf-8")
    wheel = place / ASKED["wheel_name"]
    wheel.write_bytes(base64.b64decode(ASKED["wheel"]))
    pip = [str(place / "bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    quiet = ["--no-input", "--no-cache-dir", "--root-user-action=ignore"]
    # Every package with its hash: a mirror cannot slip another one in.
    run(*pip, "install", *quiet, "--require-hashes", "-r", str(requirements))
    run(*pip, "install", *quiet, "--no-deps", "--no-index", str(wheel))
    wheel.unlink()
    run(str(place / "bin/casedb"), "--version")
    (place / "installed").write_text(identity + "\n")
    current = folder / "current"
    before = current.readlink().name if current.is_symlink() else identity
    making = folder / "current.new"
    making.unlink(missing_ok=True)
    making.symlink_to(identity)
    making.replace(current)
    for other in folder.iterdir():
        # The one before stays: a dump may be running in it, and it is the way back.
        if other.name not in (identity, before, current.name):
            shutil.rmtree(other, ignore_errors=True)


if __name__ == "__main__":
    os.umask(0o022)
    install(Path(ASKED["folder"]), ASKED["identity"])
