"""A bare host becomes a server, a second run finds nothing, what is changed by hand is found."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.hosts.conftest import Host, Rehearsal

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.hosts


def changed(found: Any, host: str) -> list[str]:
    (about,) = [h for h in found["hosts"] if h["host"] == host]
    return [change["what"] for step in about["steps"] for change in step["changes"]]


def test_a_second_run_changes_nothing(proof: dict[str, Any]) -> None:
    assert proof["second_run_changes"] == 0
    assert {found["host"] for found in proof["second_run"]} == {"bookworm", "trixie"}
    assert not any(step["changed"] for found in proof["second_run"] for step in found["steps"])
    # One to gather for the plan; one more if that took so long that it is asked again.
    assert all(found["commands"] <= 2 for found in proof["second_run"]), proof["second_run"]


def test_every_security_control_holds(proof: dict[str, Any]) -> None:
    assert proof["checks_failed"] == 0
    assert {name: len(found) > 25 for name, found in proof["checks"].items()} == {
        "bookworm": True,
        "trixie": True,
    }


def test_a_control_that_somebody_broke_is_found_and_can_be_waived(
    host: "Host", rehearsal: "Rehearsal"
) -> None:
    host.sql("CREATE ROLE somebody SUPERUSER")
    waivers = rehearsal.folder / "waivers.toml"
    waivers.write_text('"roles.superuser" = "a test"\n')
    try:
        code, found = rehearsal.host("check", "--limit", host.name)
        waived, _answer = rehearsal.host("check", "--limit", host.name, "--waivers", str(waivers))
    finally:
        host.sql("DROP ROLE somebody")

    (about,) = found["hosts"]
    assert [f["control"] for f in about["findings"] if not f["holds"]] == ["roles.superuser"]
    assert (code, waived) == (9, 0)


def test_the_server_is_what_was_promised(host: "Host") -> None:
    shown = host.sql(
        "SELECT current_setting('server_version_num')::int / 10000,"
        " current_setting('data_checksums'), pg_encoding_to_char(encoding), datcollate,"
        " current_setting('ssl'),"
        " current_setting('shared_preload_libraries'), current_setting('casedb.mark')"
        " FROM pg_database WHERE datname = current_database()"
    )

    assert shown == f"{host.major}|on|UTF8|C.UTF-8|on|pg_stat_statements,pgaudit|development"
    assert host.sql("SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension") == (
        "pg_stat_statements,pgaudit,plpgsql"
    )
    assert host.run(f"systemctl is-enabled postgresql@{host.major}-main") == "enabled"
    assert host.run(f"dpkg-query -W -f '${{db:Status-Abbrev}}' postgresql-{host.major}") == "hi"


def test_tuning_saw_the_containers_limit_and_not_the_machine_around_it(host: "Host") -> None:
    assert host.sql("SHOW shared_buffers") == "512MB"


def test_a_login_goes_by_tls_with_the_password_and_in_no_other_way(
    host: "Host", rehearsal: "Rehearsal"
) -> None:
    password = (rehearsal.folder / ".casedb/rehearsal/passwords/case_app").read_text().strip()
    words = "host=127.0.0.1 dbname=case_management user=case_app"
    # On standard input: an argument or a variable would be seen by others.
    reading = "read -r PGPASSWORD && export PGPASSWORD &&"

    def login(how: str, secret: str) -> str:
        return host.run(
            f"{{ {reading} psql -XAtq -w '{words} {how}' -c "
            "'SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()' 2>&1; }",
            secret,
            check=False,
        )

    verified = "sslmode=verify-full sslrootcert=/etc/casedb/tls/ca.crt"
    assert login(verified, password) == "TLSv1.3"
    assert "no pg_hba.conf entry" in login("sslmode=disable", password)
    assert "password authentication failed" in login(verified, "wrong")
    assert "password authentication failed" in login("sslmode=require", "wrong")


def test_no_secret_is_in_any_log_or_readable_file(host: "Host", rehearsal: "Rehearsal") -> None:
    folder = rehearsal.folder / ".casedb/rehearsal/passwords"
    secrets = "\n".join(path.read_text().strip() for path in folder.iterdir())

    # -F -f -: the secrets come in on standard input, one a line. What root keeps of the files of a
    # service, to put them back, has their passwords as well: nobody else may read it.
    places = "/var/log /etc /tmp /var/tmp /run/log /var/lib/casedb"
    found = host.run(f"grep -rlF --exclude-dir=last-good -f - {places}", secrets, check=False)
    readable = host.run(f"runuser -u nobody -- grep -rlsF -f - {places}", secrets, check=False)
    verifiers = host.run("grep -rlF 'SCRAM-SHA-256$4096' /var/log /etc /tmp /var/tmp", check=False)
    journal = host.run("journalctl --no-pager | grep -cF 'SCRAM-SHA-256$4096'", check=False)

    assert (found, readable, verifiers, journal) == ("", "", "", "0")
    assert host.run("stat -c '%a %U %G' /etc/casedb/tls/server.key") == "640 root postgres"
    assert host.run("find /tmp /var/tmp -name 'pyinfra*'") == ""


HAND_EDITS = {
    "setting": ("echo \"work_mem = '1MB'\" >> {etc}/postgresql.conf", "{etc}/postgresql.conf"),
    "alter system": (
        "cd / && runuser -u postgres -- psql -qc \"ALTER SYSTEM SET work_mem = '1MB'\"",
        "/var/lib/postgresql/{major}/main/postgresql.auto.conf",
    ),
    "access rule": ("echo 'host all all all trust' >> {etc}/pg_hba.conf", "{etc}/pg_hba.conf"),
    "access file's mode": ("chmod 666 {etc}/pg_hba.conf", "{etc}/pg_hba.conf"),
    "role": (
        "cd / && runuser -u postgres -- psql -qc 'ALTER ROLE case_readonly SUPERUSER'",
        "roles and access of case_management",
    ),
    "membership": (
        "cd / && runuser -u postgres -- psql -qc 'GRANT pg_read_all_data TO case_app'",
        "roles and access of case_management",
    ),
    "password": (
        "cd / && runuser -u postgres -- psql -qc \"ALTER ROLE case_app PASSWORD 'x'\"",
        "role case_app",
    ),
    "grant": (
        "cd / && runuser -u postgres -- psql -qd case_management"
        " -c 'GRANT CREATE ON SCHEMA public TO PUBLIC'",
        "roles and access of case_management",
    ),
    "mark": (
        "cd / && runuser -u postgres -- psql -qc"
        " 'ALTER DATABASE case_management RESET casedb.mark'",
        "database case_management",
    ),
    "extension": (
        "cd / && runuser -u postgres -- psql -qd case_management -c 'DROP EXTENSION pgaudit'",
        "extensions in case_management",
    ),
    "package": ("apt-mark unhold -q postgresql-{major}", "held packages"),
    "certificate's key": ("chmod 644 /etc/casedb/tls/server.key", "/etc/casedb/tls/server.crt"),
    "stopped timer": (
        "systemctl stop casedb-verify@case_management.timer",
        "casedb-verify@case_management.timer",
    ),
    "edited timer": (
        "sed -i s/daily/yearly/ /etc/systemd/system/casedb-dump@.timer",
        "/etc/systemd/system/casedb-dump@.timer",
    ),
    "drop-in of a timer": (
        "cd /etc/systemd/system && mkdir casedb-drill@case_management.timer.d"
        " && echo '[Timer]' >casedb-drill@case_management.timer.d/x.conf",
        "/etc/systemd/system/casedb-drill@case_management.timer.d",
    ),
    "log rotation": (
        "rm /etc/logrotate.d/postgresql-common",
        "/etc/logrotate.d/postgresql-common",
    ),
}


def test_every_hand_edit_is_drift_and_is_mended(
    rehearsal: "Rehearsal", proof: dict[str, Any]
) -> None:
    places = {h.name: {"etc": h.etc, "major": h.major} for h in rehearsal.hosts.values()}
    for name, host in rehearsal.hosts.items():
        for command, _found in HAND_EDITS.values():
            host.run(command.format(**places[name]))

    code, drift = rehearsal.host("drift")
    applied, _answer = rehearsal.host("apply", "--yes")
    again, nothing = rehearsal.host("drift")

    assert code == 9
    for name in rehearsal.hosts:
        for what, (_command, found) in HAND_EDITS.items():
            assert found.format(**places[name]) in changed(drift, name), what
        assert changed(nothing, name) == []
    assert (applied, again) == (0, 0)


def test_a_host_that_cannot_be_reached_does_not_stop_the_others(
    rehearsal: "Rehearsal", proof: dict[str, Any]
) -> None:
    code, found = rehearsal.host("drift", inventory=rehearsal.inventory("gone"))

    hosts = {h["host"]: h for h in found["hosts"]}
    assert code == 4
    assert set(hosts) == {"gone", *rehearsal.hosts}
    assert hosts["gone"]["error"].startswith("unreachable")
    assert all(hosts[name]["error"] is None for name in rehearsal.hosts)


@pytest.mark.parametrize("names", [["a,b"], ["nowhere"], ["trixie", "nowhere"]])
def test_a_limit_that_matches_nothing_is_an_error(
    rehearsal: "Rehearsal", proof: dict[str, Any], names: list[str]
) -> None:
    words = [word for name in names for word in ("--limit", name)]

    code, answer = rehearsal.host("drift", *words)

    assert code == 2
    assert names[-1] in answer["error"]["message"]


def test_without_an_answer_nothing_is_applied(
    rehearsal: "Rehearsal", proof: dict[str, Any]
) -> None:
    done = rehearsal.casedb("host", "apply", str(ROOT / "inventories" / "containers.py"))

    assert done.returncode == 7
    assert "not confirmed" in done.stderr
