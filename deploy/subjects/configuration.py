"""Settings and access rules, out of the machine's facts and the host's data."""

from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from deploy.conf import IDENT_CONF, Place, render
from deploy.facts import HostFailedError
from deploy.hba import Rule, check, local_rules
from deploy.hba import render as render_rules
from deploy.machine import Disk, Machine, machine_from_facts
from deploy.operations.cluster import configuration
from deploy.pki import utc_now
from deploy.settings import settings
from deploy.window import may_restart


@deploy("Configuration")
def configure(place: Place, facts: dict[str, Any], data: dict[str, Any]) -> None:
    """Write postgresql.conf, pg_hba.conf and pg_ident.conf, proven before they count."""
    machine = machine_of(place, facts, data)
    rules: list[Rule] = data["hba_rules"] or local_rules(data["client_networks"])
    if problems := check(rules):
        raise HostFailedError("pg_hba.conf is refused: " + "; ".join(problems))
    configuration(
        name="Put the configuration in place, proven first",
        place=place,
        files={
            "postgresql.conf": render(place, settings(machine, data)),
            "pg_hba.conf": render_rules(rules),
            "pg_ident.conf": IDENT_CONF,
        },
        may_restart=may_restart(data["restart"], now=utc_now()),
        memory_limit_bytes=machine.memory_limit_bytes,
    )
    host.noop("configuration prepared")


def machine_of(place: Place, facts: dict[str, Any], data: dict[str, Any]) -> Machine:
    """Return the machine that tuning is for."""
    known = {**facts["machine"], "data_free_bytes": _steady(facts["machine"]["data_free_bytes"])}
    return machine_from_facts(known, pg_major=place.major, disk=Disk(data["disk"]))


def _steady(free_bytes: int) -> int:
    """Return the free space rounded down to a power of two.

    It changes with every file that somebody writes; the configuration must not.
    """
    return 1 << max(free_bytes.bit_length() - 1, 0)
