"""`casedb check`: is what is there as it should be?"""

import click

from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, print_table
from casedb.connections import Verb, target_for
from casedb.errors import ExitCode
from casedb.lint import read_rules, run_checks
from casedb.settings import Settings


@click.group()
def check() -> None:
    """Check a live database."""


@check.command()
@json_option
@settings_options()
def schema(settings: Settings, as_json: bool) -> int:
    """Look through the catalog for what a schema should not have; changes nothing.

    Row security that is not forced, policies that call a function for every row, functions that
    run as their owner without a search_path, foreign keys without an index, invalid indexes, and
    more: one rule each in sql/checks/. Exit code 9 when there is a finding.

    \b
    Example:
        casedb check schema --json
    """
    rules = read_rules()
    findings = run_checks(target_for(settings, Verb.STATUS), rules)
    if as_json:
        print_json({"rules": len(rules), "findings": findings})
    elif findings:
        rows = [
            (found.object, found.rule, ". ".join(filter(None, [found.message, found.detail])))
            for found in findings
        ]
        print_table(["object", "rule", "finding"], rows)
        for rule in rules:
            if any(found.rule == rule.name for found in findings):
                click.echo(f"{rule.name}: {rule.hint}", err=True)
    else:
        click.echo(f"nothing found: {len(rules)} rules")
    return ExitCode.DIFFERENT if findings else ExitCode.WELL
