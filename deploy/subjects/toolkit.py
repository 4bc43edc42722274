"""casedb on the host, and the schema by way of it."""

from pathlib import Path
from typing import Any

from pyinfra.api import deploy

from deploy.conf import SERVICE_USER, Place
from deploy.operations.system import account, managed_file, packages
from deploy.operations.toolkit import installed, schema
from deploy.toolkit import (
    COMMAND,
    COMMAND_FILE,
    HOME,
    PACKAGES,
    SETTINGS_FILE,
    settings_text,
    toolkit,
)

_WHEELS = Path(".casedb/wheels")


@deploy("Toolkit")
def equip(place: Place, data: dict[str, Any]) -> None:
    """Install casedb with its account and settings; its first database is the one it works on."""
    packages(name="Install what casedb runs on", names=list(PACKAGES), wait_s=data["apt_wait_s"])
    account(name="Make the toolkit's account", user=SERVICE_USER, home=HOME)
    managed_file(
        name="Write the toolkit's settings",
        path=SETTINGS_FILE,
        content=settings_text(
            place,
            port=int(data["pg_port"]),
            database=next(iter(data["databases"]), "postgres"),
            chosen=data["toolkit_settings"],
        ),
    )
    installed(name="Install casedb", toolkit=toolkit(), cache=_WHEELS)
    managed_file(
        name="Make casedb a command of the host", path=COMMAND_FILE, content=COMMAND, mode="755"
    )


@deploy("Schema")
def migrate(data: dict[str, Any]) -> None:
    """Bring the schema of each database to its head."""
    for name in data["databases"]:
        schema(name=f"Bring the schema of {name} to its head", database=name)
