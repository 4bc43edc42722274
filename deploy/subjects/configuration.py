"""Settings and access rules, out of the machine's facts and the host's data."""

from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from deploy.conf import Place, ident_conf, render
from deploy.facts import HostFailedError
from deploy.hba import TOOLKIT_ROLES, Rule, check, local_rules
from deploy.hba import render as render_rules
from deploy.machine import Machine
from deploy.operations.cluster import configuration
from deploy.pki import utc_now
from deploy.settings import settings
from deploy.window import may_restart


@deploy("Configuration")
def configure(place: Place, machine: Machine, data: dict[str, Any]) -> None:
    """Write postgresql.conf, pg_hba.conf and pg_ident.conf, proven before they count."""
    service = TOOLKIT_ROLES if data["toolkit"] else ()
    rules: list[Rule] = data["hba_rules"] or local_rules(data["client_networks"], service)
    if problems := check(rules):
        raise HostFailedError("pg_hba.conf is refused: " + "; ".join(problems))
    configuration(
        name="Put the configuration in place, proven first",
        place=place,
        files={
            "postgresql.conf": render(place, settings(machine, data)),
            "pg_hba.conf": render_rules(rules),
            "pg_ident.conf": ident_conf(service),
        },
        may_restart=may_restart(data["restart"], now=utc_now()),
        memory_limit_bytes=machine.memory_limit_bytes,
    )
    host.noop("configuration prepared")
