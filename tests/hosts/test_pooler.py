"""PgBouncer on real hosts: in, closed, proven, restarted only where it must be, and out again."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest

from casedb.conninfo import Conninfo
from casedb.server import free_port
from deploy.pooler_host import DROP_IN_FILE, INI_FILE, PASSWORDS_FILE, RULES_FILE, STATE_FOLDER
from deploy.toolkit import SETTINGS_FILE
from tests.hosts.conftest import MAJORS
from tests.hosts.pooled import CONSOLE, DATABASE, PASSWORDS, Pooled, make_staff, wait_for
from tests.pooler.clients import CARELESS, run_clients
from tests.restore.writers import writing

if TYPE_CHECKING:
    from tests.hosts.conftest import Host, Rehearsal

pytestmark = pytest.mark.hosts

# How 1.18 and 1.24 say that no rule lets somebody in, or that auth_query knows nobody.
NOBODY = "login rejected|no authentication method is found|no such user"


@pytest.fixture(scope="module", params=list(MAJORS))
def pooled(
    request: pytest.FixtureRequest, rehearsal: "Rehearsal", proof: dict[str, Any]
) -> Iterator[Pooled]:
    """A host with its pooler, and without it afterwards."""
    assert proof
    host: Host = rehearsal.hosts[request.param]
    port = free_port()
    password = (rehearsal.folder / PASSWORDS / "case_app").read_text().strip()
    way = Conninfo.parse(
        f"host=127.0.0.1 port={port} dbname={DATABASE} user=case_app sslmode=verify-full"
    ).replace(password=password, sslrootcert=str(rehearsal.folder / ".casedb/pki/ca.crt"))
    found = Pooled(host, rehearsal, way)
    found.apply()
    tunnel = [*host.argv[:-3], "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:6432"]
    with subprocess.Popen(tunnel, stdin=subprocess.DEVNULL) as forwarding:
        try:
            wait_for(way)
            yield found
        finally:
            forwarding.terminate()
    changed = found.apply(pooler=False)
    assert "pgbouncer.service" in changed
    assert found.changes(pooler=False) == {}
    assert host.run("systemctl is-active pgbouncer", check=False) == "inactive"
    gone = f"{DROP_IN_FILE} {PASSWORDS_FILE} {INI_FILE} {STATE_FOLDER}"
    assert host.run(f"ls -d {gone} 2>/dev/null", check=False) == ""
    assert "pooler" not in host.run(f"cat {SETTINGS_FILE}")


def test_a_second_run_changes_nothing_and_every_control_holds(pooled: Pooled) -> None:
    assert pooled.changes() == {}

    code, about = pooled.verb("check")

    assert code == 0, about
    pooler = [f for f in about["findings"] if f["control"].startswith("pooler.")]
    assert len(pooler) == 4


@pytest.mark.parametrize("careless", CARELESS)
def test_no_identity_leaks_through_it(pooled: Pooled, careless: str) -> None:
    staff = make_staff(pooled.host)
    # Fewer sessions than clients: each gets one that another has just left.
    pooled.console("SET default_pool_size = 3; SET reserve_pool_size = 0")
    try:
        assert run_clients(pooled.way, staff, 600, CARELESS[careless]) == []
        pooled.console("SET server_reset_query_always = 0")
        assert run_clients(pooled.way, staff, 400, CARELESS[careless]) != []
    finally:
        # What leaked on purpose is still in the pool's sessions.
        pooled.console("RELOAD; RECONNECT")


def test_a_reset_taken_away_at_the_console_is_found_and_put_back(pooled: Pooled) -> None:
    process = pooled.process
    pooled.console("SET server_reset_query_always = 0")
    left = "left behind in the session"
    with psycopg.connect(pooled.way.dsn) as careless:
        careless.execute("SELECT set_config('casedb.test', %s, false)", (left,))
    assert found_in_session(pooled) == left

    code, about = pooled.verb("check")
    planned = pooled.changes()
    pooled.apply()

    red = [f["control"] for f in about["findings"] if not f["holds"]]
    assert (code, red) == (9, ["pooler.reset"])
    assert planned == {"PgBouncer's settings in force": "reload of PgBouncer"}
    # Sessions of the time without it are not given to anybody any more.
    assert found_in_session(pooled) != left
    assert pooled.verb("check")[0] == 0
    assert pooled.process == process


def found_in_session(pooled: Pooled) -> str | None:
    """Return what a new client finds in the session that it is given."""
    with psycopg.connect(pooled.way.dsn, prepare_threshold=None) as client:
        row = client.execute("SELECT current_setting('casedb.test', true)").fetchone()
    return str(row[0]) if row else None


def test_who_comes_shows_a_password_by_tls_and_is_the_application(pooled: Pooled) -> None:
    def refusal(**words: str) -> str:
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect(pooled.way.replace(**words).dsn, connect_timeout=10)
        return str(caught.value)

    assert "SSL required" in refusal(sslmode="disable")
    assert "verify failed" in refusal(sslrootcert="/etc/ssl/certs/ca-certificates.crt")
    assert "authentication failed" in refusal(password="wrong")
    for role in ("postgres", "case_readonly", "case_pooler", "case_migrator"):
        assert re.search(NOBODY, refusal(user=role))
    assert re.search(NOBODY, refusal(user="postgres", dbname="pgbouncer"))
    assert re.search(NOBODY, refusal(dbname="postgres"))
    # Nor does another account of the host get to the console.
    said = pooled.host.run(
        f"runuser -u nobody -- psql -XAtqd '{CONSOLE}' -c PAUSE 2>&1", check=False
    )
    assert "FATAL" in said


def test_an_edited_configuration_is_drift_and_mended_by_a_reload(pooled: Pooled) -> None:
    process = pooled.process
    pooled.host.run(f"sed -i 's/^pool_mode.*/pool_mode = session/' {INI_FILE}")
    pooled.console("RELOAD")
    pooled.host.run(f"chmod 644 {PASSWORDS_FILE}")

    red = [f["control"] for f in pooled.verb("check")[1]["findings"] if not f["holds"]]
    code, _about = pooled.verb("drift")
    changed = pooled.apply()

    assert (code, red) == (9, ["files.modes"])
    reload = "reload of PgBouncer"
    assert changed == {INI_FILE: reload, PASSWORDS_FILE: reload}
    assert "pool_mode|transaction" in pooled.console("SHOW CONFIG")
    assert pooled.process == process
    assert pooled.changes() == {}


BROKEN: dict[str, dict[str, Any]] = {
    "an unknown setting": {"texts": {INI_FILE: ("pool_mode =", "pool_moode =")}},
    "a value of the wrong type": {"texts": {INI_FILE: ("pool_mode = ", "pool_mode = x")}},
    "a line that is none": {"texts": {INI_FILE: ("[pgbouncer]", "[pgbouncer")}},
    "a rule that is none": {"texts": {RULES_FILE: ("hostssl", "hostsssl")}},
    "a network that is none": {"texts": {RULES_FILE: ("127.0.0.1/32", "127.0.0.1/99")}},
    "a certificate that is not there": {"texts": {INI_FILE: ("tls/pooler.crt", "tls/nowhere.crt")}},
    "a key that it cannot read": {"texts": {INI_FILE: ("tls/pooler.key", "tls/server.key")}},
    "an authority that is not the server's": {
        "texts": {INI_FILE: ("server_tls_ca_file = /etc/casedb/tls/ca.crt",
                             "server_tls_ca_file = /etc/ssl/certs/ca-certificates.crt")},
        "settings": {"server_tls_ca_file": "/etc/ssl/certs/ca-certificates.crt"},
    },
    "a password that the server refuses": {"texts": {PASSWORDS_FILE: ('" "', '" "not')}},
    "a server that is not there": {"texts": {INI_FILE: ("port=5432", "port=5433")}},
    "an address that is not ours": {"settings": {"listen_addr": "203.0.113.7"}},
    "a port that is taken": {"settings": {"listen_port": "22"}, "port": 22},
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_would_not_work_is_refused_and_the_running_one_goes_on(
    pooled: Pooled, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    process = pooled.process
    before = pooled.host.run(f"sha256sum {INI_FILE} {RULES_FILE} {PASSWORDS_FILE}")
    reloads = pooled.host.run("journalctl -u pgbouncer | grep -ci 'sighup' || true")

    with psycopg.connect(pooled.way.dsn, prepare_threshold=None) as client:
        code, outcome = pooled.pooling(**dict(BROKEN[what]))
        answer = client.execute("SELECT current_user::text").fetchone()

    with capsys.disabled():
        print(f"\n{pooled.host.name}: {what}: {outcome['problem'][:110]}")
    assert (code, outcome["result"]) == (1, "refused")
    assert pooled.password("case_pooler") not in json.dumps(outcome)
    assert answer == ("case_app",)
    assert pooled.process == process
    assert pooled.host.run(f"sha256sum {INI_FILE} {RULES_FILE} {PASSWORDS_FILE}") == before
    assert pooled.host.run("journalctl -u pgbouncer | grep -ci 'sighup' || true") == reloads
    assert pooled.host.run("ls -d /run/casedb-pooler-* 2>/dev/null", check=False) == ""
    assert pooled.host.run("pgrep -c pgbouncer") == "1"


def test_what_does_not_work_in_its_place_is_undone(pooled: Pooled) -> None:
    code, outcome = pooled.pooling(
        texts={INI_FILE: ("query_wait_timeout = 30", "query_wait_timeout = 31")},
        settings={"query_wait_timeout": "31"},
        inject_failure="nobody can say why",
    )

    assert (code, outcome["result"]) == (1, "undone")
    assert outcome["problem"] == "nobody can say why"
    assert "query_wait_timeout|30|" in pooled.console("SHOW CONFIG")
    assert pooled.changes() == {}


def test_it_is_restarted_for_another_port_alone_and_within_its_window(pooled: Pooled) -> None:
    process = pooled.process
    port = 6433

    reloaded = pooled.apply(pooler_settings={"idle_transaction_timeout": 90})
    assert set(reloaded.values()) == {"reload of PgBouncer"}
    assert pooled.process == process

    _code, waiting = pooled.verb("apply", "--yes", pooler_port=port, restart="never")
    assert any("has to be restarted for listen_port" in remark for remark in waiting["remarks"])
    assert pooled.process == process
    with psycopg.connect(pooled.way.dsn) as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
    assert pooled.changes(pooler_port=port, restart="never") == {}
    assert CONSOLE in pooled.host.run(f"cat {SETTINGS_FILE}")

    moved = pooled.apply(pooler_port=port)
    assert "restart of PgBouncer" in moved.values()
    assert pooled.process != process
    assert pooled.host.run("ss -Hltn 'sport = :6433'") != ""
    assert pooled.host.run("ss -Hltn 'sport = :6432'") == ""
    assert CONSOLE.replace("6432", "6433") in pooled.host.run(f"cat {SETTINGS_FILE}")

    pooled.apply()
    wait_for(pooled.way)


def test_without_the_poolers_password_it_says_which_one_is_missing(pooled: Pooled) -> None:
    process = pooled.process

    code, about = pooled.verb("plan", passwords={"case_app": f"file:{PASSWORDS}/case_app"})

    assert code == 5
    assert "logs in as case_pooler, whose password the inventory does not name" in about["error"]
    assert pooled.process == process


def test_a_renewed_certificate_is_shown_without_a_restart(pooled: Pooled) -> None:
    def serial() -> str:
        return pooled.host.run(
            "openssl s_client -starttls postgres -connect 127.0.0.1:6432 </dev/null 2>/dev/null"
            " | openssl x509 -noout -serial"
        )

    process, before = pooled.process, serial()
    changed = pooled.apply(tls_names=["db.example.org"])

    assert "/etc/casedb/tls/pooler.crt" in changed
    assert serial() != before
    assert pooled.process == process
    pooled.apply()


def test_it_is_no_postgres_and_has_no_more_than_it_needs(pooled: Pooled) -> None:
    assert pooled.host.run(f"stat -c %U /proc/{pooled.process}") == "pgbouncer"
    assert pooled.host.run(f"stat -c '%U %G %a' {PASSWORDS_FILE}") == "root pgbouncer 640"
    denied = pooled.host.run(
        "runuser -u pgbouncer -- cat /etc/casedb/tls/server.key 2>&1", check=False
    )
    assert "Permission denied" in denied
    exposure = pooled.host.run("systemd-analyze security --no-pager pgbouncer | tail -1")
    found = re.search(r"level for pgbouncer.service: ([\d.]+)", exposure)
    assert found
    assert float(found[1]) < 3
    passwords = [pooled.password(role) for role in ("case_app", "case_pooler")]
    logged = pooled.host.run("journalctl --no-pager | cat; cat /var/log/postgresql/*.log")
    assert not any(password in logged for password in passwords)


def test_a_restore_on_the_host_pauses_its_clients_and_none_sees_an_error(pooled: Pooled) -> None:
    staff = make_staff(pooled.host)
    clerk = UUID(next(user for user, role in staff if role == "case_clerk"))
    # As the runbook says, as root; the host's casedb.toml names the console.
    swapping = f"--confirm {DATABASE} --json"
    began = pooled.host.run("date '+%F %T'")
    try:
        pooled.host.run("casedb dump")
        with writing(pooled.way, clerk, sessions=8) as writers:
            writers.wait_for(30)
            restored = json.loads(pooled.host.run(f"casedb restore latest {swapping}"))
            writers.wait_for(30)
            back = json.loads(pooled.host.run(f"casedb undo-restore {swapping}"))
            writers.wait_for(30)
    finally:
        for name in pooled.host.sql(
            f"SELECT datname FROM pg_database WHERE datname LIKE '{DATABASE}_kept%'"
        ).splitlines():
            pooled.host.sql(f'DROP DATABASE "{name}" WITH (FORCE)', "postgres")
    assert restored
    assert back
    logged = pooled.host.run(f"journalctl --no-pager -u pgbouncer --since '{began}'")
    assert logged.count("PAUSE") == logged.count("RESUME") == 2
    assert (writers.surprises, writers.lost_connections) == ([], 0)
