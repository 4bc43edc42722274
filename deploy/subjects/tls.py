"""TLS: an authority of the site, and a certificate for each host."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from pyinfra.api import deploy

from deploy.facts import host_data
from deploy.operations.tls import SERVER, Holder, certificate
from deploy.pki import authority, utc_now


@deploy("TLS")
def secure(hostname: str, holder: Holder = SERVER) -> None:
    """Give `holder` a certificate: for the host's name, how we reach it, what the data name."""
    data = host_data()
    certificate(
        name=f"Issue or renew the certificate of the {holder.name}",
        authority=authority(Path(data["pki_folder"]), now=utc_now()),
        names=names_of(hostname, data),
        renew_before=timedelta(days=data["tls_renew_before_days"]),
        holder=holder,
    )


def names_of(hostname: str, data: dict[str, Any]) -> tuple[str, ...]:
    """Return all that a host is called by those who check its certificate."""
    # localhost too: tools on the host use TLS as everybody else does.
    return tuple(dict.fromkeys([hostname, "localhost", "127.0.0.1", *data["tls_names"]]))
