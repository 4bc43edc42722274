"""Backups that run by themselves."""

from typing import Any

from pyinfra.api import deploy

from deploy.conf import SERVICE_USER
from deploy.operations.system import account_folders
from deploy.operations.timers import timers
from deploy.timers import Kind, units, wanted
from deploy.toolkit import folders


@deploy("Timers")
def schedule(kind: Kind, data: dict[str, Any]) -> None:
    """Have the timers that a host of this kind and these data has, and no others of ours."""
    found = wanted(data, kind)
    settings = data["toolkit_settings"]
    if data["toolkit"]:
        account_folders(
            name="Make the folders of backups, their log and their metrics",
            wanted=folders(settings),
            owner=SERVICE_USER,
        )
    timers(
        name="Have the timers of backups wait",
        wanted=found,
        units=units(found, settings),
    )
