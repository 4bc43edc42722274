"""pgAdmin for a host: which version, how it is served, and its servers. Pure.

https://www.pgadmin.org/docs/pgadmin4/latest/server_deployment.html
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from casedb.passfile import SHORTEST_PASSWORD, passfile_line
from deploy.sandbox import SANDBOX

GROUP = "pgadmin"
"""The inventory's group of the hosts that have it, and nobody else has."""

USER = "pgadmin"
ROLE = "case_readonly"
SERVER_GROUP = "casedb"
"""pgAdmin's server group that belongs to the inventory; all others are their users'."""

FLOOR = (9, 17)
"""Older ones have known holes: CVE-2026-12046 (before 9.16, without a login), CVE-2026-17348,
CVE-2026-17349 and CVE-2026-17350 (before 9.17)."""

REQUIREMENTS = "requirements/pgadmin.txt"
PACKAGES = ("python3-venv", "nginx-light")
# Debian's would open port 80 to everybody; ours is a unit of its own.
UNSTARTED = {"nginx-light": "nginx.service"}
FOLDER = "/opt/pgadmin"
CURRENT = f"{FOLDER}/current"
HOME = "/var/lib/pgadmin"
STORE = f"{HOME}/pgadmin4.db"
ETC = "/etc/pgadmin"
CONFIG_FILE = f"{ETC}/config_system.py"
NGINX_FILE = f"{ETC}/nginx.conf"
IN_FORCE_FILE = f"{ETC}/in-force"
"""Names the configuration that the running services have read; written last."""
UNIT = "casedb-pgadmin.service"
WEB_UNIT = "casedb-pgadmin-web.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
WEB_UNIT_FILE = f"/etc/systemd/system/{WEB_UNIT}"
SOCKET = "/run/pgadmin/pgadmin.sock"
LOGIN_ATTEMPTS = 5
"""After as many wrong passwords in a row pgAdmin locks a user."""

_TLS = "/etc/casedb/tls"
AUTHORITY_FILE = f"{_TLS}/ca.crt"
_EMAIL = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;\\]+)", re.MULTILINE)
_WRITTEN = "# Written by casedb; a change made here is put back.\n"


@dataclass(frozen=True)
class Server:
    """One server as pgAdmin's tree has it, entered as ROLE."""

    name: str
    address: str
    port: int
    database: str
    password: str


@dataclass(frozen=True)
class Release:
    """One version of pgAdmin with all that it needs."""

    version: str
    requirements: str

    @property
    def identity(self) -> str:
        """The name of its environment: the version, and which other packages."""
        return f"{self.version}-{hashlib.sha256(self.requirements.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Wish:
    """What pgAdmin on a host has to be."""

    release: Release
    email: str
    password: str
    servers: tuple[Server, ...]
    listen: str
    port: int
    names: tuple[str, ...]
    """What the host is called in a browser; every other name is refused."""
    bindir: str
    authority_pem: str

    @property
    def files(self) -> dict[str, str]:
        """Configuration by path."""
        return {
            CONFIG_FILE: config(self),
            NGINX_FILE: nginx(self),
            UNIT_FILE: unit(),
            WEB_UNIT_FILE: web_unit(),
        }

    @property
    def private_files(self) -> dict[str, str]:
        """What the first user's folder has, by path: passwords, and whom to trust."""
        passwords = "".join(
            passfile_line(ROLE, s.password, host=s.address, port=str(s.port)) for s in self.servers
        )
        passfile, authority = private_paths(self.email)
        return {passfile: passwords, authority: self.authority_pem}

    @property
    def in_force(self) -> str:
        """A name for what the services have to have read."""
        whole = json.dumps([self.release.identity, self.files], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:16] + "\n"


def private_paths(email: str) -> tuple[str, str]:
    """Return where the password file and the authority lie: pgAdmin reads them nowhere else."""
    folder = f"{HOME}/storage/{email.replace('@', '_').replace('/', 'slash')}"
    return f"{folder}/.pgpass", f"{folder}/ca.crt"


def asked(*, email: str, listen: str, port: int) -> dict[str, Any]:
    """Return what has to be gathered of pgAdmin."""
    return {
        "current": CURRENT,
        "store": STORE,
        "email": email,
        "attempts": LOGIN_ATTEMPTS,
        "group": SERVER_GROUP,
        "listen": listen,
        "port": port,
        "units": [UNIT, WEB_UNIT],
    }


def asked_files(email: str) -> dict[str, bool]:
    """Return the files to be gathered, and whether their content must not leave the host."""
    passfile, authority = private_paths(email)
    return {
        CONFIG_FILE: False,
        NGINX_FILE: False,
        IN_FORCE_FILE: False,
        HOME: False,
        STORE: True,
        passfile: True,
        authority: False,
    }


def release(requirements: str) -> Release:
    """Return the version that hashed `requirements` pin.

    Raises:
        ValueError: they pin none, one older than FLOOR, or leave a package without its hash.
    """
    pins = {m["name"].lower(): m["version"] for m in _PIN.finditer(requirements)}
    for name in ("pgadmin4", "gunicorn"):
        if name not in pins:
            raise ValueError(f"pgAdmin's requirements pin no {name}")
    version = pins["pgadmin4"]
    if problem := version_problem(version):
        raise ValueError(problem)
    for block in re.split(r"\n(?=\S)", requirements.strip()):
        if _PIN.match(block) and "--hash=sha256:" not in block:
            raise ValueError(f"pgAdmin's requirements have no hash for {block.split()[0]}")
    return Release(version, requirements)


def version_problem(version: str) -> str:
    """Return why this version of pgAdmin may not run, or nothing.

    >>> version_problem("9.18"), version_problem("10.0")
    ('', '')
    >>> version_problem("9.9")
    'pgAdmin 9.9 has known holes; 9.17 is the oldest without'
    """
    if not re.fullmatch(r"\d+(\.\d+)+", version):
        return f"{version!r} is no released version of pgAdmin"
    if tuple(int(part) for part in version.split(".")) < FLOOR:
        return f"pgAdmin {version} has known holes; {FLOOR[0]}.{FLOOR[1]} is the oldest without"
    return ""


def check(wish: Wish) -> list[str]:
    """Return what is wrong with the data, a sentence each; none of it shows a secret."""
    problems = []
    if not _EMAIL.fullmatch(wish.email):
        problems.append(f"pgadmin_email {wish.email!r} is no address; its domain needs a dot")
    if len(wish.password) < SHORTEST_PASSWORD:
        problems.append(
            f"pgadmin_password is weak: it has {len(wish.password)} characters, "
            f"{SHORTEST_PASSWORD} are the least"
        )
    try:
        ip_address(wish.listen)
    except ValueError:
        problems.append(f"pgadmin_listen {wish.listen!r} is no address such as 127.0.0.1")
    if not 0 < wish.port < 65536:
        problems.append(f"pgadmin_port cannot be {wish.port}")
    return problems


def port_problem(state: Mapping[str, Any], wish: Wish) -> str:
    """Return that somebody else has the port, or nothing."""
    about, conf = state["pgadmin"], state["files"][NGINX_FILE] or {}
    ours = about["units"][WEB_UNIT]["active"] == "active" and (
        f":{wish.port} ssl;" in conf.get("content", "")
    )
    if about["listening"] and not ours:
        return f"port {wish.port} is taken on this host; pgadmin_port chooses another one"
    return ""


def is_loopback(address: str) -> bool:
    """Whether only this machine gets there."""
    return ip_address(address).is_loopback


def servers_json(servers: Sequence[Server]) -> list[dict[str, Any]]:
    """Return the servers in the form that pgAdmin loads, TLS checked, without passwords."""
    return [
        {
            "Name": server.name,
            "Group": SERVER_GROUP,
            "Host": server.address,
            "Port": server.port,
            "MaintenanceDB": server.database,
            "Username": ROLE,
            # Both are looked for in the user's own folder.
            "ConnectionParameters": {
                "sslmode": "verify-full",
                "sslrootcert": "/ca.crt",
                "passfile": "/.pgpass",
                "connect_timeout": 10,
            },
        }
        for server in servers
    ]


def differences(state: Mapping[str, Any], wish: Wish) -> list[tuple[str, tuple[str, ...]]]:
    """Return what differs on a host whose state is gathered: the thing, and how."""
    about = state["pgadmin"]
    found: list[tuple[str, tuple[str, ...]]] = []
    store = about["store"] or {}
    if about["current"] != wish.release.identity:
        lines = [f"-{about['current']}"] if about["current"] else []
        found.append((f"pgAdmin in {FOLDER}", (*lines, f"+{wish.release.identity}")))
    if "schema" not in store:
        found.append((STORE, (f"+made: {store.get('error', 'there is none')}",)))
    elif (is_now := _owner_and_mode(state["files"][STORE])) != (USER, "600"):
        found.append((STORE, (f"-{' '.join(is_now)}", f"+{USER} 600")))
    if (user := store.get("user", "missing")) != "well":
        found.append((f"pgAdmin's user {wish.email}", (f"-{user}", "+well")))
    has, wanted = store.get("servers", []), servers_json(wish.servers)
    if has != wanted:
        gone = [f"-{_shown(server)}" for server in has if server not in wanted]
        new = [f"+{_shown(server)}" for server in wanted if server not in has]
        found.append(("pgAdmin's servers", (*gone, *new) or ("-more than once",)))
    for path, content in wish.private_files.items():
        file = state["files"][path] or {}
        same = file.get("sha256") == hashlib.sha256(content.encode()).hexdigest()
        if not same or _owner_and_mode(file) != (USER, "600"):
            found.append((path, ("(its content is secret)",)))
    for name, unit_now in about["units"].items():
        if (unit_now["active"], unit_now["enabled"]) != ("active", "enabled"):
            was = f"-{unit_now['active']}, {unit_now['enabled']}"
            found.append((name, (was, "+active, enabled")))
    if (state["files"][IN_FORCE_FILE] or {}).get("content") != wish.in_force:
        found.append((f"{UNIT} and {WEB_UNIT}", ("+as they are configured",)))
    certificate = (state["files"][f"{_TLS}/server.crt"] or {}).get("content", "")
    if not about["served"] or about["served"] != certificate.strip():
        found.append((f"certificate at port {wish.port}", (f"+{_TLS}/server.crt",)))
    return found


def _owner_and_mode(file: Mapping[str, Any]) -> tuple[str, str]:
    return str(file.get("user")), str(file.get("mode"))


def _shown(server: Mapping[str, Any]) -> str:
    return f"{server['Name']}: {server['Username']}@{server['Host']}:{server['Port']}"


def config(wish: Wish) -> str:
    """Return config_system.py, which pgAdmin reads last."""
    values: dict[str, Any] = {
        "SERVER_MODE": True,
        "DATA_DIR": HOME,
        "LOG_FILE": f"{HOME}/pgadmin4.log",
        "ALLOWED_HOSTS": list(wish.names),
        "SESSION_COOKIE_SECURE": True,
        "STRICT_TRANSPORT_SECURITY_ENABLED": True,
        "MAX_LOGIN_ATTEMPTS": LOGIN_ATTEMPTS,
        # No call goes out of the house.
        "UPGRADE_CHECK_ENABLED": False,
        "SHOW_GRAVATAR_IMAGE": False,
        "LLM_ENABLED": False,
        # A shell on the host, for whoever has a login here.
        "ENABLE_PSQL": False,
        "DEFAULT_BINARY_PATHS": {"pg": wish.bindir},
    }
    return _WRITTEN + "".join(f"{name} = {value!r}\n" for name, value in values.items())


def nginx(wish: Wish) -> str:
    """Return the configuration of an nginx of its own, which leaves Debian's alone."""
    at = f"[{wish.listen}]" if ":" in wish.listen else wish.listen
    return f"""{_WRITTEN}\
# Its group opens the folder of pgAdmin's socket, and nothing else of pgAdmin's.
user www-data {USER};
worker_processes 1;
pid /run/pgadmin-web/nginx.pid;
error_log stderr notice;

events {{}}

http {{
    # gunicorn writes one, with the client's address.
    access_log off;
    server_tokens off;
    client_max_body_size 50m;
    client_body_temp_path /run/pgadmin-web/body;
    proxy_temp_path /run/pgadmin-web/proxy;
    fastcgi_temp_path /run/pgadmin-web/fastcgi;
    scgi_temp_path /run/pgadmin-web/scgi;
    uwsgi_temp_path /run/pgadmin-web/uwsgi;

    # Passwords tried by one address; what is no POST has no key, and no limit.
    map $request_method $login_from {{
        POST    $binary_remote_addr;
        default "";
    }}
    limit_req_zone $login_from zone=login:1m rate=12r/m;
    limit_req_status 429;

    map $http_upgrade $connection_upgrade {{
        default upgrade;
        ""      "";
    }}

    server {{
        listen {at}:{wish.port} ssl;
        server_name _;
        ssl_certificate     {_TLS}/server.crt;
        ssl_certificate_key {_TLS}/server.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets off;

        proxy_http_version 1.1;
        # Set here, whatever the client says of itself.
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto https;
        # Empty: the port is the one of Host, which a tunnel chooses.
        proxy_set_header X-Forwarded-Port "";
        proxy_set_header X-Script-Name "";
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        # A query may take its time.
        proxy_read_timeout 86400s;
        proxy_buffering off;

        location ~ ^/(authenticate/login|login|browser/reset_password) {{
            limit_req zone=login burst=8 nodelay;
            proxy_pass http://unix:{SOCKET};
        }}
        location / {{
            proxy_pass http://unix:{SOCKET};
        }}
    }}
}}
"""


_HARDENED = f"""\
{SANDBOX}ProtectProc=invisible
Restart=on-failure
RestartSec=2

[Install]
WantedBy=multi-user.target
"""


def unit() -> str:
    """Return the unit of pgAdmin itself: one worker, which keeps the sessions' connections."""
    return f"""{_WRITTEN}\
[Unit]
Description=pgAdmin (casedb)
Documentation=https://www.pgadmin.org/docs/
After=network.target postgresql.service

[Service]
Type=notify
User={USER}
Group={USER}
Environment=HOME={HOME}
RuntimeDirectory=pgadmin
# nginx gets to the socket by its group; nobody else may, past TLS and its limits.
RuntimeDirectoryMode=0750
UMask=0077
ReadWritePaths={HOME}
CapabilityBoundingSet=
ExecStart={CURRENT}/bin/gunicorn --no-control-socket --workers 1 --threads 25 --timeout 86400 \\
    --bind unix:{SOCKET} --access-logfile - \\
    --access-logformat '%%({{x-forwarded-for}}i)s "%%(r)s" %%(s)s %%(M)s ms' \\
    --chdir {CURRENT}/pgadmin4 pgAdmin4:app
TimeoutStartSec=120
{_HARDENED}"""


def web_unit() -> str:
    """Return the unit of the nginx before it."""
    return f"""{_WRITTEN}\
[Unit]
Description=TLS before pgAdmin (casedb)
Documentation=man:nginx(8)
After=network.target {UNIT}

[Service]
Type=exec
RuntimeDirectory=pgadmin-web
RuntimeDirectoryMode=0711
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_CHOWN CAP_KILL CAP_NET_BIND_SERVICE
ExecStartPre=/usr/sbin/nginx -e stderr -q -t -c {NGINX_FILE}
ExecStart=/usr/sbin/nginx -e stderr -c {NGINX_FILE} -g 'daemon off;'
ExecReload=/bin/kill -HUP $MAINPID
{_HARDENED}"""
