"""`casedb bench`: numbers anyone can repeat, out of a checkout."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from casedb.cli.output import print_table
from casedb.conninfo import SECRET_WORDS, Conninfo, libpq_variables
from casedb.conninfo_values import require_sound
from casedb.errors import ConfigurationError, ExitCode, UsageError
from casedb.tools import PostgresTools, tools_in, tools_of, wheel_tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.figures import Result, Run

_SCALES = ("small", "medium", "large")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--scale",
    type=click.Choice(_SCALES),
    default="small",
    show_default=True,
    help="100,000 cases with 727,000 log entries, five times that, or ten times.",
)
@click.option("--cases", type=click.IntRange(min=500), help="So many cases instead, to try it.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the figures here after each bench; those that are there already stay.",
)
@click.option("--missing", is_flag=True, help="Only benches of which the file has no figures.")
@click.option("--conninfo", help="Measure in this database, which is only read.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the filled server in this folder, and use it again.",
)
@click.option(
    "--pg-bin",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="PG_BIN",
    help="PostgreSQL's programs.  [default: the system's 15, else the embedded ones]",
)
@click.option("--list", "only_list", is_flag=True, help="List the benches and their targets.")
@click.option(
    "--write-docs",
    "docs_from",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Write docs/performance.md from this file; the first is shown, further ones are scales.",
)
def bench(
    names: tuple[str, ...],
    scale: str,
    cases: int | None,
    rounds: int,
    json_file: Path | None,
    missing: bool,
    conninfo: str | None,
    keep: Path | None,
    pg_bin: Path | None,
    only_list: bool,
    docs_from: tuple[Path, ...],
) -> int:
    """Measure what casedb promises, against the plan's scripts.

    Without NAME all benches run. One that fails does not stop the others, and --missing runs it
    again. Needs the checkout. Exit code 9 if a target is missed, 10 if one was not measured.

    \b
    Example:
        casedb bench dump restore --scale medium --json medium.json
        casedb bench --write-docs medium.json
    """
    try:
        import benchmarks.bench as benches
        from benchmarks import page, run, site
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "the benches are not installed",
            detail=f"There is no module {error.name}.",
            hint="They are in the checkout: run `make bench` there.",
        ) from error
    if docs_from:
        path = page.write(*map(run.read_run, docs_from))
        click.echo(f"wrote {path}")
        return ExitCode.WELL
    chosen = [benches.load(name) for name in names or benches.NAMES]
    if only_list:
        _list(chosen)
        return ExitCode.WELL
    if missing and not json_file:
        raise UsageError("--missing needs --json FILE")
    if conninfo and keep:
        raise UsageError("--conninfo and --keep exclude each other")
    tools = tools_in(pg_bin) if pg_bin else _default_tools()
    # libpq reads these behind our back.
    for name in libpq_variables():
        os.environ.pop(name, None)
    wanted = cases or site.SCALES[scale]
    new = run.new_run(f"{wanted:,} cases" if cases else scale, tools)
    if json_file:
        new = run.carried_on(json_file, new)
    have = {r.bench for r in new.results if not r.problem} if missing else set()
    todo = [b.name for b in chosen if b.name not in have]
    begun = time.monotonic()

    def tell(line: str) -> None:
        click.echo(f"{time.monotonic() - begun:6.0f} s  {line}", err=True)

    def written(found: "Run") -> None:
        if json_file:
            run.write_run(found, json_file)

    given = Conninfo.parse(conninfo, origin="--conninfo") if conninfo else None
    require_sound(given.words if given else {}, lambda _word: "--conninfo")
    if given and SECRET_WORDS & given.words.keys():
        raise UsageError(
            "a password among the words of --conninfo is not accepted",
            hint="Put it into a passfile of mode 0600 and name that one: passfile=...",
        )
    with site.Site(
        tools, cases=wanted, rounds=rounds, conninfo=given, keep=keep, tell=tell
    ) as place:
        found = run.run(todo, place, new, written)
    _show(found, {b.name for b in chosen})
    return _code([r for r in found.results if r.bench in {b.name for b in chosen}])


def _default_tools() -> PostgresTools:
    """Return the version that the customer's plan names, if the system has its server."""
    found = tools_of(15) if Path("/usr/lib/postgresql/15/bin/psql").exists() else wheel_tools(16)
    return found if found.can_serve else wheel_tools(16)


def _list(chosen: "Sequence[Bench]") -> None:
    rows = [
        (
            b.name,
            b.question,
            "\n".join(f"{t.figure}: {t}" for t in b.targets) or "reported",
            f"{b.minutes:g}",
        )
        for b in chosen
    ]
    print_table(["bench", "what it answers", "targets", "minutes at medium"], rows)


def _show(found: "Run", chosen: set[str]) -> None:
    from benchmarks.figures import Verdict, shown

    rows = []
    for result in found.results:
        if result.bench not in chosen:
            continue
        for figure in result.figures:
            noise = "" if figure.noise is None else f"± {shown(figure.noise, figure.unit)}"
            rows.append(
                (
                    result.bench,
                    figure.name,
                    shown(figure.value, figure.unit),
                    noise,
                    figure.target or "",
                    figure.says,
                )
            )
        rows += [
            (result.bench, target.figure, "", "", target, Verdict.NOT_MEASURED.value)
            for target in result.unmeasured
        ]
    print_table(["bench", "figure", "found", "noise", "target", "says"], rows)
    for result in found.results:
        if result.bench in chosen and result.problem:
            click.echo(f"{result.bench}: {result.problem}")


def _code(results: "Sequence[Result]") -> int:
    if any(result.missed for result in results):
        return ExitCode.DIFFERENT
    if any(result.problem or result.unmeasured for result in results):
        return ExitCode.UNVERIFIED
    return ExitCode.WELL
