"""`casedb key`: keys for encrypted backups."""

from pathlib import Path

import click

from backups.sealing import new_key
from casedb.cli.options import json_option
from casedb.cli.output import print_json


@click.group()
def key() -> None:
    """Keys for encrypted backups."""


@key.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def new(file: Path, as_json: bool) -> None:
    """Write a new secret key into FILE, and print its public half.

    Keep FILE away from the database's host, and a copy of it in a safe: without it no encrypted
    backup can be opened, by anybody. The public half goes into `recipients` in casedb.toml.

    \b
    Example:
        casedb key new /etc/casedb/backup.key
    """
    public = new_key(file)
    if as_json:
        print_json({"file": file, "public_key": public})
    else:
        click.echo(public)
