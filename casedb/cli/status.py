"""`casedb status`: is everything well, and what to do if not."""

from datetime import UTC, datetime

import click

from backups.catalog import catalog, newest_drilled, without_the_future
from backups.facts import read_settings
from backups.properties import FROZEN, thaw_command
from backups.stores import Store, name_of, open_store
from backups.stores.base import ReadingDeniedError
from casedb import migrations
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import print_json, print_table
from casedb.cli.rotate import policy_of
from casedb.connections import Verb, target_for
from casedb.database import connect, scalar
from casedb.errors import CasedbError, ExitCode, ServerUnreachableError
from casedb.health import (
    BackupFacts,
    BucketFacts,
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
@click.option("--without-server", is_flag=True, help="The backups alone: on a host without it.")
@json_option
@settings_options(store=True)
def status(settings: Settings, without_server: bool, as_json: bool) -> int:
    """Is everything well, and what to do if not.

    Looks at server, migrations, and in each store at backups, drills, disk and bucket; says how
    many hours of work would be lost. Exit code 9 when something is not well: a backup is late, from
    the future or has shrunk, the last drill failed or is too old, a bucket forgets too early. 4
    when the server does not answer.

    \b
    Example:
        casedb status
    """
    code = ExitCode.WELL
    try:
        findings = [] if without_server else assess_server(_server_facts(settings))
    except ServerUnreachableError as error:
        # The backups are still worth a look: they are what is needed now.
        findings = [Finding("server", False, error.message, error.hint)]
        code = ExitCode.UNREACHABLE
    values, now = settings.values, datetime.now(UTC)
    limits = Limits(
        values.backup_max_age,
        values.drill_max_age,
        values.keep_within,
        keep_longest=policy_of(settings, {}).longest,
    )
    loss_h: dict[str, float | None] = {}
    stores = []
    for url in settings.store_urls:
        facts = _backup_facts(url, values.database, now)
        if isinstance(facts, Finding):
            findings.append(facts)
            continue
        loss = facts.possible_loss(now)
        loss_h[facts.store] = round(loss.total_seconds() / 3600, 2) if loss is not None else None
        stores.append(facts)
        findings += assess_backups(facts, limits, now=now)
    if code is ExitCode.WELL and not all(f.well for f in findings):
        code = ExitCode.DIFFERENT
    if as_json:
        well = code is ExitCode.WELL
        print_json(
            {"well": well, "possible_loss_h": loss_h, "findings": findings, "stores": stores}
        )
    else:
        _print(findings, several=len(settings.store_urls) > 1)
    return code


def _server_facts(settings: Settings) -> ServerFacts:
    target = target_for(settings, Verb.STATUS)
    with connect(target, purpose="status") as connection:
        version = str(scalar(connection, "SHOW server_version"))
        mark, marked = read_mark(connection), is_marked(connection)
        name = str(scalar(connection, "SELECT current_database()"))
        was = read_settings(connection, name).get(FROZEN)
    found = migrations.status(target, source=folder("migrations"))
    return ServerFacts(
        version=version,
        mark=mark.value,
        marked=marked,
        head=found.head,
        pending=tuple(found.pending),
        problems=tuple(found.problems),
        thaw_command=thaw_command(name, was) if was is not None else None,
    )


def _print(findings: list[Finding], *, several: bool) -> None:
    rows = [
        (
            f.check,
            *([f.store or ""] if several else []),
            "well" if f.well else "NOT WELL",
            f.state,
            f.advice,
        )
        for f in findings
    ]
    print_table(["check", *(["store"] if several else []), "", "state", "what to do"], rows)


def _backup_facts(url: str, database: str, now: datetime) -> BackupFacts | Finding:
    """Return what the store holds, or, where it cannot be read, the one finding that says so."""
    try:
        store = open_store(url)
        try:
            return _read(store, database, now)
        except ReadingDeniedError:
            return Finding(
                "backup",
                False,
                "not readable from here: these credentials may write, and not read",
                "ask a host that may read: casedb status there, or casedb host status for all",
                store.url,
                known=False,
            )
    except CasedbError as error:
        return Finding("backup", False, error.message, error.hint, name_of(url))


def _read(store: Store, database: str, now: datetime) -> BackupFacts:
    backups = catalog(store, database)
    past = without_the_future(backups, now=now)
    good = [b for b in past if b.is_good]
    newest = good[0] if good else None
    drilled = newest_drilled(past)
    drills = [b.drilled for b in past if b.drilled]
    last = max(drills, key=lambda report: report.at, default=None)
    return BackupFacts(
        store=store.url,
        count=len(backups),
        newest_label=newest.label if newest else None,
        newest_at=newest.taken_at if newest else None,
        newest_size_bytes=newest.size_bytes if newest else 0,
        earlier_sizes_bytes=tuple(b.size_bytes for b in good[1:]),
        drilled_label=drilled.label if drilled else None,
        drilled_at=drilled.drilled.at if drilled and drilled.drilled else None,
        drilled_without_access=bool(drilled and not drilled.passed_full_drill),
        failed_drill_label=last.label if last and last.outcome == "failed" else None,
        damaged=tuple(b.label for b in backups if not b.is_good),
        ahead=tuple(b.label for b in backups if b.is_from_the_future(now)),
        drilled_ahead=tuple(
            b.label
            for b in backups
            if b.was_drilled_in_the_future(now) and not b.is_from_the_future(now)
        ),
        free_bytes=store.free_bytes(database),
        bucket=_bucket_facts(store),
    )


def _bucket_facts(store: Store) -> BucketFacts | None:
    try:
        found = store.safeguards()
    except CasedbError as error:
        # A host that may only put: unknown is not well, and not the end of the other checks.
        return BucketFacts(False, None, 0, unknown=error.message)
    if found is None:
        return None
    return BucketFacts(
        found.keeps_versions,
        found.forgets_after_days,
        found.lock_days,
        expires_after_days=found.expires_after_days,
    )
