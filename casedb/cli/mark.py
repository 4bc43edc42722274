"""`casedb mark`: what a database is for."""

import click

from casedb.cli.options import (
    confirm_option,
    json_option,
    require_confirmation,
    settings_options,
)
from casedb.cli.output import print_json
from casedb.connections import Verb, target_for
from casedb.database import connect
from casedb.marks import Mark, is_marked, read_mark, set_mark
from casedb.settings import Settings


@click.command()
@click.argument("mark", required=False, type=click.Choice([m.value for m in Mark]))
@confirm_option("the database's name")
@json_option
@settings_options()
def mark(settings: Settings, mark: str | None, confirm: str | None, as_json: bool) -> None:
    """Show or set what the database is for.

    A mark is development, staging or production: seed and reset work on development databases only,
    and an unmarked database counts as production. Making a production database less than that has
    to be confirmed.

    \b
    Example:
        casedb mark staging
    """
    target = target_for(settings, Verb.RESTORE if mark else Verb.STATUS)
    database = settings.values.database
    with connect(target, purpose="mark") as connection:
        found, marked = read_mark(connection), is_marked(connection)
        if mark and Mark(mark) is not found:
            if found is Mark.PRODUCTION and marked:
                require_confirmation(
                    f'Database "{database}" is marked production.', database, confirm
                )
            set_mark(connection, database, Mark(mark))
            found, marked = read_mark(connection), True
        elif mark and not marked:
            set_mark(connection, database, Mark(mark))
            marked = True
    if as_json:
        print_json({"database": database, "mark": found.value, "marked": marked})
    else:
        click.echo(
            f'database "{database}" is marked {found.value}'
            if marked
            else f'database "{database}" has no mark and counts as production'
        )
