"""A configuration that would not start, or locks everybody out, never costs more than a restart."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.hosts.conftest import Host, Rehearsal

pytestmark = pytest.mark.hosts

# Lines for the end of postgresql.conf; the last one of a name holds.
BROKEN = {
    "an unknown setting": "shared_bufers = '1GB'",
    "a value of the wrong type": "max_connections = 'many'",
    "a value out of range": "work_mem = '1kB'",
    "a syntax error": "work_mem == '4MB'",
    "an open quote": "work_mem = '4MB",
    "minimal WAL with senders": "wal_level = 'minimal'",
    "a preload library that is not there": "shared_preload_libraries = 'pg_nowhere'",
    "all connections reserved": "superuser_reserved_connections = 76\nmax_connections = 76",
    "a certificate that is not there": "ssl_cert_file = '/etc/casedb/tls/nowhere.crt'",
    "a key that is no key": "ssl_key_file = '/etc/casedb/tls/server.crt'",
    "a key of another certificate": "ssl_cert_file = '/etc/casedb/tls/ca.crt'",
    "more memory than there is": "shared_buffers = '900GB'",
    "more memory than the container may have": "shared_buffers = '3GB'",
    "huge pages that nobody reserved": "huge_pages = 'on'",
    "a data directory elsewhere": "data_directory = '/var/lib/postgresql/nowhere'",
    "access rules elsewhere": "hba_file = '/etc/postgresql/nowhere.conf'",
    "an include that is not there": "include '/etc/postgresql/nowhere.conf'",
    "an address that is not ours": "listen_addresses = '203.0.113.7'",
    "a name that does not resolve": "listen_addresses = 'nowhere.invalid'",
    "a port that is taken": "port = 22\nlisten_addresses = '*'",
    "a socket folder that is not there": "unix_socket_directories = '/nowhere'",
    "a socket folder that is not ours to write": "unix_socket_directories = '/usr'",
    "a log folder that is not ours to write": "logging_collector = on\nlog_directory = '/usr/logs'",
    "an unknown time zone": "timezone = 'Mars/Olympus'",
    "an unknown language": "lc_messages = 'xx_XX.none'",
}
RULES = {
    "an unknown method": "host all all 0.0.0.0/0 skram\n",
    "a network that is none": "host all all 10.0.0.0/99 scram-sha-256\n",
    "an unknown type of connection": "hosts all all 0.0.0.0/0 scram-sha-256\n",
    "too few fields": "hostssl all all\n",
}


def files_with(host: "Host", *, conf: str = "", rules: str = "") -> dict[str, Any]:
    files = host.files()
    files[f"{host.etc}/postgresql.conf"]["content"] += conf + "\n"
    files[f"{host.etc}/pg_hba.conf"]["content"] += rules
    return files


@contextmanager
def load(host: "Host") -> Iterator[None]:
    """Keep writing, a transaction at a time, and note when each one was acknowledged."""
    host.sql("CREATE TABLE IF NOT EXISTS public.beats (at timestamptz)")
    host.run(
        "rm -f /tmp/stop-beating; cd / && setsid runuser -u postgres -- sh -c '"
        "while [ ! -e /tmp/stop-beating ]; do"
        " PGCONNECT_TIMEOUT=2 psql -XAtqd case_management"
        ' -c "INSERT INTO public.beats VALUES (clock_timestamp())" >/dev/null 2>&1;'
        " sleep 0.05; done' >/dev/null 2>&1 </dev/null &"
    )
    try:
        yield
    finally:
        host.run("touch /tmp/stop-beating; sleep 0.5")


def longest_gap_s(host: "Host") -> float:
    return float(
        host.sql(
            "SELECT coalesce(max(extract(epoch FROM gap)), 0) FROM"
            " (SELECT at - lag(at) OVER (ORDER BY at) AS gap FROM public.beats) AS gaps"
        )
    )


def state(host: "Host") -> str:
    return host.sql(
        "SELECT pg_postmaster_start_time(), md5(pg_read_file(current_setting('config_file'))),"
        " md5(pg_read_file(current_setting('hba_file')))"
    )


def test_broken_configurations_are_refused_and_the_server_goes_on(
    rehearsal: "Rehearsal", proof: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    # All hosts at the same time: it is the one long test here.
    with ThreadPoolExecutor() as pool:
        tables = list(pool.map(_refuse_all, rehearsal.hosts.values()))
    with capsys.disabled():
        print("\n" + "\n".join(tables))


def _refuse_all(host: "Host") -> str:
    before = state(host)
    outcomes = {}
    with load(host):
        for what, conf in BROKEN.items():
            outcomes[what] = host.configure(files_with(host, conf=conf))
        for what, rules in RULES.items():
            outcomes[what] = host.configure(files_with(host, rules=rules))
    gap = longest_gap_s(host)
    beats = int(host.sql("SELECT count(*) FROM public.beats"))
    host.sql("DROP TABLE public.beats")

    assert {what: found["result"] for what, found in outcomes.items()} == dict.fromkeys(
        outcomes, "refused"
    )
    # Neither restarted nor even reloaded: nothing has been touched.
    assert state(host) == before
    assert beats > len(outcomes)
    assert host.run("ls -A /var/lib/postgresql | grep preflight", check=False) == ""
    assert host.run("pgrep -fc casedb-preflight", check=False) == "0"
    lines = [f"{host.name}: {len(outcomes)} broken configurations"]
    lines += [
        f"  {found['result']:8}  {what:42} {found.get('problem', '')[:110]}"
        for what, found in outcomes.items()
    ]
    lines.append(f"  {beats} commits meanwhile, longest pause between two {gap:.2f} s")
    return "\n".join(lines)


def test_a_server_that_does_not_answer_afterwards_gets_its_old_configuration_back(
    host: "Host",
) -> None:
    before = host.files()
    with load(host):
        # Well in every way that can be tried beforehand; only the live server says no.
        reloaded = host.configure(
            files_with(host, conf="work_mem = '5MB'"), inject_failure="no answer"
        )
        restarted = host.configure(
            files_with(host, conf="max_connections = 60"), inject_failure="no answer"
        )
        began = time.monotonic()
    assert time.monotonic() - began < 30
    gap = longest_gap_s(host)
    host.sql("DROP TABLE public.beats")

    assert (reloaded["result"], reloaded["restarted"]) == ("undone", False)
    assert (restarted["result"], restarted["restarted"]) == ("undone", True)
    assert host.files() == before
    assert host.sql("SHOW max_connections") != "60"
    assert host.sql("SHOW work_mem") != "5MB"
    # Restarted twice, there and back; the machine under test is a busy one.
    assert gap < 30


def test_a_restart_waits_for_its_window_and_what_waits_is_listed(host: "Host") -> None:
    before = host.files()
    started = host.sql("SELECT pg_postmaster_start_time()")

    found = host.configure(
        files_with(host, conf="max_connections = 60\nwork_mem = '5MB'"), restart=False
    )

    assert (found["result"], found["restarted"]) == ("applied", False)
    assert found["pending"] == ["max_connections"]
    assert host.sql("SHOW work_mem") == "5MB"
    assert host.sql("SELECT pg_postmaster_start_time()") == started
    assert host.configure(before, restart=False)["result"] == "applied"
    assert host.sql("SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"


def test_a_reload_is_enough_where_no_setting_needs_more(host: "Host") -> None:
    before = host.files()
    started = host.sql("SELECT pg_postmaster_start_time()")

    assert host.configure(files_with(host, conf="work_mem = '5MB'"))["restarted"] is False

    assert host.sql("SHOW work_mem") == "5MB"
    assert host.configure(before)["restarted"] is False
    assert host.sql("SELECT pg_postmaster_start_time()") == started


def test_a_run_killed_between_two_files_is_undone_by_the_next(host: "Host") -> None:
    before = host.files()
    folder = f"/var/lib/casedb/configure/{host.major}-main"
    host.configure(before)
    host.run(f"touch {folder}/in-progress; echo 'nonsense' >> {host.etc}/postgresql.conf")

    found = host.configure(before)

    assert found["result"] == "applied"
    assert host.files() == before
    assert host.run(f"ls {folder}") == "last-good"


def test_a_broken_connection_does_not_leave_a_server_between_two_configurations(
    host: "Host",
) -> None:
    before = host.files()
    running = host.popen(files_with(host, conf="work_mem = '6MB'"))
    time.sleep(1)
    running.kill()
    running.wait()

    deadline = time.monotonic() + 120
    while host.sql("SHOW work_mem") != "6MB":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    # Waits for the lock of the one that goes on.
    assert host.configure(before)["result"] == "applied"
    assert host.files() == before


def test_a_candidates_archive_command_is_never_run(host: "Host") -> None:
    conf = "archive_mode = on\narchive_command = 'touch /tmp/archived-by-candidate'"

    found = host.configure(files_with(host, conf=conf), check_only=True)

    assert found == {"result": "would apply", "needs_restart": ["archive_mode"]}
    assert host.run("ls /tmp/archived-by-candidate", check=False) == ""


def test_a_broken_setting_of_an_inventory_is_refused_and_said(
    host: "Host", rehearsal: "Rehearsal"
) -> None:
    broken = {"pg_settings": {"shared_preload_libraries": "pg_nowhere"}}
    inventory = rehearsal.inventory(**{host.name: broken})

    done = rehearsal.casedb("host", "apply", str(inventory), "--limit", host.name, "--yes")

    assert done.returncode == 5
    assert "refused" in done.stderr
    assert "pg_nowhere" in done.stderr
    assert host.sql("SHOW shared_preload_libraries") == "pg_stat_statements,pgaudit"
