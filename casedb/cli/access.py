"""`casedb access`: who may do what, tried on the database itself."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from backups.attempt import Wish
from backups.catalog import LATEST, resolve_label
from backups.in_memory import folder_in_memory
from backups.load import load_roles
from backups.restore import restore
from backups.stores import open_store
from casedb.access import (
    Answer,
    Cell,
    Outcome,
    Stranger,
    Verb,
    differences,
    read_expected,
)
from casedb.access_probe import probe
from casedb.cli.options import json_option, keys_of, settings_options
from casedb.cli.output import Tell, print_error, print_json, print_table, progress
from casedb.connections import Verb as Purpose
from casedb.connections import client_tools, target_for
from casedb.conninfo import Conninfo
from casedb.database import connect
from casedb.errors import BackupDamagedError, DifferenceError, ExitCode
from casedb.marks import Mark, read_mark
from casedb.settings import Settings
from casedb.throwaway import throwaway_cluster

# A name of its own: the backup's roles include one called postgres.
_COPY_SUPERUSER = "casedb_access"


@click.command()
@click.option("--live", is_flag=True, help="Probe the database itself although it is production.")
@click.option("--backup", "label", metavar="LABEL", help="Probe a restored copy of this backup.")
@json_option
@settings_options(store=True)
def access(settings: Settings, live: bool, label: str | None, as_json: bool) -> int:
    """Probe what each role may do, against what is expected.

    Everything is tried for real in one transaction that is rolled back, on rows that nobody else
    can see. For a database marked production (or without a mark), the newest backup is restored
    into a throwaway cluster and tried there, unless --live. What is expected stands in
    sql/access/expected.csv.

    Exit code 9 when a cell is not as expected, or a right is found that the matrix does not know.

    \b
    Example:
        casedb access
        casedb access --backup latest --json
    """
    if live and label:
        raise click.UsageError("--live and --backup exclude each other.")
    expected = read_expected()
    with progress("access") as tell, _place(settings, live, label, tell) as (target, where):
        on_copy = where != "live"
        found, strangers = probe(target, expected, harmless=not on_copy, on_step=tell)
    return _report(settings.values.database, where, expected, found, strangers, as_json=as_json)


@contextmanager
def _place(
    settings: Settings, live: bool, label: str | None, tell: Tell
) -> Iterator[tuple[Conninfo, str]]:
    """Yield where to probe, and in words: "live", or the label of the backup that was restored."""
    if label is None:
        # To read the mark takes no more than to look.
        with connect(target_for(settings, Purpose.STATUS), purpose="access") as connection:
            mark = read_mark(connection)
        if live or mark is not Mark.PRODUCTION:
            yield target_for(settings, Purpose.RESTORE), "live"
            return
    with _copy(settings, label or LATEST, tell) as (target, chosen):
        yield target, chosen


@contextmanager
def _copy(settings: Settings, wanted: str, tell: Tell) -> Iterator[tuple[Conninfo, str]]:
    """Restore a backup, with its own roles, into a throwaway cluster; yield its superuser there."""
    store = open_store(settings.store_url)
    database = settings.values.database
    backup = resolve_label(store, database, wanted)
    if backup.manifest is None:
        raise BackupDamagedError(
            f'backup "{backup.label}" has no readable manifest',
            detail=backup.damage,
            hint="Probe another one; `casedb backups` lists them.",
        )
    tools = client_tools(settings, backup.manifest.server_major)
    keys = keys_of(settings, None)
    tell("making a throwaway cluster")
    folder = folder_in_memory(backup.manifest)
    with throwaway_cluster(tools, superuser=_COPY_SUPERUSER, folder=folder) as admin:
        # Roles as the backup has them, and not as sql/roles says: what is probed is what was there.
        load_roles(store, backup.manifest, admin, keys)
        wish = Wish(backup.label, database)
        restore(store, wish, admin, tools=tools, keys=keys, record=False, on_progress=tell)
        yield admin.replace(dbname=database), backup.label


def _report(
    database: str,
    where: str,
    expected: Mapping[Cell, Outcome],
    found: Mapping[Cell, Answer],
    strangers: tuple[Stranger, ...],
    *,
    as_json: bool,
) -> int:
    wrong = differences(found, expected)
    well = not wrong and not strangers
    if as_json:
        cells = [
            {
                "role": cell.role,
                "target": cell.target,
                "rows": cell.rows,
                "verb": cell.verb,
                "expected": outcome,
                "found": found[cell].outcome if cell in found else None,
                "sqlstate": found[cell].sqlstate if cell in found else None,
                "message": found[cell].message if cell in found else None,
            }
            for cell, outcome in expected.items()
        ]
        print_json(
            {
                "database": database,
                "probed": where,
                "well": well,
                "cells": cells,
                "differences": [str(d) for d in wrong],
                "strangers": list(strangers),
            }
        )
    else:
        print_table(["role", "target", "rows", *Verb], list(_lines(expected, found)))
        place = "itself" if where == "live" else f"as restored from {where}"
        left_out = len(expected) - len(found)
        click.echo(f'\n{len(found)} cells tried on database "{database}" {place}')
        if left_out:
            click.echo(f"{left_out} left out (.): on a live table TRUNCATE would stop everybody")
    if well:
        return ExitCode.WELL
    said = [*(str(d) for d in wrong), *(_about(s) for s in strangers)]
    print_error(
        DifferenceError(
            f"{len(said)} differences from the expected access",
            detail="\n".join(said),
            hint="Put the policies and grants back (casedb migrate status shows whether they are "
            "those of the migrations), or change sql/access/expected.csv if this is meant.",
        )
    )
    return ExitCode.DIFFERENT


def _about(stranger: Stranger) -> str:
    if not stranger.grantee:
        return f"{stranger.target}: no line of the matrix is about it"
    return f"{stranger.target}: {stranger.grantee} has rights on it, and is not in the matrix"


def _lines(expected: Mapping[Cell, Outcome], found: Mapping[Cell, Answer]) -> Iterator[list[str]]:
    """Yield the matrix: a line for a role, a target and whose rows; a role is named once."""
    shown = ""
    for role, target, rows in dict.fromkeys((c.role, c.target, c.rows) for c in expected):
        words = []
        for verb in Verb:
            cell = Cell(role, target, rows, verb)
            outcome = expected.get(cell)
            if outcome is None:
                words.append("")
            elif cell not in found:
                words.append(".")
            else:
                same = found[cell].outcome is outcome
                words.append(found[cell].outcome if same else f"{found[cell].outcome} (!)")
        yield [role if role != shown else "", target, rows, *words]
        shown = role
