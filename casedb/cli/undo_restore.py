"""`casedb undo-restore`: swap back."""

from functools import partial

import click

from backups.reports import UndoReport
from backups.stores import open_store
from backups.swap import WrittenMeanwhileError
from backups.undo import UndoPlan, plan_undo
from backups.undo import undo_restore as swap_back
from casedb.cli.options import (
    confirm_option,
    json_option,
    pooler_of,
    pooler_option,
    require_confirmation,
    settings_options,
)
from casedb.cli.output import print_json, progress
from casedb.cli.restore_output import offer_documents
from casedb.cli.signals import Story, signals_after
from casedb.connections import Verb, target_for
from casedb.settings import Settings

# The server's own statistics are rows too, so that one look can be in vain.
_LOOKS = 3


@click.command()
@click.argument("kept", required=False)
@pooler_option
@confirm_option("the database's name")
@json_option
@settings_options(store=True)
def undo_restore(
    settings: Settings, kept: str | None, pooler: str | None, confirm: str | None, as_json: bool
) -> None:
    """Swap the database back that a restore replaced.

    Or KEPT, any other one that was kept of the same name: `casedb drop-kept` lists them.

    A swap and not a merge: the restored database is kept in its turn, read-only. If its rows, its
    large objects, its catalog or its sequences have changed since the restore, up to the moment of
    the swap, that has to be confirmed, or it is refused with exit code 7. Done twice, everything is
    as it was. A report is kept in the store.

    \b
    Example:
        casedb undo-restore
    """
    with signals_after(settings, "undo-restore", (settings.store_url,)) as story:
        report = _undo(settings, kept, pooler, confirm, story)
        story.label = report.backup
        print_json(report) if as_json else _print(report)
        if settings.values.documents and not as_json:
            offer_documents()
        story.require_nothing_left()


def _undo(
    settings: Settings, kept: str | None, pooler: str | None, confirm: str | None, story: Story
) -> UndoReport:
    admin = target_for(settings, Verb.RESTORE).replace(dbname="postgres")
    console = pooler_of(settings, pooler)
    store = open_store(settings.store_url)
    for looks_left in reversed(range(_LOOKS)):
        with progress("undo") as tell:
            plan = plan_undo(
                admin,
                settings.values.database,
                kept,
                # Who has confirmed it already need not wait for what would be asked.
                look=confirm is None,
                store=store,
                on_progress=tell,
            )
        if plan.needs_confirmation:
            require_confirmation(_question(plan), plan.database, confirm)
        try:
            with progress("undo") as tell:
                return swap_back(
                    admin,
                    plan,
                    confirmed=plan.needs_confirmation,
                    store=store,
                    pooler=console,
                    on_progress=tell,
                    on_done=partial(
                        story.tell, f'"{plan.kept}" is database "{plan.database}" again'
                    ),
                )
        except WrittenMeanwhileError:
            # Looked at again, it is known what was written, and that is asked.
            if not looks_left:
                raise
    raise AssertionError("the last look returns or raises")


def _question(plan: UndoPlan) -> str:
    lines = plan.changes or ("Nobody can tell what was changed.",)
    return "\n".join(
        [
            f'Database "{plan.database}" was changed since it got its name. '
            "This will be in the kept database only:",
            *(f"  {line}" for line in lines),
            f'It is swapped with "{plan.kept}".',
            *(f'Kept as well, to be named instead: "{other}".' for other in plan.others),
        ]
    )


def _print(report: UndoReport) -> None:
    click.echo(
        f'"{report.now}" is database "{report.database}" again '
        f"(unavailable for {report.unavailable_s:.2f} s)\n"
        f'the other one is kept, read-only: "{report.kept}"'
    )
    for line in report.changes or ():
        click.echo(f"only in the kept one: {line}")
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
