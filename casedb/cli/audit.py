"""`casedb audit`: is the audit trail whole, and what does it say of one case?"""

import dataclasses
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import click

from backups.anchors import read_heads
from backups.catalog import resolve_label
from backups.progress import Progress
from backups.stores import open_store
from casedb import audit as trail
from casedb.audit_blocks import Block
from casedb.cli.options import json_option, keys_of, settings_options
from casedb.cli.output import print_json, print_table, progress
from casedb.connections import Verb, target_for
from casedb.database import connect
from casedb.errors import BackupDamagedError, DifferenceError, ExitCode, first_few
from casedb.settings import Settings


@click.group()
def audit() -> None:
    """Check the audit trail, or read one case's history."""


@audit.command()
@click.option("--case", type=click.UUID, help="Check this case only.", metavar="ID")
@click.option(
    "--anchor",
    help="Compare with the heads in this backup, too: a label, or latest.",
    metavar="LABEL",
)
@json_option
@settings_options(store=True)
def verify(settings: Settings, case: UUID | None, anchor: str | None, as_json: bool) -> int:
    """Check the chain of hashes of every case and user.

    Finds every entry that was edited or removed without computing anew all that follows. With
    --anchor it also finds what was computed anew, cut off at the end, or removed with its case, up
    to the moment of that backup. Triggers that are switched off are found, too. Changes nothing.
    Exit code 9 when something is found.

    \b
    Example:
        casedb audit verify --anchor latest
    """
    label, heads = _heads(settings, anchor) if anchor else ("", None)
    target = target_for(settings, Verb.DUMP)
    with progress("audit") as tell, connect(target, purpose="audit verify") as connection:
        report = trail.verify(
            connection,
            case=case,
            heads=heads,
            anchor=label,
            on_checked=lambda phase, done, total: tell(Progress(phase, done, total, "cases")),
        )
    if as_json:
        print_json(dataclasses.asdict(report))
        # The findings are in what was printed; an error would be a second document.
        return int(ExitCode.DIFFERENT if report.problems else ExitCode.WELL)
    _print(report, label, case)
    if report.problems:
        raise DifferenceError(
            "the audit trail is not as it was written",
            detail="\n".join(first_few(report.problems)),
            hint="Keep the database and its backups as they are for the inquiry; `casedb audit "
            "verify --anchor LABEL` with older backups narrows down when it happened.",
        )
    return int(ExitCode.WELL)


@audit.command()
@click.argument("case", type=click.UUID)
@json_option
@settings_options()
def show(settings: Settings, case: UUID, as_json: bool) -> None:
    """Print the history of CASE, oldest entry first.

    Who did what and when, in words. Free text is in the log as a digest only, and not shown.

    \b
    Example:
        casedb audit show ca5e0000-0000-4000-8000-000000000001
    """
    with connect(target_for(settings, Verb.DUMP), purpose="audit show") as connection:
        found = trail.history(connection, case)
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    click.echo(f"{found.title}\n{found.case_id}, {found.status}\n")
    print_table(
        ["no.", "when (UTC)", "who", "what"],
        [
            (e.seq, f"{e.at:%Y-%m-%d %H:%M:%S}", f"{e.user_name} ({e.user_role.lower()})", words(e))
            for e in found.entries
        ],
    )


def words(entry: trail.Entry) -> str:
    """Return what an entry says, for people.

    >>> from datetime import datetime
    >>> moved = {"from": "NEW", "to": "PENDING_REVIEW"}
    >>> someone = ("case_app", UUID(int=1), "John Clerk", "CLERK")
    >>> words(trail.Entry(1, datetime.min, "status_changed", moved, *someone))
    'status changed: NEW to PENDING_REVIEW'
    """
    what = entry.action.replace("_", " ")
    details = entry.details if isinstance(entry.details, dict) else {}
    if {"from", "to"} <= details.keys():
        said = f"{details['from'] or 'nobody'} to {details['to'] or 'nobody'}"
    else:
        said = ", ".join(filter(None, (_detail(key, value) for key, value in details.items())))
    return f"{what}: {said}" if said else what


def _detail(key: str, value: Any) -> str:
    if isinstance(value, dict) and {"from", "to"} <= value.keys():
        if str(value["to"]).startswith("sha256:"):
            return key
        return f"{key} {value['from']} to {value['to']}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) if key == "changed" else ""
    return "" if str(value).startswith("sha256:") else f"{key} {value}"


def _heads(settings: Settings, anchor: str) -> tuple[str, Iterator[Block]]:
    store = open_store(settings.store_url)
    backup = resolve_label(store, settings.values.database, anchor)
    if backup.manifest is None:
        raise BackupDamagedError(
            f'backup "{backup.label}" has no readable manifest',
            detail=backup.damage,
            hint="Name another one; `casedb backups` lists them.",
        )
    return backup.label, read_heads(store, backup.manifest, keys_of(settings, None))


def _print(report: trail.AuditReport, label: str, case: UUID | None) -> None:
    counted = f"{report.entries} entries of {report.cases} cases"
    if case is None:
        counted += f", {report.user_entries} entries of {report.users} users"
    click.echo(f"checked {counted} in {report.duration_s:.1f} s")
    if label:
        unproven = (
            f", {report.unproven} of which are vouched for only together with what is damaged"
            if report.unproven
            else ""
        )
        click.echo(f"compared with {report.anchored} heads in {label}{unproven}")
    if not report.problems:
        click.echo("every chain is whole" + (", and as the backup has it" if label else ""))
