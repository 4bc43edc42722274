"""The one fact of ours: all that provisioning compares, gathered in one round trip and remembered.

pyinfra asks for a fact again whenever an operation does; over a slow line that is what takes the
time. Whatever changes a host calls `forget`, and the next operation asks anew.
"""

import json
import time
from typing import Any

from pyinfra import host
from pyinfra.api import FactBase
from pyinfra.api.exceptions import PyinfraError

from casedb.sqlfiles import folder, read_sql
from deploy import firewall, kernel, pgadmin, pgadmin_state, pgdg, pooler_host, timers, toolkit
from deploy.conf import MADE_BY_US, SERVICE_USER
from deploy.defaults import DEFAULTS
from deploy.sending import asking_how_it_stands, gathering

_REMEMBERED = "casedb_state"
_SINCE = "casedb_state_since"


class HostFailedError(Exception):
    """A host cannot be provisioned as it is; the others can."""


class HostState(FactBase[dict[str, Any]]):
    """What a program of deploy/remote/ found; it goes in by way of `_stdin`."""

    def command(self) -> str:
        """Return the command; python3 reads its program from standard input."""
        return "python3 -"

    def requires_command(self, *_args: Any, **_kwargs: Any) -> str:
        """Return what has to be there."""
        return "python3"

    def process(self, output: list[str]) -> dict[str, Any]:
        """Return the object in the last line of `output`."""
        found: dict[str, Any] = json.loads(output[-1])
        return found


def host_state() -> dict[str, Any]:
    """Return the state of the current host, asked for at most once between two changes.

    Raises:
        HostFailedError: it could not be gathered.
    """
    remembered: dict[str, Any] | None = host.connector_data.get(_REMEMBERED)
    if remembered is None:
        remembered = _answer(gathering(asked()))
        host.connector_data[_REMEMBERED] = remembered
        host.connector_data[_SINCE] = time.monotonic()
    return remembered


def host_standing() -> dict[str, Any]:
    """Return how the current host stands: its timers and runs, its backups, its room.

    Raises:
        HostFailedError: it could not be gathered.
        ValueError: its data make no sense.
    """
    data = host_data()
    kind = timers.kind_of(host.groups)
    stores = toolkit.local_stores(data["toolkit_settings"])
    data_folder = "/var/lib/postgresql" if kind is timers.Kind.DATABASE else "/var/tmp"
    return _answer(
        asking_how_it_stands(
            {
                "kind": kind.value,
                "timers": [timer.unit for timer in timers.wanted(data, kind)],
                "log": data["toolkit_settings"].get("log_file", toolkit.LOG_FILE),
                "command": toolkit.COMMAND_FILE,
                "databases": list(data["databases"]) if data["toolkit"] else [],
                "disks": [data_folder, *(stores or [toolkit.HOME])],
                "port": int(data["pg_port"]),
            }
        )
    )


def _answer(program: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] | None = host.get_fact(HostState, _stdin=program)
    except PyinfraError:
        # It says that no host remains; why, only its log knows.
        found = None
    if found is None:
        raise HostFailedError(
            "its state could not be gathered: is python3 installed, and may we become root?"
        )
    return found


def forget(*, older_than_s: float = 0) -> None:
    """Say that something has changed on the current host, or may have in that time."""
    if time.monotonic() - host.connector_data.get(_SINCE, 0) >= older_than_s:
        host.connector_data.pop(_REMEMBERED, None)


def host_data() -> dict[str, Any]:
    """Return the current host's data, the defaults where it says nothing."""
    return data_of(host)


def data_of(one: Any) -> dict[str, Any]:
    """Return the data of one host of the inventory, the defaults where it says nothing."""
    return {name: one.data.get(name, default) for name, default in DEFAULTS.items()}


def has_pgadmin() -> bool:
    """Whether the inventory wants pgAdmin on the current host."""
    return pgadmin.GROUP in host.groups


def asked() -> dict[str, Any]:
    """Return what has to be gathered from the current host, by its data."""
    data = host_data()
    kind = timers.kind_of(host.groups)
    wanted = timers.wanted(data, kind)
    etc = f"/etc/postgresql/{{major}}/{data['pg_cluster']}"
    live = f"/var/lib/postgresql/{{major}}/{data['pg_cluster']}"
    return {
        "major": data["pg_version"],
        "cluster": data["pg_cluster"],
        "packages": [
            "postgresql-common",
            "postgresql-{major}",
            "postgresql-client-{major}",
            "postgresql-{major}-pgaudit",
            *toolkit.PACKAGES,
            "nftables",
            pooler_host.PACKAGE,
            *(pgadmin.PACKAGES if has_pgadmin() else ()),
            *data["extra_packages"],
        ],
        # The path, and whether its content must not leave the host.
        "files": {
            "/etc/postgresql-common/createcluster.conf": False,
            "/etc/logrotate.d/postgresql-common": False,
            f"{etc}/postgresql.conf": False,
            f"{etc}/pg_hba.conf": False,
            f"{etc}/pg_ident.conf": False,
            f"{live}/postgresql.auto.conf": False,
            "/etc/casedb/tls/ca.crt": False,
            "/etc/casedb/tls/server.crt": False,
            "/etc/casedb/tls/server.key": True,
            f"{live}/{MADE_BY_US}": False,
            kernel.SYSCTL_FILE: False,
            kernel.LIMITS_FILE: False,
            firewall.RULES_FILE: False,
            firewall.UNIT_FILE: False,
            pgdg.SOURCE_FILE: False,
            pgdg.PIN_FILE: False,
            pgdg.KEY_FILE: False,
            toolkit.SETTINGS_FILE: False,
            toolkit.COMMAND_FILE: False,
            toolkit.HOME: False,
            toolkit.INSTALLED_FILE: False,
            toolkit.KEY_FILE: True,
            toolkit.CREDENTIALS_FILE: True,
            **dict.fromkeys(toolkit.folders(data["toolkit_settings"]), False),
            **dict.fromkeys(timers.units((), {}), False),
            **{path: path == pooler_host.PASSWORDS_FILE for path in pooler_host.FILES},
            pooler_host.CERTIFICATE_FILE: False,
            pooler_host.KEY_FILE: True,
            pgadmin.UNIT_FILE: False,
            pgadmin.WEB_UNIT_FILE: False,
            **(pgadmin_state.asked_files(data["pgadmin_email"]) if has_pgadmin() else {}),
        },
        "kind": kind.value,
        "timers": [timer.unit for timer in wanted],
        "sysctl": [*kernel.ASKED, *(n for n in data["sysctl"] if n not in kernel.ASKED)],
        "accounts": [SERVICE_USER, *([pgadmin.USER] if has_pgadmin() else [])],
        "pgadmin": pgadmin_state.asked(
            email=data["pgadmin_email"], listen=data["pgadmin_listen"], port=data["pgadmin_port"]
        )
        if has_pgadmin()
        else None,
        "firewall": {"table": firewall.TABLE, "loaded": firewall.LOADED_FILE},
        "firewall_unit": firewall.UNIT,
        "pooler": {
            "unit": pooler_host.UNIT,
            "account": pooler_host.ACCOUNT,
            "sockets": pooler_host.SOCKETS,
            "passwords_file": pooler_host.PASSWORDS_FILE,
            "database": next(iter(data["databases"]), ""),
        },
        "databases": list(data["databases"]),
        "server_sql": read_sql("catalog/host-server.sql"),
        "database_sql": read_sql("catalog/host-database.sql"),
        "access_sql": read_sql("catalog/host-access.sql"),
        "roles_sql": {name: role_files() for name in data["databases"]},
    }


def role_files() -> str:
    """Return the text of sql/roles/, without its transactions."""
    text = [
        read_sql(f"roles/{path.name}") for path in sorted((folder("sql") / "roles").glob("*.sql"))
    ]
    return "\n".join(
        line for part in text for line in part.splitlines() if line not in ("BEGIN;", "COMMIT;")
    )
