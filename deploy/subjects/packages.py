"""PostgreSQL from Debian or PGDG, without the cluster that its package would make by itself."""

from pathlib import Path
from typing import Any

from pyinfra.api import deploy

from deploy import pgdg
from deploy.conf import Place
from deploy.operations.system import managed_file, packages

# The package would make a cluster without checksums, and in SQL_ASCII where the locale is C.
_CREATE_CLUSTER = """\
# Written by casedb; a change made here is put back.
create_main_cluster = false
add_include_dir = 'conf.d'
"""


@deploy("Packages")
def install(place: Place, codename: str, data: dict[str, Any]) -> None:
    """Install the server and what its extensions need; hold the server."""
    wait_s = data["apt_wait_s"]
    packages(
        name="Install the tools that manage clusters",
        names=["postgresql-common"],
        wait_s=wait_s,
    )
    _choose_source(codename, data["pgdg"])
    managed_file(
        name="Keep the package from making a cluster by itself",
        path="/etc/postgresql-common/createcluster.conf",
        content=_CREATE_CLUSTER,
    )
    server = f"postgresql-{place.major}"
    packages(
        name=f"Install PostgreSQL {place.major}",
        names=[
            server,
            f"postgresql-client-{place.major}",
            f"postgresql-{place.major}-pgaudit",
            *data["extra_packages"],
        ],
        held=[server],
        wait_s=wait_s,
    )


def _choose_source(codename: str, wanted: dict[str, Any] | None) -> None:
    """Have PGDG as a source, or not: pinned before it is named, so that nothing else slips in."""
    key = (
        Path(wanted["key"]).expanduser().read_text("ascii") if wanted and "key" in wanted else None
    )
    files = {
        pgdg.PIN_FILE: pgdg.PIN if wanted is not None else None,
        pgdg.KEY_FILE: key,
        pgdg.SOURCE_FILE: None
        if wanted is None
        else pgdg.source(wanted, codename, own_key=key is not None),
    }
    for path, content in files.items():
        managed_file(name=f"PGDG: {Path(path).name}", path=path, content=content)
