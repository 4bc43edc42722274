"""PgBouncer before the server: connections for many clients, none of which meets another."""

from typing import Any

from pyinfra.api import deploy

from casedb.roles import POOLER
from deploy import pooler_host
from deploy.conf import Place
from deploy.facts import HostFailedError
from deploy.machine import Machine
from deploy.operations.pooler import no_pooler, pooled, pooler_account
from deploy.operations.system import packages
from deploy.operations.tls import Holder
from deploy.pki import utc_now
from deploy.secrets import resolve
from deploy.settings import settings
from deploy.subjects.tls import secure
from deploy.window import may_restart

_POSTGRESQLS_CONNECTIONS = "100"


@deploy("Pooler")
def pool(place: Place, machine: Machine, facts: dict[str, Any], data: dict[str, Any]) -> None:
    """Put PgBouncer before the server if `data` ask for it, else take ours away."""
    if not data["pooler"]:
        no_pooler(name="Have no pooler of ours")
        return
    if POOLER not in data["passwords"]:
        raise HostFailedError(
            f"the pooler logs in as {POOLER}, whose password the inventory does not name: "
            f'passwords = {{"{POOLER}": "file:..."}}'
        )
    if not data["databases"]:
        raise HostFailedError("the inventory names no database to put a pooler before")
    tuned = {s.name: s.value for lines in settings(machine, data).values() for s in lines}
    wish = pooler_host.Wish(
        databases=tuple(data["databases"]),
        server_port=int(data["pg_port"]),
        max_connections=int(tuned.get("max_connections", _POSTGRESQLS_CONNECTIONS)),
        password=resolve(data["passwords"][POOLER]),
        listen=data["pooler_listen"],
        port=int(data["pooler_port"]),
        networks=tuple(data["client_networks"]),
        chosen=data["pooler_settings"],
    )
    packages(
        name="Install PgBouncer",
        names=[pooler_host.PACKAGE],
        held=[pooler_host.PACKAGE],
        wait_s=data["apt_wait_s"],
    )
    pooler_account(name="Make PgBouncer's account")
    secure(
        hostname=str(facts["hostname"]),
        holder=Holder("pooler", pooler_host.ACCOUNT, pooler_host.UNIT),
    )
    pooled(
        name="Put PgBouncer's configuration in place, proven first",
        wish=wish,
        cluster_unit=place.unit,
        may_restart=may_restart(data["restart"], now=utc_now()),
    )
