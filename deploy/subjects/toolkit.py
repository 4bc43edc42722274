"""casedb on the host, and the schema by way of it."""

from pathlib import Path
from typing import Any

from pyinfra.api import deploy

from deploy import pooler_host
from deploy.conf import SERVICE_USER, Place
from deploy.facts import host_state
from deploy.operations.system import account, managed_file, packages
from deploy.operations.toolkit import installed, schema
from deploy.pki import utc_now
from deploy.secrets import resolve_text
from deploy.timers import Kind, age_limits, is_encrypted, metrics_file, wanted
from deploy.toolkit import (
    COMMAND,
    COMMAND_FILE,
    CREDENTIALS_FILE,
    HOME,
    KEY_FILE,
    LOG_FILE,
    PACKAGES,
    SETTINGS_FILE,
    settings_text,
    toolkit,
)
from deploy.window import may_restart

_WHEELS = Path(".casedb/wheels")


@deploy("Toolkit")
def equip(place: Place, kind: Kind, data: dict[str, Any]) -> None:
    """Install casedb with its account and settings; its first database is the one it works on."""
    packages(name="Install what casedb runs on", names=list(PACKAGES), wait_s=data["apt_wait_s"])
    account(name="Make the toolkit's account", user=SERVICE_USER, home=HOME)
    database = next(iter(data["databases"]), "postgres")
    managed_file(
        name="Write the toolkit's settings",
        path=SETTINGS_FILE,
        content=settings_text(
            place,
            port=int(data["pg_port"]),
            database=database,
            chosen={
                "log_file": LOG_FILE,
                "metrics_file": metrics_file(database),
                **({"key_file": KEY_FILE} if _has_key(kind, data) else {}),
                **age_limits(wanted(data, kind)),
                **({"pooler": _console(data)} if _has_pooler(kind, data) else {}),
                **data["toolkit_settings"],
            },
        ),
    )
    for path, reference in ((KEY_FILE, "backup_key"), (CREDENTIALS_FILE, "store_credentials")):
        if data[reference]:
            # Never removed: without its key a backup is nothing, and it may have been made there.
            managed_file(
                name=f"Have {Path(path).name} for the toolkit alone",
                path=path,
                content=resolve_text(data[reference]).rstrip("\n") + "\n",
                user=SERVICE_USER,
                group=SERVICE_USER,
                mode="400",
                secret=True,
            )
    installed(name="Install casedb", toolkit=toolkit(), cache=_WHEELS)
    managed_file(
        name="Make casedb a command of the host", path=COMMAND_FILE, content=COMMAND, mode="755"
    )


def _has_key(kind: Kind, data: dict[str, Any]) -> bool:
    return bool(data["backup_key"]) or (kind is Kind.DRILL and is_encrypted(data))


def _has_pooler(kind: Kind, data: dict[str, Any]) -> bool:
    return kind is Kind.DATABASE and bool(data["pooler"])


def _console(data: dict[str, Any]) -> str:
    return pooler_host.console(
        host_state()["pooler"],
        int(data["pooler_port"]),
        may_restart=may_restart(data["restart"], now=utc_now()),
    )


@deploy("Schema")
def migrate(data: dict[str, Any]) -> None:
    """Bring the schema of each database to its head."""
    for name in data["databases"]:
        schema(name=f"Bring the schema of {name} to its head", database=name)
