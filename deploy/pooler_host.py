"""PgBouncer on a host, before its server: what its files say. Pure.

It runs as an account of its own: as postgres, which is what Debian gives it, whoever takes it over
would be let into the server as superuser, by peer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from casedb.roles import POOLER
from deploy import hba, pooler
from deploy.sandbox import SANDBOX

PACKAGE = "pgbouncer"
ACCOUNT = "pgbouncer"
UNIT = "pgbouncer.service"
SOCKETS = "/run/pgbouncer"
INI_FILE = "/etc/pgbouncer/pgbouncer.ini"
PASSWORDS_FILE = "/etc/pgbouncer/userlist.txt"
RULES_FILE = "/etc/pgbouncer/hba.conf"
DROP_IN_FILE = f"/etc/systemd/system/{UNIT}.d/casedb.conf"
"""It says that this PgBouncer is ours: it came with our account and went last."""
AUTHORITY_FILE = "/etc/casedb/tls/ca.crt"
CERTIFICATE_FILE = "/etc/casedb/tls/pooler.crt"
KEY_FILE = "/etc/casedb/tls/pooler.key"
FILES = (INI_FILE, PASSWORDS_FILE, RULES_FILE, DROP_IN_FILE)
STATE_FOLDER = "/var/lib/casedb/configure/pooler"
"""Root's alone: the files that were last good, the password among them."""

CONSOLE_USER = "postgres"
"""Who may PAUSE: whoever restores, as postgres on this host."""
APPLICATION = "case_app"

_OF_DEBIAN = {"12": (1, 18), "13": (1, 24)}
_HEADING = "Written by casedb from the inventory; a change made here is put back."
# Chosen in an inventory, they would open what is closed, or let one client's session reach another.
_FIXED = re.compile(
    r"(auth|admin|stats|(client|server)_tls|server_reset|unix_socket|listen)_.*"
    r"|pool_mode|user|pidfile|logfile|conffile|max_db_connections"
)


@dataclass(frozen=True)
class Wish:
    """What a host's data ask of its pooler."""

    databases: tuple[str, ...]
    server_port: int
    max_connections: int
    """The server's."""
    password: str = field(repr=False)
    """Of case_pooler."""
    listen: str = "127.0.0.1"
    port: int = pooler.PORT
    networks: tuple[str, ...] = ()
    """Where clients come from, beside this machine."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """Settings beside or instead of ours."""


@dataclass(frozen=True)
class Wanted:
    """What a host is to have."""

    settings: dict[str, str]
    """What PgBouncer itself says of them, in these words; not those that the wish chose."""
    chosen: dict[str, str]
    files: dict[str, dict[str, str]]
    """Content, user, group and mode by path."""


def is_there(state: Mapping[str, Any]) -> bool:
    """Whether a host whose state is gathered has a PgBouncer of ours."""
    return bool(state["files"].get(DROP_IN_FILE))


def wanted(wish: Wish, *, version: tuple[int, int], cluster_unit: str, hard_files: int) -> Wanted:
    """Return settings and files for PgBouncer of `version` before the server of `cluster_unit`.

    `hard_files` is how many open files a service may have at most.

    Raises:
        ValueError: the wish makes no sense; says why.
    """
    if fixed := sorted(name for name in wish.chosen if _FIXED.fullmatch(name)):
        raise ValueError(f"pooler_settings cannot set {', '.join(fixed)}")
    if problems := hba.check(_server_side(rules(wish))):
        raise ValueError("the pooler's rules are refused: " + "; ".join(problems))
    if strange := sorted(name for name in wish.chosen if not re.fullmatch("[a-z_]+", name)):
        raise ValueError(f"{strange[0]!r} is no name of a setting")
    for words in (wish.password, wish.listen, *map(str, wish.chosen.values()), *wish.databases):
        if any(ord(character) < 32 for character in words):
            raise ValueError("a pooler's setting or password has no line breaks")
    sizes = pooler.sizes(wish.max_connections, databases=len(wish.databases))
    settings = {
        **pooler.settings(sizes, version=version, auth_file=PASSWORDS_FILE, listen=wish.listen),
        "listen_port": str(wish.port),
        "auth_type": "hba",
        "auth_hba_file": RULES_FILE,
        "unix_socket_dir": SOCKETS,
        "admin_users": CONSOLE_USER,
        # The server sees all clients come from here; its log then still says from where they came.
        "application_name_add_host": "1",
        "client_tls_sslmode": "require",
        "client_tls_protocols": "secure",
        "client_tls_cert_file": CERTIFICATE_FILE,
        "client_tls_key_file": KEY_FILE,
        "server_tls_sslmode": "verify-full",
        "server_tls_protocols": "secure",
        "server_tls_ca_file": AUTHORITY_FILE,
    }
    chosen = {name: str(value) for name, value in wish.chosen.items()}
    ours = {name: value for name, value in settings.items() if name not in chosen}
    # By address: the certificate names it, and a name may resolve to where nobody listens.
    databases = {
        _name(name): f"host=127.0.0.1 port={wish.server_port} dbname={_quoted(name)}"
        for name in wish.databases
    }
    content = {
        INI_FILE: f"; {_HEADING}\n\n{pooler.ini(databases, ours | chosen)}",
        PASSWORDS_FILE: _passwords(wish.password),
        RULES_FILE: hba.render(rules(wish)),
        DROP_IN_FILE: _drop_in(cluster_unit, min(hard_files, sizes.clients * 2 + 1000)),
    }
    secret = {"user": "root", "group": ACCOUNT, "mode": "640"}
    shown = {"user": "root", "group": "root", "mode": "644"}
    files = {
        path: {"content": text, **(shown if path == DROP_IN_FILE else secret)}
        for path, text in content.items()
    }
    return Wanted(ours, chosen, files)


def console(found: Mapping[str, Any], port: int, *, may_restart: bool) -> str:
    """Return where a restore pauses the clients, in libpq's words; for CONSOLE_USER, by peer.

    `found` is what was gathered of a PgBouncer. One that waits for its restart is still where it
    was, and not yet at `port`.
    """
    stays = not may_restart and found["runs_as"] == ACCOUNT and found["port"]
    at = found["port"] if stays else port
    return f"host={SOCKETS} port={at} dbname=pgbouncer user={CONSOLE_USER}"


def rules(wish: Wish) -> list[hba.Rule]:
    """Return who may come to the pooler: the application alone, and the console's users."""
    app = (APPLICATION,)
    found = [
        hba.Rule("local", ("pgbouncer",), (CONSOLE_USER,), method="peer",
                 comment="the console: a restore pauses here"),
        hba.Rule("local", wish.databases, (POOLER,),
                 comment="what `casedb host check` tries, by the pooler's own way to the server"),
        hba.Rule("local", wish.databases, app, comment="the application, on this machine"),
    ]  # fmt: skip
    for network in ("127.0.0.1/32", "::1/128", *wish.networks):
        found.append(hba.Rule("hostssl", wish.databases, app, network))
    return found


def _server_side(found: list[hba.Rule]) -> list[hba.Rule]:
    """Return the rules behind the one that a server of ours has to begin with."""
    return [hba.Rule("local", ("all",), ("postgres",), method="peer"), *found]


def asked(
    wish: Wish, target: Wanted, *, restart: bool, fixed: list[str], timeout_s: int
) -> dict[str, Any]:
    """Return what deploy/remote/pooling.py has to know."""
    return {
        "files": target.files,
        "state_folder": STATE_FOLDER,
        "settings": target.settings,
        "pending": [] if restart else fixed,
        "restart": restart,
        "unit": UNIT,
        "account": ACCOUNT,
        "sockets": SOCKETS,
        "port": wish.port,
        "database": wish.databases[0],
        "ini_file": INI_FILE,
        "passwords_file": PASSWORDS_FILE,
        "rules_file": RULES_FILE,
        "authority_file": AUTHORITY_FILE,
        "timeout_s": timeout_s,
    }


def version_of(package: str | None, debian: str) -> tuple[int, int]:
    """Return PgBouncer's version by that of its package, else the one that this Debian has.

    >>> version_of("1.18.0-1+deb12u1", "12"), version_of(None, "13")
    ((1, 18), (1, 24))
    """
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)", package or "")
    return (int(found[1]), int(found[2])) if found else _OF_DEBIAN[debian]


def differing(settings: Mapping[str, str], config: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the names of `settings` of which a running PgBouncer says something else."""
    return sorted(
        name
        for name, value in settings.items()
        if name not in config or not _same(config[name]["value"], value)
    )


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def _passwords(password: str) -> str:
    quoted = password.replace('"', '""')
    # The console's user has none: peer alone lets him in, and he has to be known.
    return f'"{POOLER}" "{quoted}"\n"{CONSOLE_USER}" ""\n'


def _name(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else '"' + name.replace('"', '""') + '"'


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else "'" + name.replace("'", "''") + "'"


def _drop_in(cluster_unit: str, files: int) -> str:
    return f"""\
# {_HEADING}
[Unit]
After={cluster_unit}

[Service]
User={ACCOUNT}
Group={ACCOUNT}
RuntimeDirectory={SOCKETS.rpartition("/")[2]}
RuntimeDirectoryMode=0755
Restart=on-failure
RestartSec=1s
LimitNOFILE={files}
LimitCORE=0
UMask=0077
CapabilityBoundingSet=
MemoryDenyWriteExecute=yes
{SANDBOX}SystemCallErrorNumber=EPERM
"""
