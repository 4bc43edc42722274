"""Every security control holds on a good host, and each can be made not to."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from deploy import pooler_host
from deploy.check import CONTROLS, check, without_verifiers
from deploy.hba import Rule, local_rules, parse_rules, render
from deploy.statements import NEW_ROLE
from deploy.toolkit import KEY_FILE, SETTINGS_FILE

HBA = "/etc/postgresql/17/main/pg_hba.conf"
KEY = "/etc/casedb/tls/server.key"
DUMP = "casedb-dump@app.timer"
PASSFILE = "/var/lib/pgadmin/storage/admin_example.com/.pgpass"
SETTINGS = {
    "password_encryption": "scram-sha-256",
    "ssl": "on",
    "ssl_min_protocol_version": "TLSv1.2",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_line_prefix": "%m [%p] %q%u@%d/%a from %h ",
    "log_statement": "ddl",
    "log_parameter_max_length": "0",
    "debug_print_parse": "off",
    "shared_preload_libraries": "pg_stat_statements, pgaudit",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "data_checksums": "on",
}


def good() -> dict[str, Any]:
    def role(**attributes: Any) -> dict[str, Any]:
        return {**NEW_ROLE, "verifier": "SCRAM-SHA-256$x", **attributes}

    mighty = ("superuser", "createrole", "createdb", "replication", "bypassrls")
    confined = {
        "user": "casedb", "nonewprivileges": "yes", "protectsystem": "strict", "privatetmp": "yes",
        "umask": "0077",
    }  # fmt: skip
    waiting = {"activestate": "active", "unitfilestate": "enabled", "service": confined}
    return {
        "kind": "database",
        "timers": {"wanted": [DUMP], "units": {DUMP: waiting}, "dropins": []},
        "major": 17,
        "packages": {
            "postgresql-17": {"version": "17", "held": True},
            "pgbouncer": {"version": "1.24", "held": True},
        },
        "data_directory": {"kind": "directory", "mode": "700", "user": "postgres"},
        "files": {
            HBA: {"kind": "file", "mode": "640", "content": render(local_rules(["10.0.0.0/8"]))},
            KEY: {"kind": "file", "mode": "640"},
            SETTINGS_FILE: {"kind": "file", "mode": "644", "content": 'recipients = ["age1x"]'},
            KEY_FILE: None,
            pooler_host.DROP_IN_FILE: {"kind": "file", "mode": "644"},
            pooler_host.PASSWORDS_FILE: {"kind": "file", "mode": "640"},
            PASSFILE: {"kind": "file", "mode": "600", "user": "pgadmin"},
        },
        "pooler": {
            "active": "active",
            "runs_as": "pgbouncer",
            "problem": "",
            "lingers": "",
            "config": {
                "client_tls_sslmode": {"value": "require"},
                "server_tls_sslmode": {"value": "verify-full"},
            },
        },
        "pgadmin": {
            "current": "9.18-0",
            "listen": "127.0.0.1",
            "listening": ["127.0.0.1"],
            "store": {"servers": [{"Name": "db1", "Username": "case_readonly"}]},
        },
        "server": {
            "hba_errors": [],
            "settings": {
                name: {"value": value, "pending_restart": False} for name, value in SETTINGS.items()
            },
            "roles": {
                "postgres": role(**dict.fromkeys(mighty, True), verifier=None),
                "case_backup": role(bypassrls=True),
                "case_app": role(),
            },
            "databases": {"app": {"grants": {"case_owner": ["CONNECT"]}}},
            "contents": {
                "app": {
                    "extensions": {"pgaudit": {}, "pg_stat_statements": {}},
                    "schemas": {"public": {"grants": {"PUBLIC": ["USAGE"]}}},
                }
            },
        },
    }


def app(attribute: str, value: Any = True) -> Callable[[dict[str, Any]], None]:
    return lambda s: s["server"]["roles"]["case_app"].update({attribute: value})


def setting(name: str, value: str) -> Callable[[dict[str, Any]], None]:
    return lambda s: s["server"]["settings"][name].update(value=value)


SPOILED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "server.answers": lambda s: s["server"].update(error="FATAL: no"),
    "roles.superuser": app("superuser"),
    "roles.createrole": app("createrole"),
    "roles.createdb": app("createdb"),
    "roles.replication": app("replication"),
    "roles.bypassrls": app("bypassrls"),
    "roles.passwords": app("verifier", "md5"),
    "access.database": lambda s: s["server"]["databases"]["app"]["grants"].update(PUBLIC=["C"]),
    "access.schema": lambda s: s["server"]["contents"]["app"]["schemas"]["public"].update(
        grants={"PUBLIC": ["CREATE"]}
    ),
    "authentication.rules": lambda s: s["files"][HBA].update(
        content=s["files"][HBA]["content"] + "host all all 10.0.0.0 255.0.0.0 trust\n"
    ),
    "authentication.errors": lambda s: s["server"]["hba_errors"].append("line 7: no"),
    "authentication.scram": setting("password_encryption", "md5"),
    "tls.on": setting("ssl", "off"),
    "tls.version": setting("ssl_min_protocol_version", "TLSv1"),
    "logging.connections": setting("log_connections", "off"),
    "logging.disconnections": setting("log_disconnections", "off"),
    "logging.prefix": setting("log_line_prefix", "%m [%p] "),
    "logging.ddl": setting("log_statement", "none"),
    "logging.parameters": setting("log_parameter_max_length", "-1"),
    "logging.debug": setting("debug_print_parse", "on"),
    "files.modes": lambda s: s["files"][KEY].update(mode="644"),
    "files.data": lambda s: s["data_directory"].update(mode="750"),
    "extensions.pgaudit": lambda s: s["server"]["contents"]["app"]["extensions"].pop("pgaudit"),
    "extensions.statements": setting("shared_preload_libraries", "pgaudit"),
    "wal.fsync": setting("fsync", "off"),
    "wal.pages": setting("full_page_writes", "off"),
    "wal.commit": setting("synchronous_commit", "off"),
    "wal.level": setting("wal_level", "minimal"),
    "wal.checksums": setting("data_checksums", "off"),
    "server.pending": lambda s: s["server"]["settings"]["ssl"].update(pending_restart=True),
    "packages.held": lambda s: s["packages"]["postgresql-17"].update(held=False),
    "pooler.answers": lambda s: s["pooler"].update(active="failed"),
    "pooler.account": lambda s: s["pooler"].update(runs_as="postgres"),
    "pooler.tls": lambda s: s["pooler"]["config"]["client_tls_sslmode"].update(value="allow"),
    "pooler.reset": lambda s: s["pooler"].update(lingers="the next client has role 'x'"),
    "backups.timers": lambda s: s["timers"]["units"][DUMP].update(activestate="inactive"),
    "backups.confined": lambda s: s["timers"]["units"][DUMP]["service"].update(user=""),
    "backups.key": lambda s: s["files"].update({KEY_FILE: {"kind": "file", "mode": "400"}}),
    "pgadmin.version": lambda s: s["pgadmin"].update(current="9.16-0"),
    "pgadmin.reach": lambda s: s["pgadmin"].update(listening=["0.0.0.0"]),
    "pgadmin.files": lambda s: s["files"][PASSFILE].update(mode="640"),
    "pgadmin.role": lambda s: s["pgadmin"]["store"]["servers"][0].update(Username="postgres"),
}


def failing(state: dict[str, Any], waivers: dict[str, str] | None = None) -> list[str]:
    return [finding.control for finding in check(state, waivers or {}) if not finding.well]


def test_a_good_host_is_green() -> None:
    assert failing(good()) == []


def test_every_control_has_a_test_that_makes_it_red() -> None:
    assert list(SPOILED) == [control.name for control in CONTROLS]


@pytest.mark.parametrize("control", SPOILED)
def test_each_control_alone_can_fail_and_says_how_to_mend_it(control: str) -> None:
    state = copy.deepcopy(good())
    SPOILED[control](state)

    assert failing(state) == [control]
    (finding,) = [f for f in check(state, {}) if not f.holds]
    assert finding.found
    assert finding.mend
    assert finding.source.startswith("https://")


def test_a_host_without_a_server_is_red_and_not_a_crash() -> None:
    assert "server.answers" in failing({**good(), "server": None})


def test_a_host_that_drills_has_the_key_and_no_server_to_judge() -> None:
    state = {**good(), "kind": "drill", "server": None}
    SPOILED["backups.key"](state)

    found = check(state, {})

    assert [f.control for f in found] == [
        "files.modes", "backups.timers", "backups.confined", "backups.key",
    ]  # fmt: skip
    assert all(f.holds for f in found)


def test_a_database_that_nothing_backs_up_is_red() -> None:
    state = good()
    state["timers"] = {"wanted": [], "units": {}, "dropins": []}

    assert failing(state) == ["backups.timers"]


def test_a_pgadmin_that_was_asked_to_be_open_may_be_and_none_is_well() -> None:
    asked = good()
    asked["pgadmin"].update(listen="0.0.0.0", listening=["0.0.0.0"])

    assert failing(asked) == []
    assert failing({**good(), "pgadmin": None}) == []


def test_a_waiver_needs_a_reason_and_a_control() -> None:
    state = good()
    SPOILED["tls.on"](state)

    assert failing(state, {"tls.on": "a lab without certificates"}) == []
    with pytest.raises(ValueError, match="gives no reason"):
        check(state, {"tls.on": " "})
    with pytest.raises(ValueError, match=r"tls\.onn"):
        check(state, {"tls.onn": "because"})


def test_verifiers_do_not_travel_on() -> None:
    shown = without_verifiers(good())

    assert "SCRAM-SHA-256$x" not in str(shown)
    assert shown["server"]["roles"]["case_app"]["verifier"] == "scram-sha-256"
    assert without_verifiers({"server": None}) == {"server": None}


def test_rules_are_read_as_they_were_written() -> None:
    rules = [*local_rules(["10.0.0.0/8"]), Rule("hostssl", ("a b",), ("x",), "samenet", "reject")]

    read = parse_rules(render(rules))

    assert [(r.type, r.users, r.address, r.method) for r in read] == [
        (r.type, r.users, r.address, r.method) for r in rules
    ]
