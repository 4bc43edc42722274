"""The firewall: the server's port is for the networks of its clients."""

from typing import Any

from pyinfra.api import deploy

from deploy.firewall import rules
from deploy.operations.firewall import firewall, no_firewall
from deploy.operations.system import packages


@deploy("Firewall")
def guard(data: dict[str, Any]) -> None:
    """Guard the port if `data` ask for it, else take our rules away."""
    if not data["firewall"]:
        no_firewall(name="Have no firewall of ours")
        return
    packages(name="Install nftables", names=["nftables"], wait_s=data["apt_wait_s"])
    ports = [int(data["pg_port"]), *([int(data["pooler_port"])] if data["pooler"] else [])]
    firewall(name="Guard the server's port", rules=rules(ports, data["client_networks"]))
