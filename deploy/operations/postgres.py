"""Roles, databases, grants, extensions: what is in a running server."""

from collections.abc import Mapping, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from deploy.changes import Change, note
from deploy.facts import forget, host_data, host_state, role_files
from deploy.operations.system import Commands
from deploy.sending import failing, sql_command
from deploy.statements import (
    Database,
    Grants,
    Role,
    Statement,
    database_statements,
    extension_statements,
    grant_statements,
    quote_name,
    role_statements,
)

_DOWN = "the server does not answer"


@operation()
def roles(wishes: Sequence[Role]) -> Commands:
    """Make roles what `wishes` say: attributes, passwords, memberships, settings, comments.

    In one transaction: all of it, or none.
    """
    server, problem = server_or_problem()
    if problem:
        yield failing(problem)
        return
    statements = []
    for wish in wishes:
        found = server["roles"].get(wish.name)
        made = role_statements(found, wish)
        if made:
            note(host, Change(f"role {wish.name}", tuple(f"+{statement}" for statement in made)))
        statements += made
    yield from _run("roles", statements, noted_already=True)


@operation()
def database(wish: Database) -> Commands:
    """Make a database what `wish` says; one that is not there gets its name when it is whole."""
    server, problem = server_or_problem()
    if problem:
        yield failing(problem)
        return
    found = server["databases"].get(wish.name)
    statements = database_statements(found, wish)
    yield from _run(f"database {wish.name}", statements, transaction=found is not None)


@operation()
def grants(
    database: str, kind: str, object_name: str, wanted: dict[str, Sequence[str]]
) -> Commands:
    """Leave just these privileges on a DATABASE, SCHEMA or TABLE; the owner's are left alone."""
    server, problem = server_or_problem()
    if problem:
        yield failing(problem)
        return
    places = {
        "DATABASE": server["databases"],
        "SCHEMA": server["contents"].get(database, {}).get("schemas", {}),
        "TABLE": server["contents"].get(database, {}).get("tables", {}),
    }
    found = places[kind].get(object_name)
    if found is None:
        # While a plan is made on an empty server, an operation before this one will make it.
        if not host.state.is_executing:
            note(host, Change(f"grants on {kind.lower()} {object_name}", ("once it is there",)))
        yield failing(f"there is no {kind.lower()} {object_name} in {database}")
        return
    quoted = object_name if kind == "TABLE" else quote_name(object_name)
    wish = Grants(kind, quoted, found["owner"], {g: frozenset(p) for g, p in wanted.items()})
    statements = grant_statements(found["grants"], wish)
    yield from _run(f"grants on {kind.lower()} {object_name}", statements, database=database)


@operation()
def extensions(database: str, wanted: Mapping[str, bool]) -> Commands:
    """Make extensions be in a database, in their newest installed version, or (False) be gone."""
    server, problem = server_or_problem()
    if problem:
        yield failing(problem)
        return
    found = server["contents"].get(database, {"extensions": {}})["extensions"]
    statements = [
        statement
        for name, present in wanted.items()
        for statement in extension_statements(found.get(name), name, present=present)
    ]
    yield from _run(f"extensions in {database}", statements, database=database)


@operation()
def access(database: str) -> Commands:
    """Apply sql/roles/: the application's roles, and who may enter this database and its schemas.

    Whether anything differs is found out by a trial that is rolled back.
    """
    server, problem = server_or_problem()
    if problem:
        yield failing(problem)
        return
    found = server["access"].get(database)
    if found and "error" in found:
        yield failing(f"sql/roles/ fails on {database}: {found['error']}")
        return
    if found is None:
        note(host, Change(f"roles and access of {database}", ("+sql/roles/",)))
    elif found["before"] != found["after"]:
        gone = [f"-{line}" for line in found["before"] if line not in found["after"]]
        new = [f"+{line}" for line in found["after"] if line not in found["before"]]
        note(host, Change(f"roles and access of {database}", (*gone, *new)))
    else:
        host.noop("roles and access are as wanted")
        return
    yield sql_command(f"BEGIN;\n{role_files()}\nCOMMIT;", port=_port(), database=database)
    forget()


def _run(
    what: str,
    statements: list[Statement],
    *,
    database: str = "postgres",
    transaction: bool = True,
    noted_already: bool = False,
) -> Commands:
    if not statements:
        host.noop(f"{what} is as wanted")
        return
    if not noted_already:
        note(host, Change(what, tuple(f"+{statement}" for statement in statements)))
    sql = ";\n".join(statement.sql for statement in statements) + ";"
    # CREATE DATABASE cannot be part of a transaction.
    whole = f"BEGIN;\n{sql}\nCOMMIT;" if transaction else sql
    yield sql_command(whole, port=_port(), database=database)
    forget()


def server_or_problem() -> tuple[dict[str, Any], str]:
    """Return what the current host's server has and no problem, or an empty server and the problem.

    While a plan is made, a server that does not run yet counts as empty; while operations run, the
    ones before have started it.
    """
    server = host_state()["server"]
    if server is not None and "error" not in server:
        return server, ""
    if server is None and not host.state.is_executing:
        return {"roles": {}, "databases": {}, "contents": {}, "access": {}}, ""
    return {}, (server or {}).get("error", _DOWN)


def _port() -> int:
    return int(host_data()["pg_port"])
