"""`casedb reset`: start over."""

import click

from casedb.cli.bringup import BringUp
from casedb.cli.options import confirm_option, require_confirmation, settings_options
from casedb.cli.output import progress
from casedb.cli.up import print_steps
from casedb.connections import embedded_admin, embedded_tools
from casedb.database import connect
from casedb.databases import exists
from casedb.marks import require_development
from casedb.server import EmbeddedServer
from casedb.settings import Settings


@click.command()
@confirm_option("the database's name")
@settings_options(store=True)
def reset(settings: Settings, confirm: str | None) -> None:
    """Start over with an empty development database.

    Deletes the embedded server's data and brings it up again with the demo data. Only where the
    database is marked development. Backups stay.

    \b
    Example:
        casedb reset --confirm case_management
    """
    server = EmbeddedServer(settings.home)
    database = settings.values.database
    with progress("reset") as on_step:
        # The mark is in the database, so the server has to run to tell it.
        if server.status().major is not None:
            server.start(embedded_tools(settings), on_step=on_step)
            if exists(embedded_admin(server, "postgres"), database):
                with connect(embedded_admin(server, database), purpose="reset") as connection:
                    require_development(connection, "reset")
    require_confirmation(
        f'This deletes database "{database}" and all else in {server.data_dir}; backups stay.',
        database,
        confirm,
    )
    with progress("reset") as on_step:
        on_step("deleting")
        server.remove_data()
        steps = BringUp(settings, on_step).run()
    print_steps(steps)
