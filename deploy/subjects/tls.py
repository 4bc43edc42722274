"""TLS: an authority of the site, and a certificate for each host."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from pyinfra.api import deploy

from deploy.facts import host_data
from deploy.operations.tls import certificate
from deploy.pki import authority, utc_now


@deploy("TLS")
def secure(hostname: str) -> None:
    """Give the host a certificate for its own name, how we reach it, and what the data name."""
    data = host_data()
    certificate(
        name="Issue or renew the server's certificate",
        authority=authority(Path(data["pki_folder"]), now=utc_now()),
        names=names_of(hostname, data),
        renew_before=timedelta(days=data["tls_renew_before_days"]),
    )


def names_of(hostname: str, data: dict[str, Any]) -> tuple[str, ...]:
    """Return all that a host is called by those who check its certificate."""
    # localhost too: tools on the host use TLS as everybody else does.
    return tuple(dict.fromkeys([hostname, "localhost", "127.0.0.1", *data["tls_names"]]))
