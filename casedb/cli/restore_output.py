"""What people see of a restore: its plan, its report, and the differences of a part."""

import textwrap
from collections.abc import Sequence

import click
from psycopg import sql

from backups.partial import PartialReport, done_with
from backups.reports import RestoreReport
from backups.restore_facts import LiveState, Sessions
from backups.restore_plan import RestorePlan
from casedb.ages import format_age
from casedb.cli.output import MAX_COLUMNS, print_table, seconds, size
from casedb.marks import Mark


def print_plan(plan: RestorePlan, where: str) -> None:
    """Print a plan for people: what there is, what will be done, and what stands against it."""
    print_table(["", "the plan"], _rows(plan, where))
    click.echo()
    lines = [f"{number}. {step}" for number, step in enumerate(plan.steps, 1)]
    for line in [*lines, *(f"note: {note}" for note in plan.notes)]:
        click.echo(textwrap.fill(line, MAX_COLUMNS, subsequent_indent="   "))
    click.echo()
    for refusal in plan.refusals:
        click.echo(f"REFUSED: {refusal.message}\n  {refusal.detail}\n  {refusal.hint}")


def _rows(plan: RestorePlan, where: str) -> list[tuple[str, str]]:
    drilled = plan.drilled
    proof = (
        f"drilled {drilled.at:%Y-%m-%d %H:%M} UTC: {drilled.outcome}"
        f"{'' if drilled.access_probed else ', without access'}"
        if drilled
        else "never drilled"
    )
    rows = [
        ("backup", f"{plan.label} of {plan.store}"),
        (
            "taken",
            f"{plan.taken_at:%Y-%m-%d %H:%M:%S} UTC, {format_age(plan.age)} ago; "
            "what was written since is not in it",
        ),
        ("proof", proof),
        ("server", f"PostgreSQL {plan.server.version}, {where}"),
        ("live", _live(plan)),
    ]
    if plan.live:
        rows.append(("written since", _written(plan)))
        rows += _kept(plan.live)
    if plan.pooler:
        rows.append(
            ("pooler", f"{plan.pooler}: PAUSE, the swap, RESUME; its clients see a pause only")
        )
    free = plan.server.free_bytes
    rows += [
        (
            "disk",
            f"needs {size(plan.need_bytes)}, {'unknown' if free is None else size(free)} free",
        ),
        ("roles", _roles(plan)),
    ]
    took = plan.estimate
    whole = "" if plan.part is None else " for all of it"
    rows.append(
        (
            "takes about",
            f"{seconds(took.seconds)}{whole}, by the drill of {took.drilled_label}"
            if took
            else "unknown: nothing was drilled yet",
        )
    )
    return rows


def _live(plan: RestorePlan) -> str:
    live = plan.live
    if live is None:
        return "no: there is no database of this name yet"
    mark = live.mark.value if live.is_marked else "production (it has no mark)"
    lines = [f"yes: {size(live.size_bytes)}, marked {mark}, {live.session_count} sessions"]
    return "\n".join([*lines, *session_lines(live.sessions)])


def session_lines(sessions: Sequence[Sessions]) -> list[str]:
    """Return for people who is connected, a line for each role, program and address."""
    return [
        f"{s.sessions} of {s.role} from {s.address}, {s.program}, {s.busy} busy" for s in sessions
    ]


def _kept(live: LiveState) -> list[tuple[str, str]]:
    since = f" at {live.swapped_at:%Y-%m-%d %H:%M:%S} UTC" if live.swapped_at else ""
    rows = [("restored", f"from {live.restored}{since}")] if live.restored else []
    lines = [
        f'"{found.name}", {size(found.size_bytes)}'
        + (": what undo-restore swaps back" if found.name == live.previous else "")
        for found in live.kept
    ]
    return rows + ([("kept", "\n".join(lines))] if lines else [])


def _written(plan: RestorePlan) -> str:
    assert plan.live is not None
    if plan.live.written is None:
        return "could not be counted"
    lines = [
        f"{w.table}: {w.rows_in_backup} rows in the backup, {w.rows_now} now"
        for w in plan.live.written
    ]
    return "\n".join(lines) or "every table has as many rows as in the backup"


def _roles(plan: RestorePlan) -> str:
    lines = [f"missing: {', '.join(plan.missing_roles)}" if plan.missing_roles else "all there"]
    if plan.roles_to_let_in:
        lines.append(f"need LOGIN and a password afterwards: {', '.join(plan.roles_to_let_in)}")
    if plan.roles_without_password:
        lines.append(f"have no password here: {', '.join(plan.roles_without_password)}")
    return "\n".join(lines)


def print_report(
    report: RestoreReport, mark: Mark, *, let_in: Sequence[str], documents: bool
) -> None:
    """Print for people what a restore did.

    `let_in` are roles that cannot log in yet; `documents` is whether their bucket is known.
    """
    roots = "" if report.same_roots is None else ", the heads of the audit trail"
    click.echo(
        f'{report.label} is now database "{report.database}"'
        + ("" if report.swap else f", marked {mark.value}")
        + f"\n{report.tables} tables, {report.rows} rows, {report.catalog_rows} facts of the "
        f"catalog{roots}: as the manifest says ({seconds(report.duration_s)})"
    )
    _print_phases_and_roles(report, let_in)
    if swap := report.swap:
        click.echo(
            f"unavailable for {swap.unavailable_s:.2f} s; {swap.ended_sessions} sessions ended\n"
            f'the old database is kept, read-only: "{swap.kept}"'
        )
        if swap.not_restored is None:
            click.echo("what was written since the backup could not be counted")
        else:
            click.echo("written since the backup, and in the kept database only:")
            for line in swap.not_restored or ("nothing",):
                click.echo(f"  {line}")
        click.echo("Back again: casedb undo-restore", err=True)
    else:
        click.echo(f"Look at it: casedb shell --database {report.database}", err=True)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    if documents:
        words = f" --database {report.database}" if not report.swap else ""
        offer_documents(words)


def offer_documents(words: str = "") -> None:
    """Name the command that compares the documents; `words` are the options it needs."""
    click.echo(f"Do the documents agree with it? casedb documents check{words}", err=True)


def _print_phases_and_roles(report: RestoreReport | PartialReport, let_in: Sequence[str]) -> None:
    print_table(["phase", "time"], [(p, seconds(s)) for p, s in report.phases_s.items()])
    if report.created_roles:
        click.echo(f"created without login: {', '.join(report.created_roles)}")
    for role in let_in:
        name = sql.Identifier(role).as_string()
        click.echo(f"Let it log in, in psql: ALTER ROLE {name} LOGIN; \\password {name}", err=True)


def print_part(report: PartialReport, *, let_in: Sequence[str]) -> None:
    """Print for people how the live database differs from the part; `let_in` as above."""
    click.echo(
        f'a part of {report.label} is in database "{report.database}"\n'
        f"{report.rows} rows, {report.catalog_rows} facts of the catalog: as the manifest says "
        f"({seconds(report.duration_s)})"
    )
    _print_phases_and_roles(report, let_in)
    if report.compared_with is None:
        click.echo("there is no live database to compare it with", err=True)
    for table in report.tables:
        found = (
            f"{table.changed} rows changed, {table.only_in_backup} only in the backup, "
            f"{table.only_in_live} only in the live database"
        )
        if table.not_compared:
            found = f"not compared: {table.not_compared}"
        click.echo(f"{table.table}: {found}")
        for difference, key in table.shown:
            click.echo(f"  {difference}: {', '.join(key)}")
        if table.note:
            click.echo(f"  note: {table.note}")
    for line in report.schema or ():
        click.echo(f"  {line}")
    if report.schema == ():
        click.echo("the live schema is the backup's")
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"Look at it: casedb shell --database {report.database}", err=True)
    click.echo(done_with(report.database), err=True)
