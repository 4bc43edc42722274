"""pgAdmin on hosts: off unless asked, up with its servers, mended, upgraded and brought back."""

import json
import ssl
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.hosts.conftest import Administered, Host

pytestmark = pytest.mark.hosts

STORE = "/var/lib/pgadmin/pgadmin4.db"
# Another version to come from and go back to; what it needs is asked of pip, with hashes.
OLDER = "9.17"
# Before pgAdmin's floor, and with another schema of its store.
ANCIENT, ITS_SCHEMA = "9.2", 43


def sqlite(host: "Host", sql: str) -> str:
    return host.run(
        f"python3 - <<'E'\nimport sqlite3\nc = sqlite3.connect('{STORE}', timeout=20)\n"
        f"print(c.execute({sql!r}).fetchall())\nc.commit()\nE"
    )


def changed(found: Any, host: str) -> list[str]:
    (about,) = [h for h in found["hosts"] if h["host"] == host]
    assert about["error"] is None, about
    return [change["what"] for step in about["steps"] for change in step["changes"]]


def error_of(found: Any, host: str) -> str:
    (about,) = [h for h in found["hosts"] if h["host"] == host]
    return str(about["error"])


def test_a_second_run_changes_nothing_and_its_controls_hold(pgadmin: "Administered") -> None:
    code, found = pgadmin.run("drift")
    checked, controls = pgadmin.run("check")

    assert (code, changed(found, pgadmin.host.name)) == (0, [])
    assert checked == 0, controls


def test_it_is_served_by_tls_on_loopback_alone(pgadmin: "Administered") -> None:
    host = pgadmin.host
    listening = host.run("ss -Hltn | awk '{print $4}'").split()

    assert "127.0.0.1:8443" in listening
    assert not [at for at in listening if at.endswith((":8443", ":80", ":5050")) and
                not at.startswith("127.0.0.1:")]  # fmt: skip
    with pgadmin.tunnel() as port:
        trusting = ssl.create_default_context(cafile=pgadmin.folder / ".casedb/pki/ca.crt")
        url = f"https://localhost:{port}/misc/ping"
        with urllib.request.urlopen(url, context=trusting, timeout=20) as answer:
            assert answer.status == 200
        assert answer.headers["Strict-Transport-Security"]
    # Past TLS and its limits nobody gets to it: not even another account of the host.
    denied = "runuser -u nobody -- curl -s --unix-socket /run/pgadmin/pgadmin.sock http://x/"
    assert host.start(denied).returncode != 0


def test_no_secret_is_open_or_in_a_list_of_processes(pgadmin: "Administered") -> None:
    host = pgadmin.host
    place = "/var/lib/pgadmin/storage/admin_example.com"

    assert host.run(f"stat -c '%a %U' /var/lib/pgadmin {STORE} {place}/.pgpass").splitlines() == [
        "700 pgadmin",
        "600 pgadmin",
        "600 pgadmin",
    ]
    seen = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    lists = host.run(seen)
    for secret in (pgadmin.password, pgadmin.readonly):
        # The pattern comes by standard input, or it would be found in grep's own words.
        assert host.run("grep -rlFf - /etc /opt/pgadmin/current/; true", secret) == ""
        assert secret not in lists
    assert host.run("systemctl show -p User --value casedb-pgadmin") == "pgadmin"


def test_who_tries_one_password_after_another_is_not_heard_any_more(
    pgadmin: "Administered",
) -> None:
    tried = (
        "for n in $(seq 20); do curl -sk -o /dev/null -w '%{http_code} ' -X POST"
        " -d email=x@example.com -d password=$n https://localhost:8443/authenticate/login; done"
    )
    answers = pgadmin.host.run(tried).split()
    # It forgets who that was.
    pgadmin.host.run("systemctl restart casedb-pgadmin-web")

    assert answers[0] != "429"
    assert answers[-1] == "429"


HAND_EDITS = {
    "echo 'ENABLE_PSQL = True' >>/etc/pgadmin/config_system.py": "/etc/pgadmin/config_system.py",
    "chmod 644 /var/lib/pgadmin/storage/admin_example.com/.pgpass": (
        "/var/lib/pgadmin/storage/admin_example.com/.pgpass"
    ),
    "systemctl stop casedb-pgadmin-web": "casedb-pgadmin-web.service",
}


def test_what_is_changed_by_hand_is_drift_and_is_mended_and_users_servers_stay(
    pgadmin: "Administered",
) -> None:
    host = pgadmin.host
    for command in HAND_EDITS:
        host.run(command)
    sqlite(host, "UPDATE server SET username = 'postgres'")
    sqlite(host, "UPDATE user SET login_attempts = 99, locked = 1")
    sqlite(host, "INSERT INTO servergroup (user_id, name) VALUES (1, 'mine')")
    sqlite(
        host,
        "INSERT INTO server (user_id, servergroup_id, name, host, port, username, save_password,"
        " use_ssh_tunnel, tunnel_authentication, tunnel_prompt_password, shared, kerberos_conn,"
        " cloud_status, is_adhoc) SELECT 1, id, 'my own', 'elsewhere', 5432, 'me', 0, 0, 0, 0, 0,"
        " 0, 0, 0 FROM servergroup WHERE name = 'mine'",
    )

    code, drift = pgadmin.run("drift")
    applied, _found = pgadmin.run("apply", "--yes")
    after, nothing = pgadmin.run("drift")

    assert code == 9
    assert set(changed(drift, host.name)) >= {
        *HAND_EDITS.values(), "pgAdmin's servers", "pgAdmin's user admin@example.com",
    }  # fmt: skip
    assert (applied, after, changed(nothing, host.name)) == (0, 0, [])
    assert sqlite(host, "SELECT name, username FROM server ORDER BY name = 'my own'") == str(
        [(host.name, "case_readonly"), ("my own", "me")]
    )
    sqlite(host, "DELETE FROM server WHERE name = 'my own'")
    sqlite(host, "DELETE FROM servergroup WHERE name = 'mine'")


def test_a_new_certificate_is_the_one_that_is_served(pgadmin: "Administered") -> None:
    host = pgadmin.host
    host.run("rm /etc/casedb/tls/server.key /etc/casedb/tls/server.crt")

    assert pgadmin.run("apply", "--yes")[0] == 0
    served = (
        "openssl s_client -connect 127.0.0.1:8443 </dev/null 2>/dev/null | openssl x509 -serial"
        " -noout; openssl x509 -serial -noout -in /etc/casedb/tls/server.crt"
    )
    first, second = host.run(served).splitlines()
    assert first == second


# Two versions of pgAdmin are installed, 600 MB each.
@pytest.mark.timeout(3600)
def test_a_version_goes_up_and_comes_back_with_its_store(
    pgadmin: "Administered", tmp_path: Path
) -> None:
    host = pgadmin.host
    older = tmp_path / "older.txt"
    older.write_text(pgadmin.requirements_of(OLDER))

    # Down without a copy: the schemas are the same, so the store stays.
    down, _found = pgadmin.run("apply", "--yes", pgadmin_requirements=str(older))
    assert down == 0, _found
    assert host.run("readlink /opt/pgadmin/current").startswith(f"{OLDER}-")
    sqlite(host, "UPDATE server SET comment = 'of before'")

    up, _found = pgadmin.run("apply", "--yes")
    assert up == 0, _found
    assert not host.run("readlink /opt/pgadmin/current").startswith(f"{OLDER}-")
    assert "of before" in sqlite(host, "SELECT comment FROM server")
    assert host.run(f"stat -c '%a %U' {STORE}.{OLDER}") == "600 pgadmin"
    sqlite(host, "UPDATE server SET comment = 'of after'")

    again, _found = pgadmin.run("apply", "--yes", pgadmin_requirements=str(older))
    assert again == 0, _found
    assert "of before" in sqlite(host, "SELECT comment FROM server")
    assert pgadmin.run("drift", pgadmin_requirements=str(older))[0] == 0
    assert pgadmin.run("apply", "--yes")[0] == 0


def test_a_version_that_does_not_start_is_undone(pgadmin: "Administered") -> None:
    host = pgadmin.host
    identity = host.run("readlink /opt/pgadmin/current")
    # What nginx needs is gone, and nothing of ours looks at it before it starts.
    host.run("mv /usr/sbin/nginx /usr/sbin/nginx.away; systemctl stop casedb-pgadmin")
    try:
        code, found = pgadmin.run("apply", "--yes")
    finally:
        host.run("mv /usr/sbin/nginx.away /usr/sbin/nginx")

    assert code == 5
    assert "casedb-pgadmin-web.service does not start" in error_of(found, host.name)
    assert f"{identity} is back in place" in error_of(found, host.name)
    assert host.run("readlink /opt/pgadmin/current") == identity
    assert pgadmin.run("apply", "--yes")[0] == 0
    assert pgadmin.run("drift")[0] == 0


@pytest.mark.timeout(3600)
def test_the_store_of_an_ancient_pgadmin_is_migrated_and_a_copy_kept(
    pgadmin: "Administered",
) -> None:
    host = pgadmin.host
    pgadmin.take_away()
    host.run("rm -rf /opt/pgadmin/current; mv /var/lib/pgadmin /var/lib/pgadmin.aside")
    host.run(
        "python3 -m venv /var/tmp/ancient && /var/tmp/ancient/bin/pip -q install"
        f" pgadmin4=={ANCIENT} >/dev/null 2>&1; install -d -m 700 -o pgadmin -g pgadmin"
        " /var/lib/pgadmin; cd /var/tmp/ancient/lib/python3*/site-packages/pgadmin4"
        " && runuser -u pgadmin -- env HOME=/var/lib/pgadmin PGADMIN_SETUP_EMAIL=old@example.com"
        " PGADMIN_SETUP_PASSWORD=an-old-password"
        " /var/tmp/ancient/bin/python setup.py setup-db >/dev/null"
    )
    old = sqlite(host, "SELECT value FROM version WHERE name = 'ConfigDB'")

    assert pgadmin.run("apply", "--yes")[0] == 0

    assert old == f"[({ITS_SCHEMA},)]"
    assert sqlite(host, "SELECT value FROM version WHERE name = 'ConfigDB'") != old
    assert sqlite(host, "SELECT email FROM user ORDER BY id") == str(
        [("old@example.com",), ("admin@example.com",)]
    )
    assert host.run(f"stat -c '%a %U' {STORE}.schema-{ITS_SCHEMA}") == "600 pgadmin"
    assert pgadmin.run("drift")[0] == 0
    host.run("rm -rf /var/tmp/ancient /var/lib/pgadmin.aside")


def test_the_store_of_a_newer_pgadmin_is_refused_and_left_as_it_is(
    pgadmin: "Administered",
) -> None:
    host = pgadmin.host
    known = sqlite(host, "SELECT value FROM version WHERE name = 'ConfigDB'").strip("[(,)]")
    sqlite(host, "UPDATE version SET value = 999 WHERE name = 'ConfigDB'")
    host.run("rm -f /etc/pgadmin/in-force")
    try:
        code, found = pgadmin.run("apply", "--yes")
    finally:
        sqlite(host, f"UPDATE version SET value = {known} WHERE name = 'ConfigDB'")

    assert code == 5
    assert "is of a newer pgAdmin (its schema is 999" in error_of(found, host.name)
    assert host.run("systemctl is-active casedb-pgadmin") == "active"
    assert pgadmin.run("apply", "--yes")[0] == 0


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no secret": ({"pgadmin_password": None}, "pgadmin_password names one"),
    "a secret that is not there": ({"pgadmin_password": "file:/nowhere"}, "cannot be read"),
    "a version with holes": ({"pgadmin_requirements": "holes.txt"}, "has known holes"),
    "no password of the server": ({"passwords": {}}, "enters HOST as case_readonly"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_in_the_plan(pgadmin: "Administered", name: str) -> None:
    data, said = BAD[name]
    (pgadmin.folder / "holes.txt").write_text(
        "pgadmin4==9.16 --hash=sha256:0\ngunicorn==1 --hash=sha256:0\n"
    )

    code, found = pgadmin.run("plan", **data)

    assert code == 5
    assert said.replace("HOST", pgadmin.host.name) in error_of(found, pgadmin.host.name)


def test_a_weak_secret_and_a_port_that_is_taken_are_refused(pgadmin: "Administered") -> None:
    weak = pgadmin.folder / "weak"
    weak.touch(mode=0o600)
    weak.write_text("password123\n")

    code, found = pgadmin.run("plan", pgadmin_password=f"file:{weak}", pgadmin_port=5432)

    said = error_of(found, pgadmin.host.name)
    assert code == 5
    assert "has 11 characters, 16 are the least" in said
    assert "port 5432 is taken on this host" in said
    assert "password123" not in json.dumps(found)


def test_a_disk_without_room_is_refused_and_what_runs_goes_on(pgadmin: "Administered") -> None:
    host = pgadmin.host
    host.run("mount -t tmpfs -o size=200m tmpfs /opt/pgadmin")
    try:
        code, found = pgadmin.run("apply", "--yes")
    finally:
        host.run("umount /opt/pgadmin")

    assert code == 5
    assert "/opt/pgadmin has 200 MB free; pgAdmin needs 1500 MB" in error_of(found, host.name)
    assert host.run("systemctl is-active casedb-pgadmin") == "active"
    assert pgadmin.run("drift")[0] == 0


def test_it_goes_when_its_host_leaves_the_group_and_its_store_stays(
    pgadmin: "Administered",
) -> None:
    host = pgadmin.host

    pgadmin.take_away()

    units = host.run("systemctl is-active casedb-pgadmin casedb-pgadmin-web; true")
    assert units.split() == ["inactive", "inactive"]
    assert "127.0.0.1:8443" not in host.run("ss -Hltn")
    assert host.run(f"stat -c %U {STORE}") == "pgadmin"
    assert pgadmin.run("apply", "--yes")[0] == 0
    assert pgadmin.run("drift")[0] == 0
