"""`casedb compose`: the local stack of docker-compose.yml."""

import os
import shlex

import click

from casedb import compose as stacks
from casedb.cli.bringup import BringUp
from casedb.cli.options import confirm_option, json_option, require_confirmation, settings_options
from casedb.cli.output import print_json, print_table, progress
from casedb.cli.up import print_steps
from casedb.compose import Service, Stack
from casedb.compose_env import ENV_FILE, make_env, port_of
from casedb.settings import Settings

_HEADINGS = ["service", "image", "state", "health", "address"]


@click.group()
def compose() -> None:
    """The local stack with Docker: PostgreSQL and pgAdmin."""


@compose.command()
@json_option
@settings_options()
def env(settings: Settings, as_json: bool) -> None:
    """Make the .env with random passwords and free ports; one that is there stays as it is.

    \b
    Example:
        casedb compose env
    """
    ports = make_env(settings.root)
    path = settings.root / ENV_FILE
    if as_json:
        print_json({"file": path, "made": ports is not None, "ports": ports or {}})
        return
    click.echo(f"{path} is there and stays as it is" if ports is None else f"made {path}")
    for name, port in (ports or {}).items():
        click.echo(f"  {name}={port}")


@compose.command()
@click.option("--pooler", is_flag=True, help="PgBouncer too.")
@json_option
@settings_options()
def up(settings: Settings, pooler: bool, as_json: bool) -> None:
    """Start the stack, wait until it is healthy, migrate and seed; safe to repeat.

    \b
    Example:
        casedb compose up --pooler
    """
    stack = _stack(settings)
    with progress("compose up") as tell:
        work = BringUp(settings, tell, reset="casedb compose reset")
        with work.step("services") as step:
            found = stacks.up(stack, pooler=pooler, tell=tell)
            step.result = ", ".join(f"{s.name} {s.health or s.state}" for s in found)
        work.prepare(stack)
    conninfo = stack.server().dsn
    if as_json:
        print_json({"steps": work.steps, "services": found, "conninfo": conninfo})
        return
    print_steps(work.steps)
    pgadmin = port_of(stack.settings(), "PGADMIN_PORT")
    click.echo(
        f"""
Connect:      casedb shell --conninfo {shlex.quote(conninfo)}
              or, for all commands: export CASEDB_CONNINFO={shlex.quote(conninfo)}
pgAdmin:      http://127.0.0.1:{pgadmin}, {_email(stack)}, PGADMIN_PASSWORD in {ENV_FILE}
Passwords:    {stack.root / ENV_FILE}, {stack.passfile}
Try next:     casedb compose status
              casedb compose down              stop it, keep its data"""
    )


@compose.command()
@json_option
@settings_options()
def status(settings: Settings, as_json: bool) -> None:
    """List the stack's services.

    \b
    Example:
        casedb compose status
    """
    found = stacks.status(_stack(settings))
    if as_json:
        print_json({"services": found})
        return
    print_table(_HEADINGS, [_row(service) for service in found])
    if not found:
        click.echo("there is none; casedb compose up starts it")


@compose.command()
@json_option
@settings_options()
def down(settings: Settings, as_json: bool) -> None:
    """Stop the stack; its data stay.

    \b
    Example:
        casedb compose down
    """
    with progress("compose down") as tell:
        tell("stopping the services")
        stacks.down(_stack(settings))
    if as_json:
        print_json({"stopped": True})
        return
    click.echo("stopped; the data stay in the stack's volumes")


@compose.command()
@confirm_option("the stack's name")
@json_option
@settings_options()
def reset(settings: Settings, confirm: str | None, as_json: bool) -> None:
    """Remove the stack with all its data, of PostgreSQL and of pgAdmin.

    Backups and .env stay.

    \b
    Example:
        casedb compose reset --confirm casedb
    """
    stack = _stack(settings)
    name = stacks.project(stack)
    require_confirmation(
        f'This deletes stack "{name}" with its databases; backups stay.', name, confirm
    )
    with progress("compose reset") as tell:
        tell("removing containers and volumes")
        stacks.remove_data(stack)
    if as_json:
        print_json({"removed": name})
        return
    click.echo(f'removed stack "{name}" and its data; casedb compose up makes a new one')


def _stack(settings: Settings) -> Stack:
    return Stack(settings.root, settings.home, dict(os.environ))


def _email(stack: Stack) -> str:
    return stack.settings().get("PGADMIN_EMAIL", "") or "admin@example.com"


def _row(service: Service) -> tuple[str, ...]:
    return (service.name, service.image, service.state, service.health, service.address)
