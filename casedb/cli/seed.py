"""`casedb seed`: sample data, a little or a lot."""

import time
from collections.abc import Callable

import click

from backups.progress import Progress
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import Tell, print_json, progress, seconds
from casedb.connections import Verb, target_for
from casedb.errors import UsageError
from casedb.seed import SeedResult, seed_demo
from casedb.seed_volume import VolumeResult, seed_volume
from casedb.settings import Settings


@click.command()
@click.option(
    "--cases", type=click.IntRange(min=1), metavar="N", help="Invent N cases with their history."
)
@click.option(
    "--seed",
    "number",
    type=click.IntRange(min=0),
    metavar="S",
    help="With --cases: another S, other cases.  [default: 1]",
)
@json_option
@settings_options()
def seed(settings: Settings, cases: int | None, number: int | None, as_json: bool) -> None:
    """Load sample data: the demo, or invented cases by the million.

    The demo is three users, a case and its log entry; what is there is left alone.

    With --cases, invented users and cases in all states, each with a legal history, a chained log
    and documents: the same N and S give the same rows. An interrupted run goes on where it stopped
    when it is given again.

    Only into a database marked development: everybody knows the users' password.

    \b
    Example:
        casedb seed
        casedb seed --cases 20000 --seed 7
    """
    if cases is None:
        if number is not None:
            raise UsageError("--seed needs --cases", hint="Say how many: --cases 20000.")
        with progress("seed") as tell:
            tell("writing")
            result = seed_demo(target_for(settings, Verb.SEED))
        if as_json:
            print_json(result)
        else:
            click.echo(told(result))
        return
    _seed_volume(settings, cases, 1 if number is None else number, as_json)


def told(result: SeedResult) -> str:
    """Return what was created and what was there, for people."""
    kinds = {"users": result.users, "cases": result.cases, "log entries": result.logs}
    if not result.changed:
        return "in place: " + ", ".join(f"{k.already_there} {name}" for name, k in kinds.items())
    return "created " + ", ".join(f"{k.created} {name}" for name, k in kinds.items())


def _seed_volume(settings: Settings, cases: int, number: int, as_json: bool) -> None:
    target = target_for(settings, Verb.SEED)
    started = time.monotonic()
    with progress("seed") as tell:
        result = seed_volume(target, cases=cases, seed=number, on_block=_teller(tell, started))
    duration_s = time.monotonic() - started
    if as_json:
        print_json({"cases": cases, "seed": number, "duration_s": duration_s, "loaded": result})
    else:
        click.echo(_told_volume(result, duration_s))


def _teller(tell: Tell, started: float) -> Callable[[int, int], None]:
    found: int | None = None

    def on_block(done: int, total: int) -> None:
        nonlocal found
        # What an earlier run had left costs no time, and would flatter the rate.
        found = done if found is None else found
        rate = (done - found) / max(time.monotonic() - started, 0.001)
        tell(Progress(f"{done:,} cases, {rate:,.0f} a second", done, total, "cases"))

    return on_block


def _told_volume(result: VolumeResult, duration_s: float) -> str:
    if not result.cases.created:
        return f"in place: {result.users.already_there} users, {result.cases.already_there} cases"
    there = result.cases.already_there
    rows = result.users.created + result.cases.created + result.logs + result.documents
    return (
        f"created {result.users.created} users, {result.cases.created} cases, {result.logs} log "
        f"entries, {result.documents} documents in {seconds(duration_s)} "
        f"({rows / max(duration_s, 0.001):,.0f} rows a second)"
        + (f"; {there} cases were there already" if there else "")
        + "\nall users have the demo password"
    )
