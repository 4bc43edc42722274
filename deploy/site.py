"""Everything a host becomes, in order. `casedb host` runs it, and so does plain pyinfra:

pyinfra inventories/containers.py deploy/run.py
"""

from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from casedb.tools import SUPPORTED_MAJORS
from deploy.conf import Place
from deploy.facts import HostFailedError, host_data, host_state
from deploy.machine import Disk, Machine, machine_from_facts
from deploy.operations.cluster import cluster
from deploy.subjects.configuration import configure
from deploy.subjects.contents import extend, fill
from deploy.subjects.firewall import guard
from deploy.subjects.kernel import prepare_kernel
from deploy.subjects.logrotate import rotate_logs
from deploy.subjects.packages import install
from deploy.subjects.pgadmin import administer
from deploy.subjects.pooler import pool
from deploy.subjects.timers import schedule
from deploy.subjects.tls import secure
from deploy.subjects.toolkit import equip, migrate
from deploy.timers import DRILL_GROUP, Kind, kind_of

SUPPORTED = {"12": 15, "13": 17}
"""Debian's releases, and the PostgreSQL each of them has."""


@deploy("casedb")
def site() -> None:
    """Make the current host a tuned, secured PostgreSQL server, or one that drills its backups.

    Raises:
        HostFailedError: this host cannot be one.
        ValueError: its data make no sense.
    """
    facts = host_state()
    data = host_data()
    place = place_of(facts, data)
    machine = machine_from_facts(facts["machine"], pg_major=place.major, disk=Disk(data["disk"]))
    kind = kind_of(host.groups)
    if kind is Kind.DRILL and facts["files"][place.made_by_us]:
        raise HostFailedError(
            f"it has a cluster of ours ({place.major}/{place.name}): a host of group "
            f"{DRILL_GROUP} holds the key of backups, and no database"
        )
    install(place=place, codename=facts["os"]["version_codename"], data=data)
    if kind is Kind.DATABASE:
        serve(facts, place, machine, data)
    if data["toolkit"]:
        equip(place=place, kind=kind, data=data)
        if data["migrate"] and kind is Kind.DATABASE:
            migrate(data=data)
    if kind is Kind.DATABASE:
        administer(place=place, hostname=str(facts["hostname"]), data=data)
    schedule(kind=kind, data=data)


def serve(facts: dict[str, Any], place: Place, machine: Machine, data: dict[str, Any]) -> None:
    """Make the current host's PostgreSQL a tuned, secured server."""
    prepare_kernel(machine=machine, data=data)
    cluster(
        name=f"Make cluster {place.major}/{place.name} with checksums",
        place=place,
        port=int(data["pg_port"]),
        adopt=bool(data["adopt"]),
    )
    secure(hostname=str(facts["hostname"]))
    configure(place=place, machine=machine, data=data)
    guard(data=data)
    fill(data=data)
    extend(data=data)
    pool(place=place, machine=machine, facts=facts, data=data)
    rotate_logs()


def place_of(facts: dict[str, Any], data: dict[str, Any]) -> Place:
    """Return where the cluster is.

    Raises:
        HostFailedError: it is no Debian that we support, or has no such PostgreSQL.
    """
    system, major = facts["os"], facts["major"]
    if system["id"] != "debian" or system["version_id"] not in SUPPORTED:
        raise HostFailedError(
            f"{system['id']} {system['version_id']} is not supported; Debian 12 and 13 are"
        )
    of_debian = SUPPORTED[system["version_id"]]
    if major != of_debian and data["pgdg"] is None:
        raise HostFailedError(
            f"Debian {system['version_id']} has PostgreSQL {of_debian}; "
            f"{major} needs pgdg in the inventory"
        )
    if major not in SUPPORTED_MAJORS:
        raise HostFailedError(f"PostgreSQL {major} is not supported; 15 to 18 are")
    return Place(int(major), data["pg_cluster"])
