"""docs/performance.md, written from the JSON of real runs."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

from benchmarks.bench import NAMES
from benchmarks.earlier import Earlier, read_page
from benchmarks.figures import Arm, Figure, Result, Run, Verdict, shown
from benchmarks.site import SCALES

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
_TEMPLATE = Path(__file__).with_name("performance.md.in")
_LIMITS = Path(__file__).with_name("limits.toml")


def write(first: Run, *others: Run) -> Path:
    """Write the page from one run, with a table of the figures at other scales.

    What it says of benches that the run has not is kept.
    """
    earlier = read_page(PAGE.read_text("utf-8"), [result.bench for result in first.results])
    PAGE.write_text(render(first, others, _limits(), earlier), "utf-8")
    return PAGE


def render(
    first: Run,
    others: Sequence[Run] = (),
    limits: dict[str, str] | None = None,
    earlier: Earlier = Earlier(),  # noqa: B008 - it is frozen.
) -> str:
    """Return the page; `limits` says of a missed figure what limits it."""
    results = _ordered(first)
    parts = {
        "measured": _measured(first, results, earlier),
        "targets": _targets(results, earlier),
        "misses": _misses(results, limits or {}, earlier),
        "benches": _benches(results, earlier),
        "scaling": _scaling([first, *others], earlier),
    }
    text = Template(_TEMPLATE.read_text("utf-8")).substitute(
        {name: "\n".join(lines).strip() for name, lines in parts.items()},
        scale=first.scale,
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def _limits() -> dict[str, str]:
    found = tomllib.loads(_LIMITS.read_text("utf-8"))
    return {str(name): " ".join(str(text).split()) for name, text in found.items()}


def _ordered(run: Run) -> list[Result]:
    return sorted(
        # A file may know benches that are no more.
        (result for result in run.results if result.bench in NAMES),
        key=lambda result: NAMES.index(result.bench),
    )


def _measured(run: Run, results: Sequence[Result], earlier: Earlier) -> Iterator[str]:
    machine = run.machine
    cases = max((r.cases for r in results if r.cases), default=0)
    logs = max((r.logs for r in results if r.logs), default=0)
    codes = dict.fromkeys([*(result.code for result in results), *earlier.codes])
    yield "## What was measured"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| when | {run.started:%Y-%m-%d %H:%M} UTC |"
    yield f"| code | casedb {', '.join(codes)} |"
    yield f"| PostgreSQL | {run.postgres} |"
    scale = f"{run.scale}: " if run.scale in SCALES else ""
    yield f"| data | {scale}{cases:,} cases, {logs:,} entries of their logs |"
    yield (
        f"| machine | {machine.cpus} cores ({machine.cpu_model}), "
        f"{machine.memory_bytes / 2**30:.0f} GiB, {machine.system} |"
    )


def _targets(results: Sequence[Result], earlier: Earlier) -> Iterator[str]:
    yield "## Targets"
    yield ""
    yield "| bench | figure | found | noise | target | |"
    yield "|---|---|---:|---:|---|---|"
    now = {result.bench: list(_targets_of(result)) for result in results}
    for bench in NAMES:
        yield from now.get(bench, earlier.targets.get(bench, []))


def _targets_of(result: Result) -> Iterator[str]:
    for figure in result.figures:
        if figure.target:
            yield (
                f"| {result.bench} | {figure.name} | {shown(figure.value, figure.unit)} "
                f"| {_noise(figure)} | {figure.target} | {_bold(figure)} |"
            )
    for target in result.unmeasured:
        yield f"| {result.bench} | {target.figure} | | | {target} | **not measured** |"


def _misses(results: Sequence[Result], limits: dict[str, str], earlier: Earlier) -> Iterator[str]:
    now = {result.bench: [figure.name for figure in result.missed] for result in results}
    missed = [name for bench in NAMES for name in now.get(bench, earlier.missed(bench))]
    failed = [result for result in results if result.problem]
    if missed:
        yield "## What limits those that are missed"
        yield ""
        for name in missed:
            yield f"- **{name}**: {limits.get(name, 'not yet explained.')}"
        yield ""
    for result in failed:
        yield f"`{result.bench}` was not measured: {result.problem}"
        yield ""


def _benches(results: Sequence[Result], earlier: Earlier) -> Iterator[str]:
    now = {result.bench: result for result in results}
    for bench in NAMES:
        if bench in now and not now[bench].problem:
            yield from _bench(now[bench])
        elif bench in earlier.sections:
            yield from (earlier.sections[bench], "")


def _bench(result: Result) -> Iterator[str]:
    yield f"## {result.bench}: {result.question}"
    yield ""
    if result.arms:
        yield "| contestant | what it does | median | spread | CPU | size |"
        yield "|---|---|---:|---:|---:|---:|"
        yield from (_arm(arm) for arm in result.arms)
        yield ""
    others = [figure for figure in result.figures if not figure.target or figure.note]
    for figure in others:
        noise = f" ± {_noise(figure)}" if figure.noise else ""
        note = f" ({figure.note})" if figure.note else ""
        yield f"- {figure.name}: {shown(figure.value, figure.unit)}{noise}{note}"
    for note in result.notes:
        yield f"- {note}"
    rounds = max((len(arm.costs) for arm in result.arms), default=0)
    counted = f"{rounds} rounds, " if rounds else ""
    yield f"- {counted}{result.took_s / 60:.1f} minutes with all preparations, at {result.code}"
    yield ""


def _arm(arm: Arm) -> str:
    size = "" if not arm.size_bytes else f"{arm.size_bytes / 1e6:,.0f} MB"
    # A rate is measured over a fixed time, and its CPU says nothing by itself.
    cpu = shown(arm.cpu_s, "s") if arm.unit == "s" else ""
    return (
        f"| {arm.name} | {arm.what} | {shown(arm.middle, arm.unit)} "
        f"| ± {arm.spread:.0%} | {cpu} | {size} |"
    )


def _scaling(runs: Sequence[Run], earlier: Earlier) -> Iterator[str]:
    scales = dict.fromkeys([runs[0].scale, *earlier.scales, *(run.scale for run in runs)])
    if len(scales) == 1:
        # There is nothing to compare.
        return
    yield "## At other scales"
    yield ""
    yield f"| bench | figure | {' | '.join(scales)} |"
    yield "|---|---|" + "---:|" * len(scales)
    for bench in NAMES:
        figures = {name: dict(values) for name, values in earlier.scaling.get(bench, {}).items()}
        for run in runs:
            for name, value in _figures(run, bench).items():
                figures.setdefault(name, {})[run.scale] = value
        for name, values in figures.items():
            if len(values) > 1:
                cells = (values.get(scale, "") for scale in scales)
                yield f"| {bench} | {name} | {' | '.join(cells)} |"


def _figures(run: Run, bench: str) -> dict[str, str]:
    return {
        figure.name: shown(figure.value, figure.unit)
        for result in run.results
        if result.bench == bench
        for figure in result.figures
    }


def _noise(figure: Figure) -> str:
    return "" if figure.noise is None else shown(figure.noise, figure.unit)


def _bold(figure: Figure) -> str:
    return f"**{figure.says}**" if figure.verdict is Verdict.MISSED else figure.says
