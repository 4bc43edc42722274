"""`casedb explain`: the plans of the named queries, against their budgets."""

import click

from casedb import queries
from casedb.acting import Actor, busiest_actors
from casedb.cli.acting import actor_named, as_option, param_option, read_params, reading
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import plain, print_json, print_table
from casedb.connections import Verb, target_for
from casedb.database import connect
from casedb.errors import ExitCode, UsageError
from casedb.query_plans import PlanReport
from casedb.query_plans import explain as explain_query
from casedb.settings import Settings


@click.command()
@click.argument("name", required=False)
@as_option
@click.option("--all-roles", is_flag=True, help="As the busiest clerk, chair and caseworker.")
@param_option
@json_option
@settings_options()
def explain(
    settings: Settings,
    name: str | None,
    email: str | None,
    all_roles: bool,
    words: tuple[str, ...],
    as_json: bool,
) -> int:
    """Show the plan of a query, and whether it keeps its budget.

    The query does run, in a read-only transaction. Without NAME, all queries are judged. A budget
    counts buffers and forbids sequential scans; it never counts milliseconds. Exit code 9 when
    one is missed.

    \b
    Example:
        casedb explain my_open_cases --as clerk@example.com
        casedb explain --all-roles --json
    """
    if email and all_roles:
        raise UsageError("--as and --all-roles exclude each other", hint="Choose one of them.")
    wanted = [queries.load(each) for each in ([name] if name else queries.names())]
    given = read_params(words)
    if given and not name:
        raise UsageError("--param needs a query", hint="Name one: casedb explain NAME --param ...")
    reports = []
    for actor in _actors(settings, email, all_roles):
        for each in wanted:
            with reading(settings, actor, purpose="explain") as connection:
                report = explain_query(connection, each, given)
            reports.append((actor.email if actor else None, report))
    if as_json:
        print_json({"plans": [_as_json(who, report) for who, report in reports]})
    elif len(reports) == 1:
        _print(*reports[0])
    else:
        _print_table(reports)
    return ExitCode.WELL if all(r.within_budget for _, r in reports) else ExitCode.DIFFERENT


def _actors(settings: Settings, email: str | None, all_roles: bool) -> list[Actor | None]:
    if email:
        return [actor_named(settings, email)]
    if not all_roles:
        return [None]
    with connect(target_for(settings, Verb.SHELL), purpose="look up") as reader:
        found = busiest_actors(reader)
    if not found:
        raise UsageError("there are no users to act as", hint="`casedb seed` makes some.")
    return [*found]


def _as_json(email: str | None, report: PlanReport) -> dict[str, object]:
    shown = plain(report)
    assert isinstance(shown, dict)
    return {"as": email, "within_budget": report.within_budget, **shown}


def _print(email: str | None, report: PlanReport) -> None:
    for line in report.plan:
        click.echo(line)
    click.echo()
    click.echo(f"{report.query} as {email or report.role}: {_verdict(report)}")


def _print_table(reports: list[tuple[str | None, PlanReport]]) -> None:
    print_table(
        ["query", "as", "buffers", "allowed", "indexes", "budget"],
        [
            (r.query, r.role, r.buffers, r.max_buffers, " ".join(r.indexes), _verdict(r))
            for _, r in reports
        ],
    )
    missed = sum(not report.within_budget for _, report in reports)
    click.echo(f"{len(reports)} plans, {missed} over budget")


def _verdict(report: PlanReport) -> str:
    verdict = "missed: " + "; ".join(report.missed) if report.missed else "met"
    return verdict + (f" ({'; '.join(report.notes)})" if report.notes else "")
