"""PostgreSQL from Debian, without the cluster that its package would make by itself."""

from pyinfra.api import deploy

from deploy.conf import Place
from deploy.operations.system import managed_file, packages

# The package would make a cluster without checksums, and in SQL_ASCII where the locale is C.
_CREATE_CLUSTER = """\
# Written by casedb; a change made here is put back.
create_main_cluster = false
add_include_dir = 'conf.d'
"""


@deploy("Packages")
def install(place: Place, extra: list[str]) -> None:
    """Install the server and what its extensions need; hold the server."""
    packages(
        name="Install the tools that manage clusters",
        names=["postgresql-common"],
    )
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
            *extra,
        ],
        held=[server],
    )
