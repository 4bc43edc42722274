"""`casedb report-failure`: what a run that was killed could not tell itself."""

import os
from datetime import UTC, datetime

import click

from backups.stores import name_of
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json
from casedb.cli.signals import tell
from casedb.errors import ToolFailedError
from casedb.runs import Run, failure_of_unit, read_runs
from casedb.settings import Settings

_VERBS = ("dump", "verify", "drill", "rotate")


@click.command("report-failure")
@click.argument("verb", type=click.Choice(_VERBS))
@json_option
@settings_options(store=True)
def report_failure(settings: Settings, verb: str, as_json: bool) -> None:
    """Tell of a run of VERB that systemd saw fail.

    For the OnFailure= of a unit: log, metrics and on_failure learn of a run that was killed, ran
    out of memory or time, or never began. One that has told of itself is not told of again.

    \b
    Example:
        casedb report-failure dump --database case_management
    """
    monitored = {
        name: os.environ.get(f"MONITOR_{name}", "")
        for name in ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS", "INVOCATION_ID")
    }
    invocation = monitored["INVOCATION_ID"] or None
    known: list[Run] = []
    unread = None
    if settings.log_path and invocation:
        try:
            known = read_runs(settings.log_path)
        except ToolFailedError as error:
            # Rather told of twice than not at all.
            unread = error
    # A drill of several stores may have told of one that went well.
    if any(run.invocation == invocation and run.exit_code for run in known):
        _say("it has told of itself", False, as_json)
        return
    code, message = failure_of_unit(
        monitored["SERVICE_RESULT"], monitored["EXIT_CODE"], monitored["EXIT_STATUS"]
    )
    run = Run(
        command=verb,
        database=settings.values.database,
        label=None,
        outcome="failure",
        exit_code=code,
        # When it began, only systemd's journal knows.
        started_at=datetime.now(UTC),
        seconds=0.0,
        bytes=None,
        store=tuple(name_of(url) for url in settings.store_urls),
        message=message,
        invocation=invocation,
    )
    tell(settings, run, unread)
    _say(f"{verb} of {run.database} failed: {message}", True, as_json)


def _say(text: str, told: bool, as_json: bool) -> None:
    if as_json:
        print_json({"told": told, "message": text})
    else:
        click.echo(text)
