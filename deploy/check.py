"""Security controls of a host, judged on its gathered state. Pure: facts in, findings out.

In the spirit of the CIS PostgreSQL Benchmark, whose numbers are not repeated here: each control
names the public page that says why.
"""

import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from deploy import hba, pgadmin, pooler_host, toolkit

_DOCS = "https://www.postgresql.org/docs/current/"
# Who sees all rows on purpose: sql/roles/10-roles.sql says why each of them does.
_BYPASS = {"postgres", "case_seed", "case_backup", "case_readonly", "case_lookup"}
_FORBIDDEN_MODE = 0o022
# Nobody but their group reads these.
_SECRET = (".key", "hba.conf", "/userlist.txt")
_TLS_IS_ASKED_FOR = ("require", "verify-ca", "verify-full")


@dataclass(frozen=True)
class Finding:
    """One control: whether it holds, what was found, and the way out."""

    control: str
    title: str
    holds: bool
    found: str
    mend: str
    source: str
    waived: str = ""
    """The reason why it need not hold; empty: it must."""

    @property
    def well(self) -> bool:
        """Whether nothing has to be done."""
        return self.holds or bool(self.waived)


@dataclass(frozen=True)
class _Control:
    name: str
    title: str
    mend: str
    page: str
    """Of PostgreSQL's documentation, or a whole address."""
    violations: Callable[[Mapping[str, Any]], list[str]]
    """What is wrong; nothing: the control holds."""
    everywhere: bool = False
    """Whether it is also for hosts that have no server, and drill backups."""


def check(state: Mapping[str, Any], waivers: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each control of such a host; `waivers` are reasons by control.

    Raises:
        ValueError: a waiver of a control that does not exist, or without a reason.
    """
    if unknown := sorted(set(waivers) - {control.name for control in CONTROLS}):
        raise ValueError(f"there is no control {', '.join(unknown)} to waive")
    if empty := sorted(name for name, reason in waivers.items() if not reason.strip()):
        raise ValueError(f"the waiver of {', '.join(empty)} gives no reason")
    findings = []
    for control in CONTROLS:
        if state["kind"] != "database" and not control.everywhere:
            continue
        violations = control.violations(state)
        findings.append(
            Finding(
                control.name,
                control.title,
                not violations,
                "; ".join(violations),
                control.mend,
                urljoin(_DOCS, control.page),
                waivers.get(control.name, ""),
            )
        )
    return findings


def without_verifiers(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state with each password verifier replaced by its kind: it need not travel on."""
    server = state.get("server") or {}
    roles = {
        name: {**role, "verifier": _kind(role["verifier"])}
        for name, role in server.get("roles", {}).items()
    }
    return {**state, "server": {**server, "roles": roles}} if server else state


def _kind(verifier: str | None) -> str | None:
    if verifier is None:
        return None
    return "scram-sha-256" if verifier.startswith("SCRAM-SHA-256$") else "md5"


def parse_rules(text: str) -> list[hba.Rule]:
    """Return the rules of a pg_hba.conf, as far as the controls need them."""
    found = []
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True)
        lexer.whitespace_split = True
        lexer.quotes = '"'
        lexer.escape = ""
        words = list(lexer)
        if len(words) < 4:
            continue
        local = words[0] == "local"
        rest = words[3:] if local else words[4:]
        method = rest[0] if rest else ""
        # An address may be followed by a mask of its own.
        if not local and rest and rest[0][0].isdigit() and len(rest) > 1:
            method = rest[1]
        databases, users = tuple(words[1].split(",")), tuple(words[2].split(","))
        found.append(hba.Rule(words[0], databases, users, "" if local else words[3], method))
    return found


def _setting(name: str, *allowed: str) -> Callable[[Mapping[str, Any]], list[str]]:
    def violations(state: Mapping[str, Any]) -> list[str]:
        value = _settings(state).get(name, {}).get("value", "(unknown)")
        return [] if value in allowed else [f"{name} is {value!r}"]

    return violations


def _settings(state: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (state.get("server") or {}).get("settings", {})
    return found


def _roles(state: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (state.get("server") or {}).get("roles", {})
    return found


def _answers(state: Mapping[str, Any]) -> list[str]:
    server = state.get("server")
    if server is None:
        return ["it does not run"]
    return [str(server["error"])] if "error" in server else []


def _with(attribute: str, but: set[str]) -> Callable[[Mapping[str, Any]], list[str]]:
    def violations(state: Mapping[str, Any]) -> list[str]:
        roles = sorted(n for n, r in _roles(state).items() if r[attribute] and n not in but)
        return [f"{name} has {attribute}" for name in roles]

    return violations


def _weak_passwords(state: Mapping[str, Any]) -> list[str]:
    return sorted(
        f"{n} has an md5 hash" for n, r in _roles(state).items() if r["verifier"] == "md5"
    )


def _public_database(state: Mapping[str, Any]) -> list[str]:
    server = state.get("server") or {}
    managed = server.get("contents", {})
    return [
        f"PUBLIC has {', '.join(found['grants']['PUBLIC'])} on database {name}"
        for name, found in server.get("databases", {}).items()
        if name in managed and "PUBLIC" in found["grants"]
    ]


def _public_schema(state: Mapping[str, Any]) -> list[str]:
    contents = (state.get("server") or {}).get("contents", {})
    return [
        f"PUBLIC may CREATE in {database}.{schema}"
        for database, found in contents.items()
        for schema, about in found.get("schemas", {}).items()
        if "CREATE" in about["grants"].get("PUBLIC", [])
    ]


def _rules(state: Mapping[str, Any]) -> list[str]:
    for path, found in state["files"].items():
        if path.endswith("/pg_hba.conf"):
            return hba.check(parse_rules(found["content"])) if found else ["it is not there"]
    return ["it was not asked for"]


def _rule_errors(state: Mapping[str, Any]) -> list[str]:
    found: list[str] = (state.get("server") or {}).get("hba_errors", [])
    return list(found)


def _modes(state: Mapping[str, Any]) -> list[str]:
    found = []
    for path, about in state["files"].items():
        if about and about["kind"] == "file" and int(about["mode"], 8) & _FORBIDDEN_MODE:
            found.append(f"{path} has mode {about['mode']}")
        if about and path.endswith(_SECRET) and int(about["mode"], 8) & 0o007:
            found.append(f"{path} can be read by all")
    return found


def _data_mode(state: Mapping[str, Any]) -> list[str]:
    about = state.get("data_directory")
    if not about:
        return ["it is not there"]
    return (
        []
        if (about["mode"], about["user"]) == ("700", "postgres")
        else [f"mode {about['mode']}, owner {about['user']}"]
    )


def _line_prefix(state: Mapping[str, Any]) -> list[str]:
    prefix = str(_settings(state).get("log_line_prefix", {}).get("value", ""))
    missing = [word for word in ("%m", "%p", "%u", "%d", "%h") if word not in prefix]
    return [f"log_line_prefix lacks {' '.join(missing)}"] if missing else []


def _loaded(name: str) -> Callable[[Mapping[str, Any]], list[str]]:
    def violations(state: Mapping[str, Any]) -> list[str]:
        value = str(_settings(state).get("shared_preload_libraries", {}).get("value", ""))
        found = [] if name in value.replace(" ", "").split(",") else [f"{name} is not loaded"]
        contents = (state.get("server") or {}).get("contents", {})
        return found + [
            f"{name} is not in {database}"
            for database, about in contents.items()
            if name not in about.get("extensions", {})
        ]

    return violations


def _pending(state: Mapping[str, Any]) -> list[str]:
    names = sorted(name for name, s in _settings(state).items() if s["pending_restart"])
    return [f"{', '.join(names)} wait for a restart"] if names else []


def _held(state: Mapping[str, Any]) -> list[str]:
    names = [f"postgresql-{state['major']}", *([pooler_host.PACKAGE] if _pools(state) else [])]
    packages = state["packages"]
    return [f"{name} is not held" for name in names if not packages.get(name, {}).get("held")]


def _pools(state: Mapping[str, Any]) -> bool:
    """Whether the host has a PgBouncer of ours."""
    return bool(state["files"].get(pooler_host.DROP_IN_FILE))


def _pooler(judge: Callable[[Mapping[str, Any]], list[str]]) -> Callable[..., list[str]]:
    """Return a judgement of the PgBouncer; a host without one of ours is well."""

    def violations(state: Mapping[str, Any]) -> list[str]:
        return judge(state["pooler"]) if _pools(state) else []

    return violations


def _pooler_answers(found: Mapping[str, Any]) -> list[str]:
    if found["active"] != "active":
        return [f"it is {found['active']}"]
    return [found["problem"]] if found["problem"] else []


def _pooler_account(found: Mapping[str, Any]) -> list[str]:
    who = found["runs_as"]
    return [f"it runs as {who}"] if who in ("postgres", "root") else []


def _pooler_tls(found: Mapping[str, Any]) -> list[str]:
    values = {name: about["value"] for name, about in found["config"].items()}
    wrong = []
    if values.get("client_tls_sslmode") not in _TLS_IS_ASKED_FOR:
        wrong.append(f"client_tls_sslmode is {values.get('client_tls_sslmode')}")
    if values.get("server_tls_sslmode") != "verify-full":
        wrong.append(f"server_tls_sslmode is {values.get('server_tls_sslmode')}")
    return wrong


def _pooler_reset(found: Mapping[str, Any]) -> list[str]:
    return [found["lingers"]] if found["lingers"] else []


def _timers(state: Mapping[str, Any]) -> list[str]:
    found = state["timers"]
    problems = []
    for name in found["wanted"]:
        unit = found["units"].get(name, {})
        how = f"{unit.get('activestate', 'not there')}, {unit.get('unitfilestate') or 'no unit'}"
        if how != "active, enabled":
            problems.append(f"{name} is {how}")
    problems += [f"{path} changes a timer" for path in found["dropins"]]
    dumped = any(name.startswith("casedb-dump@") for name in found["wanted"])
    if state["kind"] == "database" and not dumped:
        problems.append("no timer takes backups")
    return problems


def _confined(state: Mapping[str, Any]) -> list[str]:
    wanted = {
        "nonewprivileges": "yes", "protectsystem": "strict", "privatetmp": "yes", "umask": "0077",
    }  # fmt: skip
    problems = []
    for name, unit in state["timers"]["units"].items():
        service = unit["service"]
        if service.get("user") in ("", "root", None):
            problems.append(f"what {name} starts runs as root")
        loose = [key for key, value in wanted.items() if service.get(key) != value]
        if loose:
            problems.append(f"what {name} starts lacks {', '.join(loose)}")
    return problems


def _key(state: Mapping[str, Any]) -> list[str]:
    file = state["files"].get(toolkit.SETTINGS_FILE) or {}
    try:
        settings = tomllib.loads(file.get("content", ""))
    except tomllib.TOMLDecodeError:
        return [f"{toolkit.SETTINGS_FILE} cannot be read"]
    if state["kind"] != "database" or not settings.get("recipients"):
        return []
    there = state["files"].get(toolkit.KEY_FILE)
    return [
        *(["casedb.toml names a key_file"] if "key_file" in settings else []),
        *([f"{toolkit.KEY_FILE} lies here"] if there else []),
    ]


def _pgadmin(state: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = state.get("pgadmin") or {}
    return found


def _pgadmin_version(state: Mapping[str, Any]) -> list[str]:
    version = str(_pgadmin(state).get("current", "")).partition("-")[0]
    return [problem] if version and (problem := pgadmin.version_problem(version)) else []


def _pgadmin_reach(state: Mapping[str, Any]) -> list[str]:
    about = _pgadmin(state)
    if not about or not pgadmin.is_loopback(about["listen"]):
        # It was asked for.
        return []
    open_at = [at for at in about["listening"] if not pgadmin.is_loopback(at)]
    return [f"its port is open at {', '.join(open_at)}"] if open_at else []


def _pgadmin_files(state: Mapping[str, Any]) -> list[str]:
    places = {p: f for p, f in state["files"].items() if f and p.startswith(pgadmin.HOME)}
    return [
        f"{path} is {about['user']}'s with mode {about['mode']}"
        for path, about in places.items()
        if about["user"] != pgadmin.USER or int(about["mode"], 8) & 0o077
    ]


def _pgadmin_role(state: Mapping[str, Any]) -> list[str]:
    servers = (_pgadmin(state).get("store") or {}).get("servers", [])
    return [
        f"{server['Name']} is entered as {server['Username']}"
        for server in servers
        if server["Username"] != pgadmin.ROLE
    ]


_APPLY = "`casedb host apply` puts it back."
_AUTH = "auth-pg-hba-conf.html"
_ROLES = "role-attributes.html"
_LOG = "runtime-config-logging.html"
_WAL = "runtime-config-wal.html"
_POOLER = "https://www.pgbouncer.org/"
_PGADMIN = "https://www.pgadmin.org/docs/pgadmin4/latest/"
_SSL = "runtime-config-connection.html#RUNTIME-CONFIG-CONNECTION-SSL"

CONTROLS: tuple[_Control, ...] = (
    _Control("server.answers", "the server answers", _APPLY, "server-start.html", _answers),
    _Control("roles.superuser", "postgres alone is superuser",
             "ALTER ROLE ... NOSUPERUSER", _ROLES, _with("superuser", {"postgres"})),
    _Control("roles.createrole", "postgres alone makes roles",
             "ALTER ROLE ... NOCREATEROLE", _ROLES, _with("createrole", {"postgres"})),
    _Control("roles.createdb", "postgres alone makes databases",
             "ALTER ROLE ... NOCREATEDB", _ROLES, _with("createdb", {"postgres"})),
    _Control("roles.replication", "postgres alone replicates",
             "ALTER ROLE ... NOREPLICATION", _ROLES, _with("replication", {"postgres"})),
    _Control("roles.bypassrls", "row security holds for all but the named roles",
             "ALTER ROLE ... NOBYPASSRLS", "ddl-rowsecurity.html", _with("bypassrls", _BYPASS)),
    _Control("roles.passwords", "no password is kept as md5",
             "Set it anew; password_encryption decides.", "auth-password.html", _weak_passwords),
    _Control("access.database", "PUBLIC may not enter our databases", _APPLY,
             "ddl-priv.html", _public_database),
    _Control("access.schema", "PUBLIC may not create in a schema", _APPLY,
             "ddl-schemas.html#DDL-SCHEMAS-PATTERNS", _public_schema),
    _Control("authentication.rules", "pg_hba.conf asks for TLS and SCRAM", _APPLY, _AUTH, _rules),
    _Control("authentication.errors", "pg_hba.conf can be read", _APPLY,
             "view-pg-hba-file-rules.html", _rule_errors),
    _Control("authentication.scram", "new passwords are kept as SCRAM", _APPLY,
             "auth-password.html", _setting("password_encryption", "scram-sha-256")),
    _Control("tls.on", "TLS is on", _APPLY, _SSL, _setting("ssl", "on")),
    _Control("tls.version", "TLS is 1.2 at least", _APPLY, _SSL,
             _setting("ssl_min_protocol_version", "TLSv1.2", "TLSv1.3")),
    # Since 18 it names what is logged of a connection.
    _Control("logging.connections", "connections are logged", _APPLY, _LOG,
             _setting("log_connections", "on", "all", "receipt,authentication,authorization")),
    _Control("logging.disconnections", "disconnections are logged", _APPLY, _LOG,
             _setting("log_disconnections", "on")),
    _Control("logging.prefix", "a line says when, who and from where", _APPLY, _LOG, _line_prefix),
    _Control("logging.ddl", "changes of the schema are logged", _APPLY, _LOG,
             _setting("log_statement", "ddl", "mod", "all")),
    _Control("logging.parameters", "no case data in the log", _APPLY, _LOG,
             _setting("log_parameter_max_length", "0")),
    _Control("logging.debug", "no parse trees in the log", _APPLY, _LOG,
             _setting("debug_print_parse", "off")),
    _Control("files.modes", "nobody else can change our files, or read the secret ones", _APPLY,
             "ssl-tcp.html", _modes, everywhere=True),
    _Control("files.data", "the data directory is postgres' alone",
             "chmod 700 and chown postgres: it", "creating-cluster.html", _data_mode),
    _Control("extensions.pgaudit", "pgaudit is loaded and there", _APPLY,
             "contrib.html", _loaded("pgaudit")),
    _Control("extensions.statements", "pg_stat_statements is loaded and there", _APPLY,
             "pgstatstatements.html", _loaded("pg_stat_statements")),
    _Control("wal.fsync", "commits reach the disk", _APPLY, _WAL, _setting("fsync", "on")),
    _Control("wal.pages", "torn pages can be repaired", _APPLY, _WAL,
             _setting("full_page_writes", "on")),
    _Control("wal.commit", "an acknowledged commit is on the disk", _APPLY, _WAL,
             _setting("synchronous_commit", "on", "local", "remote_write", "remote_apply")),
    _Control("wal.level", "a base backup is possible", _APPLY, _WAL,
             _setting("wal_level", "replica", "logical")),
    _Control("wal.checksums", "damaged pages are found",
             "pg_checksums --enable, with the server stopped", "checksums.html",
             _setting("data_checksums", "on")),
    _Control("server.pending", "what is configured is in force",
             "`casedb host apply` within the restart window.", "view-pg-settings.html", _pending),
    _Control("pooler.answers", "the pooler answers, where there is one", _APPLY,
             _POOLER + "usage.html", _pooler(_pooler_answers)),
    _Control("pooler.account", "the pooler is not postgres, whom the server believes", _APPLY,
             "auth-peer.html", _pooler(_pooler_account)),
    _Control("pooler.tls", "the pooler asks for TLS and verifies the server", _APPLY,
             _POOLER + "config.html#tls-settings", _pooler(_pooler_tls)),
    _Control("pooler.reset", "no role or setting of one client reaches the next (tried)", _APPLY,
             _POOLER + "config.html#server_reset_query", _pooler(_pooler_reset)),
    _Control("packages.held", "no upgrade restarts the server by itself", _APPLY,
             "upgrading.html", _held),
    _Control("backups.timers", "backups are taken and checked by themselves", _APPLY,
             "backup.html", _timers, everywhere=True),
    _Control("backups.confined", "what runs by itself is no root and can write nowhere else",
             _APPLY, "backup.html", _confined, everywhere=True),
    _Control("backups.key", "who writes encrypted backups cannot read them",
             f"move the key to a host of group drill, and remove {toolkit.KEY_FILE}",
             "backup.html", _key, everywhere=True),
    # A host without pgAdmin has nothing that could break these.
    _Control("pgadmin.version", "pgAdmin has no known hole", _APPLY,
             _PGADMIN + "release_notes.html", _pgadmin_version),
    _Control("pgadmin.reach", "pgAdmin is open to this machine alone, unless asked", _APPLY,
             _PGADMIN + "server_deployment.html", _pgadmin_reach),
    _Control("pgadmin.files", "pgAdmin's store and passwords are its own", _APPLY,
             _PGADMIN + "server_deployment.html", _pgadmin_files),
    _Control("pgadmin.role", "pgAdmin enters our servers by a role that only reads", _APPLY,
             _PGADMIN + "import_export_servers.html", _pgadmin_role),
)  # fmt: skip
