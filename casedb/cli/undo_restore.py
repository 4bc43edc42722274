"""`casedb undo-restore`: swap back."""

import click

from backups.undo import plan_undo
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
from casedb.connections import Verb, target_for
from casedb.settings import Settings


@click.command()
@pooler_option
@confirm_option("the database's name")
@json_option
@settings_options()
def undo_restore(
    settings: Settings, pooler: str | None, confirm: str | None, as_json: bool
) -> None:
    """Swap the database back that a restore replaced.

    A swap and not a merge: the restored database is kept in its turn, read-only. If it was
    written to since the restore, that has to be confirmed, or it is refused with exit code 7. Done
    twice, everything is as it was.

    \b
    Example:
        casedb undo-restore
    """
    database = settings.values.database
    admin = target_for(settings, Verb.RESTORE).replace(dbname="postgres")
    with progress("undo") as tell:
        plan = plan_undo(admin, database, on_progress=tell)
    if plan.needs_confirmation:
        lines = plan.changes or ("Nobody can tell what was written to it.",)
        question = "\n".join(
            [
                f'Database "{database}" was written to since it got its name. '
                "These rows will be in the kept database only:",
                *(f"  {line}" for line in lines),
            ]
        )
        require_confirmation(question, database, confirm)
    with progress("undo") as tell:
        report = swap_back(
            admin, plan, confirmed=True, pooler=pooler_of(settings, pooler), on_progress=tell
        )
    if as_json:
        print_json(report)
        return
    click.echo(
        f'"{report.now}" is database "{database}" again '
        f"(unavailable for {report.unavailable_s:.2f} s)\n"
        f'the other one is kept, read-only: "{report.kept}"'
    )
    for line in report.changes or ():
        click.echo(f"only in the kept one: {line}")
