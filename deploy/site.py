"""Everything a host becomes, in order. `casedb host` runs it, and so does plain pyinfra:

pyinfra inventories/containers.py deploy/run.py
"""

from typing import Any

from pyinfra.api import deploy

from deploy.conf import Place
from deploy.facts import HostFailedError, host_data, host_state
from deploy.operations.cluster import cluster
from deploy.subjects.configuration import configure
from deploy.subjects.contents import extend, fill
from deploy.subjects.logrotate import rotate_logs
from deploy.subjects.packages import install
from deploy.subjects.tls import secure

SUPPORTED = {"12": 15, "13": 17}
"""Debian's releases, and the PostgreSQL each of them has."""


@deploy("casedb")
def site() -> None:
    """Make the current host a tuned, secured PostgreSQL server.

    Raises:
        HostFailedError: this host cannot be one.
        ValueError: its data make no sense.
    """
    facts = host_state()
    place = place_of(facts)
    data = host_data()
    install(place=place, extra=list(data["extra_packages"]))
    cluster(
        name=f"Make cluster {place.major}/{place.name} with checksums",
        place=place,
        port=int(data["pg_port"]),
    )
    secure(hostname=str(facts["hostname"]))
    configure(place=place, facts=facts, data=data)
    fill(data=data)
    extend(data=data)
    rotate_logs()


def place_of(facts: dict[str, Any]) -> Place:
    """Return where the cluster is.

    Raises:
        HostFailedError: it is no Debian that we support, or has no such PostgreSQL.
    """
    system = facts["os"]
    if system["id"] != "debian" or system["version_id"] not in SUPPORTED:
        raise HostFailedError(
            f"{system['id']} {system['version_id']} is not supported; Debian 12 and 13 are"
        )
    return Place(int(facts["major"]), host_data()["pg_cluster"])
