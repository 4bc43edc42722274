"""`casedb status`: is everything well, and what to do if not."""

from datetime import UTC, datetime

import click

from backups.catalog import catalog
from backups.stores import open_store
from casedb import migrations
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, print_table
from casedb.connections import Verb, target_for
from casedb.database import connect, scalar
from casedb.errors import CasedbError, ExitCode, ServerUnreachableError
from casedb.health import (
    BackupFacts,
    Finding,
    Limits,
    ServerFacts,
    assess_backups,
    assess_server,
)
from casedb.marks import is_marked, read_mark
from casedb.settings import Settings
from casedb.sqlfiles import folder


@click.command()
@json_option
@settings_options(store=True)
def status(settings: Settings, as_json: bool) -> int:
    """Is everything well, and what to do if not.

    Looks at server, migrations, backups, drills and disk. Exit code 9 when something is not well, 4
    when the server does not answer.

    \b
    Example:
        casedb status
    """
    code = ExitCode.WELL
    try:
        findings = assess_server(_server_facts(settings))
    except ServerUnreachableError as error:
        # The backups are still worth a look: they are what is needed now.
        findings = [Finding("server", False, error.message, error.hint)]
        code = ExitCode.UNREACHABLE
    limits = Limits(settings.values.backup_max_age, settings.values.drill_max_age)
    try:
        findings += assess_backups(_backup_facts(settings), limits, now=datetime.now(UTC))
    except CasedbError as error:
        findings.append(Finding("backup", False, error.message, error.hint))
    if code is ExitCode.WELL and not all(f.well for f in findings):
        code = ExitCode.DIFFERENT
    if as_json:
        print_json({"well": code is ExitCode.WELL, "findings": findings})
    else:
        rows = [(f.check, "well" if f.well else "NOT WELL", f.state, f.advice) for f in findings]
        print_table(["check", "", "state", "what to do"], rows)
    return code


def _server_facts(settings: Settings) -> ServerFacts:
    target = target_for(settings, Verb.STATUS)
    with connect(target, purpose="status") as connection:
        version = str(scalar(connection, "SHOW server_version"))
        mark, marked = read_mark(connection), is_marked(connection)
    found = migrations.status(target, source=folder("migrations"))
    return ServerFacts(
        version=version,
        mark=mark.value,
        marked=marked,
        head=found.head,
        pending=tuple(found.pending),
        problems=tuple(found.problems),
    )


def _backup_facts(settings: Settings) -> BackupFacts:
    store = open_store(settings.store_url)
    database = settings.values.database
    backups = catalog(store, database)
    newest = next((b for b in backups if b.is_good), None)
    drilled = next((b for b in backups if b.passed_drill), None)
    return BackupFacts(
        count=len(backups),
        newest_label=newest.label if newest else None,
        newest_at=newest.taken_at if newest else None,
        newest_size_bytes=newest.size_bytes if newest else 0,
        drilled_label=drilled.label if drilled else None,
        drilled_at=drilled.drilled.at if drilled and drilled.drilled else None,
        damaged=tuple(b.label for b in backups if not b.is_good),
        free_bytes=store.free_bytes(database),
    )
