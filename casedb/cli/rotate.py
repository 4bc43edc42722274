"""`casedb rotate`: retention."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from backups.retention import Retention
from backups.rotate import RotationPlan
from backups.rotate import rotate as expire
from backups.stores import open_store
from casedb.ages import format_age, parse_age
from casedb.cli.options import json_option, keys_of, settings_options
from casedb.cli.output import each_store, print_json, print_table
from casedb.cli.signals import signals_after
from casedb.settings import Settings

_CALENDAR = ("hourly", "daily", "weekly", "monthly", "yearly")


def _age(_ctx: click.Context, _param: click.Parameter, value: str | None) -> timedelta | None:
    return parse_age(value) if value is not None else None


def _policy_options(function: Callable[..., Any]) -> Callable[..., Any]:
    periods = {"hourly": "hours", "daily": "days", "weekly": "weeks", "monthly": "months"}
    options = [
        click.option("--keep-within", callback=_age, help="Keep all of this time (36h, 14d, 8w)."),
        click.option("--keep-last", type=click.IntRange(min=1), help="Keep the newest N."),
        *(
            click.option(
                f"--keep-{name}",
                type=click.IntRange(min=0),
                help=f"Keep one for each of the last N {periods.get(name, 'years')}.",
            )
            for name in _CALENDAR
        ),
    ]
    return functools.reduce(lambda f, option: option(f), reversed(options), function)


@click.command()
@_policy_options
@click.option("--apply", "apply_it", is_flag=True, help="Delete; without it nothing is deleted.")
@click.option(
    "--confirm",
    "confirmed",
    type=int,
    metavar="N",
    help="Delete just N backups, even if that is unusually many.",
)
@json_option
@settings_options(store=True)
def rotate(
    settings: Settings, apply_it: bool, confirmed: int | None, as_json: bool, **rules: Any
) -> None:
    """Delete expired backups; only says which without --apply.

    What any one rule keeps stays, and so do the newest and the newest that passed a drill; a
    damaged one counts for nothing and stays too. Unusually many at once, as after a jump of the
    clock, have to be confirmed by their number. A store that fails does not keep the others from
    it, and the exit code tells.

    \b
    Example:
        casedb rotate --keep-within 14d --keep-monthly 12
    """
    now = datetime.now(UTC)
    if confirmed is not None and len(settings.store_urls) > 1:
        raise click.UsageError("--confirm N is for one store: name it with --store.")
    plans: dict[str, RotationPlan] = {}

    def expire_in(url: str) -> None:
        plans[url] = expire(
            open_store(url),
            settings.values.database,
            policy_of(settings, rules),
            now=now,
            apply=apply_it,
            confirmed=confirmed,
            keys=keys_of(settings, None) if apply_it else None,
        )
        if failure := plans[url].failure:
            raise failure

    several = len(settings.store_urls) > 1
    # Saying what would go is no run that monitoring waits for.
    signals = signals_after(settings, "rotate", settings.store_urls) if apply_it else nullcontext()
    with signals as story:
        failure = each_store(settings.store_urls, expire_in)
        if story and not failure:
            story.tell("what had expired is deleted")
        if as_json and plans:
            shown = [_shown(url, plan, apply_it) for url, plan in plans.items()]
            print_json({"stores": shown} if several else shown[0])
        elif not as_json:
            for url, plan in plans.items():
                if several:
                    click.echo(url)
                _print(plan, now)
                _print_how_to_delete(plan, apply_it)
        if failure:
            raise failure


def _print_how_to_delete(plan: RotationPlan, applied: bool) -> None:
    if plan.expired and not applied:
        click.echo("Nothing was deleted. To delete: casedb rotate --apply", err=True)
        if plan.warning:
            click.echo(f"That needs --confirm {len(plan.expired)}: {plan.warning}.", err=True)


def _shown(url: str, plan: RotationPlan, applied: bool) -> dict[str, Any]:
    return {
        "store": url,
        "applied": applied,
        "warning": plan.warning,
        "entries": [
            {"label": e.backup.label, "kept": e.kept, "reason": e.reason} for e in plan.entries
        ],
        "deleted": plan.deleted,
        "in_use": plan.in_use,
        "retained": plan.retained,
    }


def policy_of(settings: Settings, given: dict[str, Any]) -> Retention:
    """Return the policy of the settings, with what was `given` on the command line in its place."""
    names = ["keep_within", "keep_last", *(f"keep_{name}" for name in _CALENDAR)]
    chosen = {name: given.get(name) for name in names}
    return Retention(
        **{
            name: getattr(settings.values, name) if value is None else value
            for name, value in chosen.items()
        }
    )


def _print(plan: RotationPlan, now: datetime) -> None:
    undone = "not deleted" if plan.failure else "would delete"
    fates = {
        **{e.backup.label: "keep" if e.kept else undone for e in plan.entries},
        **dict.fromkeys(plan.deleted, "deleted"),
        **dict.fromkeys(plan.in_use, "in use, kept"),
        **dict.fromkeys(plan.retained, "locked, kept"),
    }
    rows = []
    for entry in plan.entries:
        age = entry.backup.age(now)
        shown = format_age(age) if age is not None else "unknown"
        rows.append((entry.backup.label, shown, fates[entry.backup.label], entry.reason))
    print_table(["backup", "age", "fate", "because"], rows)
