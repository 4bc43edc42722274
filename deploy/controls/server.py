"""Controls of PostgreSQL itself: who is in, what is logged, what reaches the disk."""

from collections.abc import Callable, Mapping
from typing import Any

from deploy import hba, pooler_host
from deploy.controls.base import APPLY, Control

# Who sees all rows on purpose: sql/roles/10-roles.sql says why each of them does.
_BYPASS = {"postgres", "case_seed", "case_backup", "case_readonly", "case_lookup"}
_FORBIDDEN_MODE = 0o022
# Nobody but their group reads these.
_SECRET = (".key", "hba.conf", "/userlist.txt")


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
            return hba.check(hba.parse_rules(found["content"])) if found else ["it is not there"]
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
    names = [
        f"postgresql-{state['major']}",
        *([pooler_host.PACKAGE] if pooler_host.is_there(state) else []),
    ]
    packages = state["packages"]
    return [f"{name} is not held" for name in names if not packages.get(name, {}).get("held")]


_AUTH = "auth-pg-hba-conf.html"
_ROLES = "role-attributes.html"
_LOG = "runtime-config-logging.html"
_WAL = "runtime-config-wal.html"
_SSL = "runtime-config-connection.html#RUNTIME-CONFIG-CONNECTION-SSL"

CONTROLS = (
    Control("server.answers", "the server answers", APPLY, "server-start.html", _answers),
    Control("roles.superuser", "postgres alone is superuser",
            "ALTER ROLE ... NOSUPERUSER", _ROLES, _with("superuser", {"postgres"})),
    Control("roles.createrole", "postgres alone makes roles",
            "ALTER ROLE ... NOCREATEROLE", _ROLES, _with("createrole", {"postgres"})),
    Control("roles.createdb", "postgres alone makes databases",
            "ALTER ROLE ... NOCREATEDB", _ROLES, _with("createdb", {"postgres"})),
    Control("roles.replication", "postgres alone replicates",
            "ALTER ROLE ... NOREPLICATION", _ROLES, _with("replication", {"postgres"})),
    Control("roles.bypassrls", "row security holds for all but the named roles",
            "ALTER ROLE ... NOBYPASSRLS", "ddl-rowsecurity.html", _with("bypassrls", _BYPASS)),
    Control("roles.passwords", "no password is kept as md5",
            "Set it anew; password_encryption decides.", "auth-password.html", _weak_passwords),
    Control("access.database", "PUBLIC may not enter our databases", APPLY,
            "ddl-priv.html", _public_database),
    Control("access.schema", "PUBLIC may not create in a schema", APPLY,
            "ddl-schemas.html#DDL-SCHEMAS-PATTERNS", _public_schema),
    Control("authentication.rules", "pg_hba.conf asks for TLS and SCRAM", APPLY, _AUTH, _rules),
    Control("authentication.errors", "pg_hba.conf can be read", APPLY,
            "view-pg-hba-file-rules.html", _rule_errors),
    Control("authentication.scram", "new passwords are kept as SCRAM", APPLY,
            "auth-password.html", _setting("password_encryption", "scram-sha-256")),
    Control("tls.on", "TLS is on", APPLY, _SSL, _setting("ssl", "on")),
    Control("tls.version", "TLS is 1.2 at least", APPLY, _SSL,
            _setting("ssl_min_protocol_version", "TLSv1.2", "TLSv1.3")),
    # Since 18 it names what is logged of a connection.
    Control("logging.connections", "connections are logged", APPLY, _LOG,
            _setting("log_connections", "on", "all", "receipt,authentication,authorization")),
    Control("logging.disconnections", "disconnections are logged", APPLY, _LOG,
            _setting("log_disconnections", "on")),
    Control("logging.prefix", "a line says when, who and from where", APPLY, _LOG, _line_prefix),
    Control("logging.ddl", "changes of the schema are logged", APPLY, _LOG,
            _setting("log_statement", "ddl", "mod", "all")),
    Control("logging.parameters", "no case data in the log", APPLY, _LOG,
            _setting("log_parameter_max_length", "0")),
    Control("logging.debug", "no parse trees in the log", APPLY, _LOG,
            _setting("debug_print_parse", "off")),
    Control("files.modes", "nobody else can change our files, or read the secret ones", APPLY,
            "ssl-tcp.html", _modes, everywhere=True),
    Control("files.data", "the data directory is postgres' alone",
            "chmod 700 and chown postgres: it", "creating-cluster.html", _data_mode),
    Control("extensions.pgaudit", "pgaudit is loaded and there", APPLY,
            "contrib.html", _loaded("pgaudit")),
    Control("extensions.statements", "pg_stat_statements is loaded and there", APPLY,
            "pgstatstatements.html", _loaded("pg_stat_statements")),
    Control("wal.fsync", "commits reach the disk", APPLY, _WAL, _setting("fsync", "on")),
    Control("wal.pages", "torn pages can be repaired", APPLY, _WAL,
            _setting("full_page_writes", "on")),
    Control("wal.commit", "an acknowledged commit is on the disk", APPLY, _WAL,
            _setting("synchronous_commit", "on", "local", "remote_write", "remote_apply")),
    Control("wal.level", "a base backup is possible", APPLY, _WAL,
            _setting("wal_level", "replica", "logical")),
    Control("wal.checksums", "damaged pages are found",
            "pg_checksums --enable, with the server stopped", "checksums.html",
            _setting("data_checksums", "on")),
    Control("server.pending", "what is configured is in force",
            "`casedb host apply` within the restart window.", "view-pg-settings.html", _pending),
    Control("packages.held", "no upgrade restarts the server by itself", APPLY,
            "upgrading.html", _held),
)  # fmt: skip
