"""casedb on the host: itself, and the schema by its own `migrate`."""

import base64
from pathlib import Path

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from deploy.changes import Change, note
from deploy.facts import forget, host_state
from deploy.operations.postgres import server_or_problem
from deploy.operations.system import Commands
from deploy.sending import failing, installing
from deploy.toolkit import COMMAND_FILE, FOLDER, INSTALLED_FILE, Toolkit, migrations


@operation()
def installed(toolkit: Toolkit, *, cache: Path) -> Commands:
    """Install just this toolkit; one that is there already stays in use until the new one works."""
    file = host_state()["files"][INSTALLED_FILE] or {}
    has = file.get("content", "").strip()
    if has == toolkit.identity:
        host.noop("it is installed")
        return
    note(host, Change(FOLDER, (*([f"-{has}"] if has else []), f"+{toolkit.identity}")))
    if not host.state.is_executing:
        # A plan builds nothing.
        yield StringCommand("true")
        return
    try:
        wheel = toolkit.wheel(cache)
    except ValueError as error:
        yield failing(str(error))
        return
    yield installing(
        {
            "folder": FOLDER,
            "identity": toolkit.identity,
            "requirements": toolkit.requirements,
            "wheel_name": wheel.name,
            "wheel": base64.b64encode(wheel.read_bytes()).decode("ascii"),
        }
    )
    forget()


@operation()
def schema(database: str, *, wait_s: int = 60) -> Commands:
    """Apply the pending migrations, by `casedb migrate` on the host, as case_migrator."""
    server, problem = server_or_problem()
    if problem:
        yield failing(problem)
        return
    applied = server["contents"].get(database, {}).get("migrations", [])
    pending = [name for name in migrations() if name not in applied]
    if not pending:
        host.noop("the schema is at its head")
        return
    note(host, Change(f"schema of {database}", tuple(f"+{name}" for name in pending)))
    yield StringCommand(
        COMMAND_FILE, "migrate apply --wait", str(wait_s), "--database", QuoteString(database)
    )
    forget()
