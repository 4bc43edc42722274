"""What the files of pgAdmin on a host say, and those of the nginx before it. Pure.

https://www.pgadmin.org/docs/pgadmin4/latest/server_deployment.html
"""

import hashlib
import json
from typing import Any

from casedb.passfile import passfile_line
from deploy.pgadmin import (
    CERTIFICATE_FILE,
    CONFIG_FILE,
    CURRENT,
    HOME,
    KEY_FILE,
    LOGIN_ATTEMPTS,
    NGINX_FILE,
    ROLE,
    SOCKET,
    UNIT,
    UNIT_FILE,
    USER,
    WEB_UNIT_FILE,
    Wish,
)
from deploy.sandbox import SANDBOX

_WRITTEN = "# Written by casedb; a change made here is put back.\n"


def configuration(wish: Wish) -> dict[str, str]:
    """Return what the services read, by path; no secret is in it."""
    return {
        CONFIG_FILE: config(wish),
        NGINX_FILE: nginx(wish),
        UNIT_FILE: unit(),
        WEB_UNIT_FILE: web_unit(),
    }


def in_force(wish: Wish) -> str:
    """Return a name for what the services have to have read."""
    whole = json.dumps([wish.release.identity, configuration(wish)], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16] + "\n"


def private(wish: Wish) -> dict[str, str]:
    """Return what the first user's folder has, by path: passwords, and whom to trust."""
    passwords = "".join(
        passfile_line(ROLE, s.password, host=s.address, port=str(s.port)) for s in wish.servers
    )
    passfile, authority = private_paths(wish.email)
    return {passfile: passwords, authority: wish.authority_pem}


def private_paths(email: str) -> tuple[str, str]:
    """Return where the password file and the authority lie: pgAdmin reads them nowhere else."""
    folder = f"{HOME}/storage/{email.replace('@', '_').replace('/', 'slash')}"
    return f"{folder}/.pgpass", f"{folder}/ca.crt"


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
        ssl_certificate     {CERTIFICATE_FILE};
        ssl_certificate_key {KEY_FILE};
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
