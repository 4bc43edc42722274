"""`casedb query`: the named queries."""

import json
import shlex
from typing import Any
from uuid import UUID

import click

from casedb import queries
from casedb.cli.acting import actor_named, as_option, param_option, read_params, reading
from casedb.cli.options import json_option, settings_options
from casedb.cli.output import plain, print_json, print_table
from casedb.queries import Answer, NamedQuery
from casedb.settings import Settings


@click.command()
@click.argument("name", required=False)
@as_option
@param_option
@json_option
@settings_options()
def query(
    settings: Settings,
    name: str | None,
    email: str | None,
    words: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run one of the back end's queries; without NAME, list them.

    With --as it sees what that user sees, without it everything. It changes nothing.

    \b
    Example:
        casedb query my_open_cases --as clerk@example.com --param page_size=10
    """
    if name is None:
        _list(as_json)
        return
    wanted = queries.load(name)
    given = read_params(words)
    # A parameter that is wrong is said before anybody connects.
    queries.bind(wanted, given)
    actor = actor_named(settings, email) if email else None
    with reading(settings, actor, purpose="query") as connection:
        answer = queries.run(connection, wanted, given)
    if as_json:
        print_json(_as_json(wanted, email, answer))
    else:
        _print(wanted, email, answer)


def _list(as_json: bool) -> None:
    found = [queries.load(name) for name in queries.names()]
    if as_json:
        print_json({"queries": [_described(each) for each in found]})
        return
    print_table(
        ["query", "parameters", "what it answers"],
        [
            (each.name, " ".join(p.name for p in each.parameters), each.description)
            for each in found
        ],
    )


def _described(wanted: NamedQuery) -> dict[str, object]:
    return {
        key: plain(getattr(wanted, key))
        for key in ("name", "description", "parameters", "columns", "budget")
    }


def _as_json(wanted: NamedQuery, email: str | None, answer: Answer) -> dict[str, object]:
    names = [column.name for column in answer.columns]
    return {
        "query": wanted.name,
        "as": email,
        "columns": plain(answer.columns),
        "rows": [dict(zip(names, map(_cell, row), strict=True)) for row in answer.rows],
        "next_page": {k: _cell(v) for k, v in answer.next_page.items()}
        if answer.next_page
        else None,
    }


def _print(wanted: NamedQuery, email: str | None, answer: Answer) -> None:
    if len(answer.rows) == 1 and len(answer.columns) > 6:
        _print_record(answer)
    else:
        shown = [[_text(value) for value in row] for row in answer.rows]
        print_table([column.name for column in answer.columns], shown)
    click.echo(f"{len(answer.rows)} row{'' if len(answer.rows) == 1 else 's'}")
    if answer.next_page:
        more = [f"--param {name}={_text(value)}" for name, value in answer.next_page.items()]
        who = [f"--as {shlex.quote(email)}"] if email else []
        click.echo(" ".join(["next page: casedb query", wanted.name, *who, *more]))


def _print_record(answer: Answer) -> None:
    """Print one wide row as its columns, one below the other, and what is nested as lines."""
    for column, value in zip(answer.columns, answer.rows[0], strict=True):
        if not isinstance(value, list):
            click.echo(f"{column.name}: {_text(value)}")
            continue
        click.echo(f"{column.name}: {len(value)}")
        for entry in value:
            click.echo(f"  {json.dumps(plain(entry), ensure_ascii=False)}")


def _cell(value: object) -> Any:
    return str(value) if isinstance(value, UUID) else plain(value)


def _text(value: object) -> str:
    cell = _cell(value)
    return "" if cell is None else str(cell)
