"""What a PgBouncer on this host says of itself, and whether a session of it is as good as new."""

import os
import pwd
import re
import socket
import ssl
import struct
import subprocess
from pathlib import Path
from typing import Any

# libpq's code for: do you speak TLS? (protocol-flow.html#PROTOCOL-FLOW-SSL)
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_TIMEOUT_S = 15
_SETTING = "casedb.probe"


def ask(
    folder: Path | str, port: int, sql: str, *, user: str, database: str, secret: str = ""
) -> tuple[str, str]:
    """Return what PgBouncer answers through its socket in `folder` ("" if nothing), and its error.

    Asked by its own account, which its console lets in as "pgbouncer" without a password.
    """
    words = f"host={folder} port={port} dbname={_quoted(database)} user={user} connect_timeout=10"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    try:
        done = subprocess.run(
            ["runuser", "-u", "pgbouncer", "--", "psql", "-XAtq", "-w", "-F", "\t",
             "-v", "ON_ERROR_STOP=1", "-d", words, "-f", "-"],
            input=sql, capture_output=True, text=True, check=False, cwd="/", timeout=_TIMEOUT_S,
            env={**kept, "LC_ALL": "C", "PGPASSWORD": secret},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "", "it did not answer in time"
    except FileNotFoundError as error:
        return "", f"{error.filename} is missing"
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"psql ended with {done.returncode}"
        # Where the socket is, is of no interest, and a candidate's is gone already.
        return "", re.sub(r"psql: error: connection to server on socket \S+ failed: ", "", said)
    return done.stdout.strip("\n"), ""


def config(folder: Path | str, port: int) -> tuple[dict[str, dict[str, str]], str]:
    """Return each setting in force and whether a reload changes it; and the error."""
    text, error = ask(folder, port, "SHOW CONFIG;", user="pgbouncer", database="pgbouncer")
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[0]: {"value": row[1], "changeable": row[-1]} for row in rows if len(row) > 2}, error


def way(folder: Path | str, port: int, database: str, secret: str) -> str:
    """Return why PgBouncer cannot log in to its server and ask for a verifier; or nothing."""
    query = "SELECT count(*) FROM ops.pooler_login('case_app');"
    _count, error = ask(folder, port, query, user="case_pooler", database=database, secret=secret)
    return f"it does not get to the server: {error}" if error else ""


def lingering(folder: Path | str, port: int, database: str, secret: str) -> str:
    """Return what a client's session still has of the one before; or nothing.

    The first client does what an application must not: SET ROLE and a setting for the session.
    """
    who = {"user": "case_pooler", "database": database, "secret": secret}
    careless = (
        "SET ROLE case_pooler;"
        f" SELECT set_config('{_SETTING}', 'left behind', false) || pg_backend_pid();"
    )
    _said, error = ask(folder, port, careless, **who)
    if error:
        return error
    # The pool hands out first what came back last; more than one look all the same.
    look = f"SELECT current_setting('role'), coalesce(current_setting('{_SETTING}', true), '');"
    for _client in range(3):
        said, error = ask(folder, port, look, **who)
        if error:
            return error
        if said != "none\t":
            role, _, setting = said.partition("\t")
            return f"the next client has role {role!r} and {_SETTING} = {setting!r}"
    return ""


def served(address: str, port: int, authority: Path) -> str:
    """Return why a client that verifies the certificate at `address` goes no further; or nothing.

    The name that is looked for is the one which every certificate of ours has.
    """
    context = ssl.create_default_context(cafile=str(authority))
    # No stricter than libpq: an authority of ours from earlier versions names no key identifier.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        with socket.create_connection((address, port), timeout=10) as plain:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                return "it does not speak TLS"
            with context.wrap_socket(plain, server_hostname="127.0.0.1"):
                return ""
    except (OSError, ssl.SSLError) as error:
        return f"TLS at {address}: {error}"


def first_password(text: str) -> str:
    """Return the first password of a userlist.txt: that of case_pooler, in ours."""
    line = text.splitlines()[0] if text else ""
    return line.partition('" "')[2].removesuffix('"').replace('""', '"')


def runs_as(unit: str) -> str:
    """Return the account that the unit's main process runs as; empty if there is none."""
    shown = subprocess.run(
        ["systemctl", "show", "--property=MainPID", "--value", unit],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    try:
        return pwd.getpwuid(Path("/proc", shown).stat().st_uid).pw_name if shown != "0" else ""
    except (OSError, KeyError):
        return ""


def live_port(folder: Path | str) -> int | None:
    """Return the port whose socket is in `folder`; None without one."""
    found = sorted(Path(folder).glob(".s.PGSQL.*"))
    ports = [name for path in found if (name := path.name.rpartition(".")[2]).isdigit()]
    return int(ports[0]) if ports else None


def state(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what there is of a PgBouncer: its account, and what a running one says."""
    try:
        pwd.getpwnam(asked["account"])
        account = True
    except KeyError:
        account = False
    found: dict[str, Any] = {
        "account": account, "runs_as": runs_as(asked["unit"]), "config": {}, "problem": "",
        "lingers": "", "port": live_port(asked["sockets"]),
    }  # fmt: skip
    if not account or found["port"] is None or found["runs_as"] != asked["account"]:
        return found
    found["config"], found["problem"] = config(asked["sockets"], found["port"])
    try:
        secret = first_password(Path(asked["passwords_file"]).read_text())
    except OSError as error:
        found["problem"] = found["problem"] or f"{error.filename}: {error.strerror}"
        return found
    if asked["database"] and not found["problem"]:
        found["lingers"] = lingering(asked["sockets"], found["port"], asked["database"], secret)
    return found


def _quoted(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
