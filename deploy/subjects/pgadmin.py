"""pgAdmin, on the hosts of group pgadmin: served with TLS, its group's servers in its tree."""

from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from deploy import pgadmin as about
from deploy.conf import Place
from deploy.facts import HostFailedError, data_of, has_pgadmin, host_state
from deploy.operations.pgadmin import no_pgadmin, pgadmin
from deploy.operations.system import account, managed_file, packages
from deploy.pgadmin_files import configuration
from deploy.pgadmin_state import port_problem
from deploy.pki import authority, utc_now
from deploy.secrets import resolve
from deploy.subjects.tls import names_of
from deploy.toolkit import toolkit


@deploy("pgAdmin")
def administer(place: Place, hostname: str, data: dict[str, Any]) -> None:
    """Have pgAdmin if the host is in its group, else take ours away."""
    if not has_pgadmin():
        no_pgadmin(name="Have no pgAdmin")
        return
    wish = _wish(place, hostname, data)
    problems = about.check(wish)
    if taken := port_problem(host_state(), wish):
        problems.append(taken)
    if problems:
        raise HostFailedError("pgAdmin is refused: " + "; ".join(problems))
    packages(
        name="Install what pgAdmin runs on",
        names=list(about.PACKAGES),
        unstarted=about.UNSTARTED,
        wait_s=data["apt_wait_s"],
    )
    account(name="Make pgAdmin's account", user=about.USER, home=about.HOME)
    for path, content in configuration(wish).items():
        managed_file(name=f"pgAdmin: write {Path(path).name}", path=path, content=content)
    pgadmin(name="Bring pgAdmin up with its user and servers", wish=wish)


def _wish(place: Place, hostname: str, data: dict[str, Any]) -> about.Wish:
    if data["pgadmin_password"] is None:
        raise HostFailedError("pgAdmin's first user has no password; pgadmin_password names one")
    chosen = data["pgadmin_requirements"]
    requirements = Path(chosen).expanduser() if chosen else toolkit().root / about.REQUIREMENTS
    try:
        pinned = requirements.read_text("utf-8")
    except OSError as error:
        raise HostFailedError(f"{requirements} cannot be read: {error.strerror}") from None
    ours = authority(Path(data["pki_folder"]), now=utc_now())
    return about.Wish(
        release=about.release(pinned),
        email=data["pgadmin_email"],
        password=resolve(data["pgadmin_password"]),
        servers=_servers(),
        listen=data["pgadmin_listen"],
        port=int(data["pgadmin_port"]),
        names=names_of(hostname, data),
        bindir=place.bindir,
        authority_pem=ours.certificate_pem,
    )


def _servers() -> tuple[about.Server, ...]:
    """Return this host's own server, and those of its groups that listen to others."""
    groups = set(host.groups) - {about.GROUP, "all"}
    found = []
    for one in (host, *(other for other in host.inventory if other.name != host.name)):
        data = data_of(one)
        reached = one.name == host.name or data["listen_addresses"] != "localhost"
        if not reached or not groups & set(one.groups):
            continue
        if about.ROLE not in data["passwords"]:
            raise HostFailedError(
                f"pgAdmin enters {one.name} as {about.ROLE}; passwords names no password of it"
            )
        # A certificate has this name: what pgAdmin connects to is checked by it.
        address = "localhost" if one.name == host.name else (data["tls_names"] or [one.name])[0]
        found.append(
            about.Server(
                name=one.name,
                address=address,
                port=int(data["pg_port"]),
                database=next(iter(data["databases"]), "postgres"),
                password=resolve(data["passwords"][about.ROLE]),
            )
        )
    return tuple(found)
