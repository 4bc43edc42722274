"""All settings of a server by subject, each with its reason. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.conf import Line
from deploy.machine import Machine
from deploy.tuning import Tuning, Workload, phase0, tune

TLS_FOLDER = "/etc/casedb/tls"


def tuning_for(machine: Machine, data: Mapping[str, Any]) -> Tuning:
    """Return the tuning that the host's `data` ask for.

    Raises:
        ValueError: an unknown workload or preset, or a machine that is too small.
    """
    if data["tuning_preset"] == "phase0":
        return phase0()
    if data["tuning_preset"] is not None:
        raise ValueError(f"there is no preset {data['tuning_preset']}")
    return tune(machine, Workload(data["workload"]), connections=data["max_connections"])


def settings(machine: Machine, data: Mapping[str, Any]) -> dict[str, list[Line]]:
    """Return the settings of a host, by subject; what its `data` set themselves comes last.

    Raises:
        ValueError: the data make no sense.
    """
    tuning = tuning_for(machine, data)
    subjects = {
        "Tuning": [Line(s.name, s.value, s.reason) for s in tuning.settings],
        "Connections": [
            Line("listen_addresses", data["listen_addresses"]),
            Line("port", str(data["pg_port"])),
            Line("password_encryption", "scram-sha-256"),
        ],
        "TLS": _tls(),
        "Safety": _safety(),
        "Logging": _logging(data),
        "Extensions": _extensions(data["extensions"]),
        "Language and time": [
            Line("timezone", "Etc/UTC"),
            Line("log_timezone", "Etc/UTC"),
            Line("lc_messages", "C", "messages that tools can look for"),
            Line("default_text_search_config", "pg_catalog.english"),
        ],
    }
    chosen = {name: str(value) for name, value in data["pg_settings"].items()}
    kept = {
        subject: [line for line in lines if line.name not in chosen]
        for subject, lines in subjects.items()
    }
    ours = [Line(name, value) for name, value in sorted(chosen.items())]
    return {**kept, "From the inventory": ours} if ours else kept


def _tls() -> list[Line]:
    return [
        Line("ssl", "on"),
        Line("ssl_min_protocol_version", "TLSv1.2"),
        Line("ssl_cert_file", f"{TLS_FOLDER}/server.crt"),
        Line("ssl_key_file", f"{TLS_FOLDER}/server.key"),
        Line("ssl_ca_file", f"{TLS_FOLDER}/ca.crt"),
        Line("ssl_prefer_server_ciphers", "on"),
    ]


def _safety() -> list[Line]:
    return [
        Line("wal_level", "replica", "a base backup or a standby must stay possible"),
        Line("max_wal_senders", "10"),
        Line("fsync", "on", "an acknowledged commit survives a power cut"),
        Line("full_page_writes", "on"),
        Line("synchronous_commit", "on"),
        Line("idle_in_transaction_session_timeout", "15min", "a forgotten transaction keeps rows"),
    ]


def _logging(data: Mapping[str, Any]) -> list[Line]:
    return [
        Line("log_destination", "stderr", "to the file that Debian rotates"),
        Line("logging_collector", "off"),
        Line("log_connections", "on"),
        Line("log_disconnections", "on"),
        Line("log_line_prefix", "%m [%p] %q%u@%d/%a from %h ", "who, where from, and with what"),
        Line("log_statement", "ddl"),
        Line("log_min_duration_statement", str(data["log_slow_ms"]), "milliseconds"),
        Line("log_lock_waits", "on"),
        Line("log_checkpoints", "on"),
        Line("log_temp_files", "10MB", "work_mem was too small for these"),
        Line("log_autovacuum_min_duration", "10s"),
        # Values of case data in the log would be readable by whoever reads logs.
        Line("log_parameter_max_length", "0", "no case data in the log"),
        Line("log_parameter_max_length_on_error", "0"),
        Line("log_error_verbosity", "default"),
        Line("log_min_messages", "warning"),
        Line("log_min_error_statement", "error"),
    ]


def _extensions(names: Sequence[str]) -> list[Line]:
    loaded = [name for name in names if name in ("pg_stat_statements", "pgaudit")]
    found = [Line("shared_preload_libraries", ",".join(loaded))]
    if "pg_stat_statements" in loaded:
        found.append(Line("pg_stat_statements.track", "top"))
    if "pgaudit" in loaded:
        found.append(Line("pgaudit.log", "ddl,role", "who changed the schema or an access"))
    return found
