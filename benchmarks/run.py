"""One run: benches one after the other, each by itself, and what is known so far always written."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from benchmarks.bench import Bench, Found, load
from benchmarks.figures import Machine, Result, Run
from benchmarks.site import NotMeasured, Site
from casedb import version
from casedb.errors import CasedbError, ConfigurationError
from casedb.tools import PostgresTools

ROOT = Path(__file__).parents[1]
Keep = Callable[[Run], None]
"""Called with all that is known, after each bench."""


def run(names: Sequence[str], site: Site, known: Run, keep: Keep) -> Run:
    """Run the benches `names`; return `known` with their results in the place of older ones.

    What fails is part of the result, and keeps no other bench from being run.
    """
    for name in names:
        known = known.with_result(_measured(load(name), site))
        keep(known)
    return known


def new_run(scale: str, tools: PostgresTools) -> Run:
    """Return a run without results."""
    return Run(
        started=datetime.now(UTC).replace(microsecond=0),
        scale=scale,
        machine=this_machine(),
        postgres=tools.version,
    )


def read_run(path: Path) -> Run:
    """Return the run in a file.

    Raises:
        ConfigurationError: there is none, or it is of another form.
    """
    try:
        return Run.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ConfigurationError(
            f"{path} is not what `casedb bench --json` wrote",
            detail=" ".join(str(error).split())[:200],
        ) from error


def carried_on(path: Path, new: Run) -> Run:
    """Return the run in `path`, to be carried on, or `new` if there is no such file.

    Raises:
        ConfigurationError: it is of another scale, server or machine.
    """
    if not path.exists():
        return new
    found = read_run(path)
    for what in ("scale", "postgres", "machine"):
        if getattr(found, what) != getattr(new, what):
            raise ConfigurationError(
                f"{path} has figures of another {what}",
                detail=f"It has {getattr(found, what)}, and this would be {getattr(new, what)}.",
                hint="Figures side by side are of one run on one machine: name another file.",
            )
    return found


def write_run(found: Run, path: Path) -> None:
    """Write a run, whole or not at all."""
    making = path.with_name(path.name + ".making")
    making.write_text(found.model_dump_json(indent=1) + "\n", "utf-8")
    making.replace(path)


def code_version() -> str:
    """Return the version and, in a git checkout, the commit; "changed" if it is not all of it."""
    try:
        commit = _git("rev-parse", "--short=10", "HEAD")
        changed = ", changed" if _git("status", "--porcelain", "--untracked-files=no") else ""
    except (OSError, subprocess.CalledProcessError):
        return version()
    return f"{version()} ({commit}{changed})"


def this_machine() -> Machine:
    """Return what the figures of this machine hang on."""
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        cpu_model=_field("/proc/cpuinfo", "model name") or platform.processor(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{_field('/etc/os-release', 'PRETTY_NAME', '=')}, Linux {platform.release()}",
    )


def _measured(bench: Bench, site: Site) -> Result:
    began = time.monotonic()
    found, problem = Found(), None
    site.tell(f"{bench.name}: begins")
    try:
        found = bench.measure(site)
    except NotMeasured as reason:
        problem = f"not measured here: {reason}"
    except CasedbError as error:
        problem = " ".join(filter(None, [error.message, error.detail]))
    except Exception as error:
        # The next bench has nothing to do with it.
        problem = f"{type(error).__name__}: {error}"
    site.tell(f"{bench.name}: " + (problem or f"done in {time.monotonic() - began:.0f} s"))
    database = site.asked_for()
    return Result(
        bench=bench.name,
        question=bench.question,
        code=code_version(),
        at=datetime.now(UTC).replace(microsecond=0),
        cases=database.cases if database else None,
        logs=database.logs if database else None,
        rounds=site.rounds,
        took_s=round(time.monotonic() - began, 1),
        targets=bench.targets,
        arms=tuple(found.arms),
        figures=tuple(found.figures),
        notes=tuple(found.notes),
        problem=problem,
    )


def _git(*words: str) -> str:
    argv = ["git", "-C", str(ROOT), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def _field(path: str, name: str, between: str = ":") -> str:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError:
        return ""
    found = (line.partition(between) for line in lines)
    return next((value.strip(' "\t') for key, _, value in found if key.strip() == name), "")
